"""The machine learning: data sets, preparation, models, training, networks."""
