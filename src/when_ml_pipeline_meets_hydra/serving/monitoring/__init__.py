"""What is watched while versions serve: drift, agreement with the training, canaries."""
