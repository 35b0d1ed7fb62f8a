"""Searches: trials that a sampler proposes within a budget, of which the best goes on."""
