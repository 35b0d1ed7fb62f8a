"""Run the steps of a plan elsewhere: one of them by its key, or all of them as nodes of an orchestrator."""
