"""The section in which runs are started, watched and cancelled."""
