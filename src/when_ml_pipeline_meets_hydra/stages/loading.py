"""Load a shipped table into a database, to try databases with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.contracts import effect
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, StepFailed, did_you_mean
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.interface import Connection, QueryFailed, open_session
from when_ml_pipeline_meets_hydra.ml.datasets.schema import Schema

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.connections.interface import Session


@effect
def load(connection: Connection, schema: Schema) -> None:
    """Create the table of a schema from the shipped file of that name, without rows that have no target.

    Raises:
        BadInput: no such file is shipped.
        StepFailed: the database cannot be reached, or has another table of that name.
    """
    rows = _shipped(schema)
    with open_session(connection, write=True) as session:
        there = _count(session, schema)
        if there is None:
            session.create(sql.table(schema.name), schema.columns, rows)
        elif there != len(rows):
            raise StepFailed(
                f"The database has a table {schema.name} of {there:,} rows already, which is not the one to load "
                f"({len(rows):,} rows)"
            )
    print(f"{schema.name}: {len(rows):,} rows {'loaded' if there is None else 'were there already'}")


def _shipped(schema: Schema) -> Sequence[Sequence[Any]]:
    """The rows of a shipped file: the columns of the schema, typed, where the target is not missing."""
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.datasets.shipped import FOLDER, Shipped
    from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, TARGET, table

    files = sorted(file.stem for file in FOLDER.glob("*.csv"))
    if schema.name not in files:
        message, remedy = "no table of that name comes with the program", did_you_mean(schema.name, files)
        raise BadInput(Problem(key="schema.name", value=schema.name, message=message, remedy=remedy))
    path = FOLDER / f"{schema.name}.csv"
    rows = Shipped(name=schema.name, path=path, target=schema.target.name, columns=schema.columns).rows()
    return table(rows).frame.drop(ROW).filter(pl.col(TARGET).is_not_null()).collect().rows()


def _count(session: Session, schema: Schema) -> int | None:
    """The number of rows of the table; None if there is no such table."""
    try:
        return int(session.row(sql.counts((), sql.select([c.name for c in schema.columns], sql.table(schema.name))))[0])
    except QueryFailed:
        return None  # if it exists after all, creating it fails with the database's message
