"""Rows of any data set with the columns of the training data; the target may be missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Checked, Chosen, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, OnViolation, PreparedData, Reading, Task
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, RawRows, Remote, TaskChoice, no_column
from when_ml_pipeline_meets_hydra.ml.inputs.interface import Batch, identifiers

if TYPE_CHECKING:
    import polars as pl

KEY = "new_rows"
_ROWS_AT_ONCE = 65_536
_DATASET_KEY = re.compile(
    r"\bdataset\.(path|encoding|separator|decimal|thousands|null_values|columns|exclude|query|limit)\b"
)


class Trained(Protocol):
    """The columns that a model was trained on, and how their values are read: prepared data, or a table."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features, before preprocessing."""

    @property
    def target(self) -> Column:
        """The column to predict."""

    @property
    def task(self) -> Task:
        """The kind of prediction."""

    @property
    def reading(self) -> Reading:
        """How raw values are read."""

    @property
    def weight(self) -> str | None:
        """The column with the weights of the rows, if there is one; rows to predict need not have it."""


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
            raise BadInput(*map(_below_new_rows, error.problems)) from error

    def check(self) -> Iterable[Problem]:
        """Return the problems of files that cannot be read, and of a column ``id`` that does not exist."""
        if not isinstance(self.new_rows, Remote):
            return self._problems(self._without_id)
        source = _to_predict(self.new_rows)
        found = source.check() if isinstance(source, Checked) else ()
        return [*map(_below_new_rows, found), *self._unknown_id(_names(source))]

    def misfits(self, trained: Trained) -> Iterable[Problem]:
        """Return what keeps a model with the columns of ``trained`` from predicting the rows: columns and values.

        Of rows on a server only the columns are known; their values are read once, by the step.
        """
        if isinstance(self.new_rows, Remote):
            names = _names(_to_predict(self.new_rows))
            return () if names is None else _missing(names, trained)
        return self._problems(lambda raw: _misfits(raw, trained))

    def _problems(self, of: Callable[[RawRows], Iterable[Problem]]) -> Iterable[Problem]:
        from when_ml_pipeline_meets_hydra.ml.datasets import checks

        return map(_below_new_rows, checks.problems(self.new_rows, of))

    def _without_id(self, raw: RawRows) -> Iterable[Problem]:
        yield from self._unknown_id(raw.frame.collect_schema().names())

    def _unknown_id(self, names: Sequence[str] | None) -> Iterable[Problem]:
        if self.id is not None and names is not None and self.id not in names:
            yield no_column("id", self.id, names)

    def batches(self, data: PreparedData, folder: Path) -> Iterator[Batch]:
        """Yield raw rows, as a client of the deployed model would send them."""
        import polars as pl

        from when_ml_pipeline_meets_hydra.ml.datasets.table import TARGET, WEIGHT, column, table
        from when_ml_pipeline_meets_hydra.ml.expressions.calendar import number
        from when_ml_pipeline_meets_hydra.ml.preparation import matrix
        from when_ml_pipeline_meets_hydra.ml.preparation.write import fetched
        from when_ml_pipeline_meets_hydra.ml.splits.sides import class_text

        is_number = data.task is Task.REGRESSION
        target = number(TARGET, data.target.dtype).cast(pl.Float64) if is_number else class_text()
        with fetched(_to_predict(self.new_rows), folder) as rows:
            if problems := [_below_new_rows(p) for p in _misfits(rows, data)]:
                raise BadInput(*problems)
            raw = _as_trained(rows, data)
            ids = None if self.id is None else identifiers(raw, self.id)
            columns = [column(k) for k in range(len(data.columns))]
            weight = [] if raw.weight is None else [WEIGHT]
            frame = table(raw).frame.select(target.alias(TARGET), *weight, *columns).collect(engine="streaming")
        _check_contracts(frame.lazy(), dict(zip(columns, data.columns, strict=True)))
        for start in range(0, frame.height, _ROWS_AT_ONCE):
            part = frame.slice(start, _ROWS_AT_ONCE)
            yield Batch(
                target=part[TARGET],
                raw=matrix.feeds(part, data.columns),
                ids=None if ids is None else ids.slice(start, _ROWS_AT_ONCE),
                weights=part[WEIGHT].alias(raw.weight) if raw.weight else None,
            )


