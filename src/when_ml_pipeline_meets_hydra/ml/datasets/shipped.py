"""A CSV file that this package ships."""

from __future__ import annotations

from pathlib import Path

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile

FOLDER = Path(__file__).parent / "files"


@frozen
class Shipped(CsvFile):
    """The CSV file ``path`` of this package."""

    def file(self) -> Path:
        """Where the package is installed; not part of the config, so that a step's key is the same everywhere."""
        return FOLDER / self.path
