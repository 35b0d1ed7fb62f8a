"""``config``: the entries of a config store, their drafts and history; one file for each verb."""
