"""The column by which rows are split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, Remote, no_column

Column = Annotated[str, Field(min_length=1)]


def column_problems(name: str, dataset: Dataset) -> Iterator[Problem]:
    """Yield the problem of a column that is the target, or not there, unless only a server knows."""
    if isinstance(dataset, Remote):
        return
    try:
        rows = dataset.rows()
        names = rows.frame.collect_schema().names()
    except BadInput:  # reported by the data set itself
        return
    if name == rows.target:
        message = "this is the column to predict, by which rows cannot be split"
        yield Problem(key="column", value=name, message=message)
    elif name not in names:
        yield no_column("column", name, names)
