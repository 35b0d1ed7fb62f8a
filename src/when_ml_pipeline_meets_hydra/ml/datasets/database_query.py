"""The query of a data set in a database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Annotated, Self

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import Chosen, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.interface import Connection
from when_ml_pipeline_meets_hydra.ml.datasets.computed import Expressions
from when_ml_pipeline_meets_hydra.ml.datasets.schema import Schema

WEIGHT = "weight"  # the key of the column with the weights, which need not be in the schema


@frozen
class TableQuery:
    """The table ``table`` of a database, or the result of ``query``; ``schema`` names the columns to read."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")]
    connection: Annotated[Connection, Chosen()]
    schema: Annotated[Schema, Chosen()]
    table: Annotated[str | None, Field(min_length=1, description="Name of the table, or schema.name")] = None
    query: Annotated[str | None, Field(min_length=1, description="A SELECT instead of the table")] = None
    snapshot: Annotated[str | int | None, Field(description="Version of the data; another one reads them again")] = None
    order_by: Annotated[
        tuple[str, ...] | None,
        Field(description="Order of the rows; null: by all columns or, with a limit, random; []: any order"),
    ] = None
    limit: Annotated[
        int | None, Field(ge=1, lt=2**63, description="Most rows to read, the first in order_by; null: all")
    ] = None
    weight: Annotated[
        str | None, Field(min_length=1, description="Column with the weights of the rows, positive numbers; no feature")
    ] = None
    batch: Annotated[int, Field(ge=1, le=10_000_000, description="Rows held in memory at a time"), Unkeyed()] = 50_000

    features: Expressions = field(default_factory=dict)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.query is None and self.table is None:
            raise ValueError("either a table or a query is needed")
        if ";" in (self.query or "").strip().rstrip(";"):  # a second statement could load code into the database
            raise ValueError("query: expected one SELECT, without ';' inside (write chr(59) for the character)")
        if self.weight == self.schema.target.name:
            raise ValueError(f"weight: {self.weight} is the column to predict")
        return self

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns to read: those of the schema, and the weight; the target is the last one."""
        return tuple(column for _, column in self.with_keys())

    def with_keys(self) -> Iterator[tuple[str, Column]]:
        """Yield each column with its config key, in the order of ``columns``."""
        *features, target = self.schema.with_keys()
        yield from features
        if self.weight is not None and self.weight not in (c.name for c in self.schema.columns):
            yield WEIGHT, Column(name=self.weight, dtype=DType.FLOAT)
        yield target

    @property
    def relation(self) -> str:
        """The table or subquery of the FROM clause."""
        return sql.table(self.table or "") if self.query is None else sql.subquery(self.query)

    def select(self, names: Iterable[str], ordering: Iterable[str] | None = None) -> str:
        """Return the query for some columns of all requested rows.

        Their order is fixed, since the choice of the held-out rows depends on it: by default that of the columns
        ``ordering`` (None: of all). A ``limit`` without an order takes rows from everywhere, always the same
        ones.
        """
        every = [c.name for c in self.columns] if ordering is None else list(ordering)
        order = [sql.quoted(name) for name in (every if self.order_by is None else self.order_by)]
        if self.order_by is None and self.limit is not None:
            order.insert(0, sql.digest(every))
        return sql.select(names, self.relation, order_by=order, limit=self.limit)
