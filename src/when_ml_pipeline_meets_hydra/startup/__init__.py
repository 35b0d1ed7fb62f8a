"""What the first milliseconds of every command need."""
