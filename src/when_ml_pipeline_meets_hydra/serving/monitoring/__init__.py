"""Monitoring of served versions: drift from training, agreement between versions, canaries."""
