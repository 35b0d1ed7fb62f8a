"""A CSV file that this package ships."""

from __future__ import annotations

from glob import has_magic
from pathlib import Path

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile
from when_ml_pipeline_meets_hydra.ml.datasets.parts import Part

FOLDER = Path(__file__).parent / "files"


@frozen
class Shipped(CsvFile):
    """The CSV file ``path`` inside this package."""

    def file(self) -> Path:
        """Return the installed path; it is not in the config, so that a step's key is the same on every machine."""
        return FOLDER / self.path

    def parts(self) -> tuple[Part, ...]:
        """Return the files. Raises ``BadInput`` if this package has none at that path."""
        if not (has_magic(str(self.path)) or self.file().exists()):
            message, remedy = "no such file is shipped", "For a file of your own add preprocessing/dataset=csv"
            raise BadInput(Problem(key="path", value=str(self.path), message=message, remedy=remedy))
        return super().parts()
