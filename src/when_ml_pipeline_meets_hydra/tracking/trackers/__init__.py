"""Trackers: systems in which a team looks at its runs, one file each, imported when it is switched on."""
