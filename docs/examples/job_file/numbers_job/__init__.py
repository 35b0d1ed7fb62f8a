"""The stages of a job file: experiment → train → prediction → analysis → exptests."""
