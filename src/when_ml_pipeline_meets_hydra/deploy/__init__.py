"""Where models are deployed to, how they are rolled out, and what has to hold before."""
