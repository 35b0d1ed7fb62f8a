"""Steps → outcomes: loaded from the store, or computed under a lock."""
