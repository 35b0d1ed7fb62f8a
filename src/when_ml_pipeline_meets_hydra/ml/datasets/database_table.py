"""A database table, or the result of a query, as a data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Reading, Task
from when_ml_pipeline_meets_hydra.ml.datasets.database_query import TableQuery
from when_ml_pipeline_meets_hydra.ml.datasets.interface import AS_IT_IS, RawRows, TaskChoice


@frozen
class DatabaseTable(TableQuery):
    """A data set in a database.

    Finding out whether a table has changed is expensive. So its content counts as unchanged until the config has
    another ``snapshot``: a date, a version, any text.
    """

    def rows(self) -> RawRows:
        """Return the rows, read into temporary files that are removed when the process ends.

        Raises ``BadInput`` for values that contradict the schema, ``StepFailed`` if the database is not reachable.
        """
        import atexit
        import shutil
        import tempfile

        folder = Path(tempfile.mkdtemp(prefix="when_ml_pipeline_meets_hydra-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return self.read(folder)

    def read(self, folder: Path) -> RawRows:
        """Return the rows, read once into Parquet files in ``folder``; see ``rows``."""
        from when_ml_pipeline_meets_hydra.ml.datasets import database_rows

        return database_rows.read(self, folder)

    def to_predict(self) -> RowsToPredict:
        """Return the same rows, of which the target may be missing: they are predicted."""
        return RowsToPredict(table=self)

    def files(self) -> Iterable[Path]:
        """No files: ``snapshot`` is the version of the rows."""
        return ()

    def fingerprint(self) -> str:
        """Return the digest of the database, the query and the snapshot, without connecting."""
        where = {
            "connection": self.connection.place(),
            "relation": self.relation,
            "order_by": self.order_by,
            "limit": self.limit,
            **({"weight": self.weight} if self.weight else {}),
            "snapshot": self.snapshot,
        }
        return hashlib.sha256(json.dumps(where, sort_keys=True).encode()).hexdigest()

    def check(self) -> Iterable[Problem]:
        """Return all problems of the connection and the columns; their keys begin with ``connection`` or ``schema``."""
        from when_ml_pipeline_meets_hydra.ml.datasets import database_checks

        return database_checks.problems(self)


@dataclass(frozen=True, kw_only=True)
class RowsToPredict:
    """The rows of a database table, or of a query, of which the target may be missing."""

    table: DatabaseTable

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features that are read, as the schema says."""
        return tuple(c for c in self.table.schema.features if c.name != self.weight)

    @property
    def target(self) -> Column:
        """The column to predict, as the schema says."""
        return self.table.schema.target

    @property
    def weight(self) -> str | None:
        """The column with the weights of the rows, if there is one."""
        return self.table.weight

    @property
    def task(self) -> Task:
        """The task in the schema; regression if the values decide."""
        choice = self.table.schema.task
        return Task.REGRESSION if choice is TaskChoice.AUTO else Task(choice.value)

    @property
    def reading(self) -> Reading:
        """How its values are read: as they are."""
        return AS_IT_IS

    def read(self, folder: Path) -> RawRows:
        """Return the rows, read once into Parquet files in ``folder``; see ``DatabaseTable.rows``."""
        from when_ml_pipeline_meets_hydra.ml.datasets import database_rows

        return database_rows.read(self.table, folder, to_predict=True)

    def check(self) -> Iterable[Problem]:
        """Return all problems of the connection and the columns."""
        from when_ml_pipeline_meets_hydra.ml.datasets import database_checks

        return database_checks.problems(self.table, to_predict=True)
