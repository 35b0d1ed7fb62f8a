"""How the rows of a data set are split into training and held-out rows; one file per kind."""
