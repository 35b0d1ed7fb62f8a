"""Read the record of a run, and send it to a tracker: while it is written, or later."""
