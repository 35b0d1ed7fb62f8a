"""The Protocol of data sets under the name by which packages of users import it: this path stays."""

from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, RawRows

__all__ = ["Dataset", "RawRows"]
