"""Machine learning: data sets, preparation, models, training, networks."""
