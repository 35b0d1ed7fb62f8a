"""What was composed or run before and has not changed since."""
