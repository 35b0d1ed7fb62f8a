"""Makes a project of a user: its files, and the option of a data set from a CSV file."""
