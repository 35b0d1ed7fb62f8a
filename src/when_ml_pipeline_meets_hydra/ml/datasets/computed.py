"""Columns of a data set that are computed from others: the columns that they need, their types, their problems."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.datasets.interface import no_column

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.expressions.build import Refused
    from when_ml_pipeline_meets_hydra.ml.expressions.tree import Derived

Expressions = Annotated[
    Mapping[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]],
    Field(description="Columns to compute: name → expression of other columns in SQL's notation"),
]


def key_of(name: str) -> str:
    """Return the config key of a computed column, relative to the data set."""
    return f"features.{name}"


def sources(features: Mapping[str, str]) -> list[str]:
    """Return the names of the columns that expressions read, as far as these can be read."""
    if not features:
        return []
    from when_ml_pipeline_meets_hydra.ml.expressions import build, read

    found: dict[str, None] = {}
    for text in features.values():
        try:
            found |= dict.fromkeys(read.names(read.parse(text)))
        except build.Refused:  # they are reported
            continue
    return list(found)


def untyped_problems(
    features: Mapping[str, str], known: Collection[str], target: str, weight: str | None = None
) -> Iterator[Problem]:
    """Yield what is wrong with expressions whatever the types of the ``known`` columns of the data are.

    They read neither the ``target`` nor the ``weight``, the column with the weights of the rows.
    """
    if not features:
        return
    from when_ml_pipeline_meets_hydra.ml.expressions import build, read

    for name, text in features.items():
        key = key_of(name)
        if name in known:
            remedy = "Choose another name"
            yield Problem(key=key, value=text, message="the data have a column of that name", remedy=remedy)
        try:
            read.check(tree := read.parse(text))
        except build.Refused as refused:
            yield _refused(name, text, refused)
            continue
        for column in read.names(tree):
            if column == target:
                message = f"it reads '{target}', the column to predict, which is not known for new rows"
                yield Problem(key=key, value=text, message=message, remedy="Compute it from other columns")
            elif column == weight:
                message = f"it reads '{weight}', the weights of the rows (dataset.weight), which new rows need not have"
                yield Problem(key=key, value=text, message=message, remedy="Compute it from other columns")
            elif column not in known:
                problem = no_column(key, column, known)
                message = f"there is no column '{column}' in the data"
                yield Problem(key=key, value=text, message=message, remedy=problem.remedy)


def problems(
    features: Mapping[str, str], dtypes: Mapping[str, DType], target: str, weight: str | None = None
) -> Iterator[Problem]:
    """Yield what is wrong with expressions of columns of certain types."""
    found = list(untyped_problems(features, dtypes, target, weight))
    yield from found or type_problems(features, dtypes)


def type_problems(features: Mapping[str, str], dtypes: Mapping[str, DType]) -> Iterator[Problem]:
    """Yield the expressions that do not fit the types of the columns that they read."""
    if not features:
        return
    from when_ml_pipeline_meets_hydra.ml.expressions import build, read

    for name, text in features.items():
        try:
            read.typed(text, dtypes)
        except build.Refused as refused:
            yield _refused(name, text, refused)


def derived(features: Mapping[str, str], dtypes: Mapping[str, DType]) -> tuple[Derived, ...]:
    """Return the computed columns, by name. Raises ``ValueError`` for what the functions above report."""
    if not features:
        return ()
    from when_ml_pipeline_meets_hydra.ml.expressions import read
    from when_ml_pipeline_meets_hydra.ml.expressions.tree import Derived

    made = ((name, text, read.typed(text, dtypes)) for name, text in sorted(features.items()))
    return tuple(
        Derived(column=Column(name=name, dtype=node.dtype, description=text), node=node) for name, text, node in made
    )


def _refused(name: str, text: str, refused: Refused) -> Problem:
    return Problem(key=key_of(name), value=text, message=refused.message, remedy=refused.remedy)
