"""Everything that can be wrong with data, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

from when_ml_pipeline_meets_hydra.datasets.interface import Dataset
from when_ml_pipeline_meets_hydra.datasets.table import locate
from when_ml_pipeline_meets_hydra.errors import Problem


def problems(dataset: Dataset) -> Iterator[Problem]:
    """All that is wrong with the rows of a data set."""
    _, absent = locate(dataset.rows())
    yield from absent
