"""The web app: pages over the config store, runs and deployments; it calls the functions that the commands call."""
