"""From steps to outcomes: stored already, or computed under a claim."""
