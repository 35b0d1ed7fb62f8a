"""Rows of any data set with the columns of the training data; the target may be missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Chosen, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, OnViolation, PreparedData, Task
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, RawRows, TaskChoice
from when_ml_pipeline_meets_hydra.ml.inputs.interface import Batch, identifiers

if TYPE_CHECKING:
    import polars as pl

KEY = "new_rows"
_ROWS_AT_ONCE = 65_536


@frozen
class DataSet:
    """The rows of the data set at the config key ``new_rows``."""

    new_rows: Annotated[Dataset, Chosen()]
    id: Annotated[str | None, Field(min_length=1, description="Column that identifies rows, copied as it is")] = None

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.new_rows.name

    def fingerprint(self) -> str:
        """Return the digest of the data."""
        try:
            return self.new_rows.fingerprint()
        except BadInput as error:
            raise BadInput(*(replace(p, key=f"{KEY}.{p.key}") for p in error.problems)) from error

    def batches(self, data: PreparedData, folder: Path) -> Iterator[Batch]:
        """Yield raw rows, as a client of the deployed model would send them."""
        import polars as pl

        from when_ml_pipeline_meets_hydra.ml.datasets.table import TARGET, column, table
        from when_ml_pipeline_meets_hydra.ml.preparation import matrix
        from when_ml_pipeline_meets_hydra.ml.preparation.fit import number
        from when_ml_pipeline_meets_hydra.ml.preparation.split import class_text
        from when_ml_pipeline_meets_hydra.ml.preparation.write import fetched

        is_number = data.task is Task.REGRESSION
        target = number(TARGET, data.target.dtype).cast(pl.Float64) if is_number else class_text()
        with fetched(self.new_rows, folder) as rows:
            raw = _as_trained(rows, data)
            _check_values(raw, data)
            ids = None if self.id is None else identifiers(raw, self.id)
            columns = [column(k) for k in range(len(data.columns))]
            frame = table(raw).frame.select(target.alias(TARGET), *columns).collect(engine="streaming")
        _check_contracts(frame.lazy(), dict(zip(columns, data.columns, strict=True)))
        for start in range(0, frame.height, _ROWS_AT_ONCE):
            part = frame.slice(start, _ROWS_AT_ONCE)
            yield Batch(
                target=part[TARGET],
                raw=matrix.feeds(part, data.columns),
                ids=None if ids is None else ids.slice(start, _ROWS_AT_ONCE),
            )


def _as_trained(raw: RawRows, data: PreparedData) -> RawRows:
    """The rows with the columns and types of the training data; the target is null where it is unknown."""
    import polars as pl

    frame, names = raw.frame, raw.frame.collect_schema().names()
    missing = [c.name for c in data.columns if c.name not in names]
    if missing:
        message = f"the data have no column {', '.join(missing)}, which the model needs"
        raise BadInput(Problem(key=KEY, message=message, remedy=did_you_mean(missing[0], names)))
    if data.target.name not in names:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(data.target.name))
    task = TaskChoice(data.task.value)
    reading = replace(data.reading, **raw.own)
    columns = (*data.columns, data.target)
    return replace(raw, frame=frame, target=data.target.name, columns=columns, task=task, reading=reading)


def _check_values(raw: RawRows, data: PreparedData) -> None:
    """Raise ``BadInput`` if a value cannot be read as the type of its column in the training data."""
    from when_ml_pipeline_meets_hydra.ml.datasets import checks

    remedy = "Correct it, or add what means a missing value to new_rows.null_values"
    problems = [replace(p, key=KEY, value=None, remedy=remedy) for p in checks.unreadable(raw)]
    if problems:
        raise BadInput(*problems)


def _check_contracts(frame: pl.LazyFrame, columns: Mapping[str, Column]) -> None:
    """Print what breaks a rule of its column. Raises ``BadInput`` for columns whose contract refuses."""
    from when_ml_pipeline_meets_hydra.ml.datasets.column_contracts import violations

    found = violations(frame, columns)
    refused = [v for v in found if v.column.on_violation is OnViolation.REFUSE]
    if refused:
        raise BadInput(*(Problem(key=KEY, message=str(v)) for v in refused))
    for violation in found:
        print(f"{KEY}: {violation}")
