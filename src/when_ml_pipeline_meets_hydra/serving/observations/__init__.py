"""What a server counts of the requests to a version."""
