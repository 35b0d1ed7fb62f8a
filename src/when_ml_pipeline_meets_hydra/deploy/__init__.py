"""Deployment: clusters, rollout strategies and quality gates."""