def _below_new_rows(problem: Problem) -> Problem:
    """The problem of a data set, whose keys and advice are those of ``dataset``, with the keys at ``new_rows``."""
    first = problem.key.partition(".")[0]
    if first in ("connection", "schema"):  # the same for both data sets
        problem = replace(problem, message=f"{problem.message} (in {KEY})")
    own = first in (KEY, "id", "connection", "schema")
    remedy = problem.remedy and _DATASET_KEY.sub(rf"{KEY}.\1", problem.remedy)
    return replace(problem, key=problem.key if own else f"{KEY}.{problem.key}", remedy=remedy)


def _misfits(raw: RawRows, trained: Trained) -> Iterator[Problem]:
    """Yield columns that are missing, and values that cannot be read as the type of their column in training."""
    from when_ml_pipeline_meets_hydra.ml.datasets import checks
    from when_ml_pipeline_meets_hydra.ml.datasets.weights import weight_problems

    names = raw.frame.collect_schema().names()
    if wrong := [*_missing(names, trained), *_wrong_weight(raw.weight, names, trained)]:
        yield from wrong
        return
    for problem in checks.unreadable(_as_trained(raw, trained)):
        advised = problem.remedy if (problem.remedy or "").startswith("Write ") else None
        correct = "Correct it, or add what means a missing value to new_rows.null_values"
        yield replace(problem, key=KEY, value=None, remedy=advised or correct)
    yield from weight_problems(_as_trained(raw, trained))


def _missing(names: Sequence[str], trained: Trained) -> Iterator[Problem]:
    """Yield the problem of columns that the model needs and that are not among ``names``."""
    if missing := [c.name for c in trained.columns if c.name not in names]:
        message = f"the data have no column {', '.join(missing)}, which the model needs"
        yield Problem(key=KEY, message=message, remedy=did_you_mean(missing[0], names))


def _wrong_weight(weight: str | None, names: Sequence[str], trained: Trained) -> Iterator[Problem]:
    """Yield the problem of a column of weights that is not among ``names``, or that the model needs otherwise."""
    key = "weight"
    if weight is None:
        return
    if weight == trained.target.name:
        yield Problem(key=key, value=weight, message="this is the column to predict")
    elif weight not in names:
        yield no_column(key, weight, names)
    elif weight in (c.name for c in trained.columns):
        yield Problem(key=key, value=weight, message="the model reads this column as a feature")


def _to_predict(dataset: Any) -> Any:
    """The rows of a data set on a server, of which the target may be missing; any other data set as it is."""
    return dataset.to_predict() if hasattr(dataset, "to_predict") else dataset


def _names(source: Any) -> list[str] | None:
    """The columns that rows on a server will have; None if only reading them says."""
    if not hasattr(source, "columns"):
        return None
    weight = getattr(source, "weight", None)
    return [*(column.name for column in source.columns), *([weight] if weight else [])]


def _as_trained(raw: RawRows, trained: Trained) -> RawRows:
    """The rows with the columns and types of the training data; the target is null where it is unknown."""
    import polars as pl

    frame, target = raw.frame, trained.target
    names = frame.collect_schema().names()
    weight = raw.weight or (trained.weight if trained.weight in names else None)
    if target.name not in names:
        weight = None
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(target.name))
    task = TaskChoice(trained.task.value)
    reading = replace(trained.reading, **raw.own)
    columns = (*trained.columns, target)
    return replace(
        raw,
        frame=frame,
        target=target.name,
        columns=columns,
        exclude=(),
        task=task,
        reading=reading,
        weight=weight,
        features={},  # the graph computes them
    )


def _check_contracts(frame: pl.LazyFrame, columns: Mapping[str, Column]) -> None:
    """Print what breaks a rule of its column. Raises ``BadInput`` for columns whose contract refuses."""
    from when_ml_pipeline_meets_hydra.ml.datasets.column_contracts import violations

    found = violations(frame, columns)
    refused = [v for v in found if v.column.on_violation is OnViolation.REFUSE]
    if refused:
        raise BadInput(*(Problem(key=KEY, message=str(v)) for v in refused))
    for violation in found:
        print(f"{KEY}: {violation}")
