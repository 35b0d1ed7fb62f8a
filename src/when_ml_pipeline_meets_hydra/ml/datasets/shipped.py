"""A CSV file that this package ships."""

from __future__ import annotations

from pathlib import Path

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile

FOLDER = Path(__file__).parent / "files"


@frozen
class Shipped(CsvFile):
    """The CSV file ``path`` inside this package."""

    def file(self) -> Path:
        """Return the installed path; it is not in the config, so that a step's key is the same on every machine."""
        return FOLDER / self.path
