"""What is shown at the terminal: live view, tables, JSON lines."""
