"""A table, or the result of a query, in a database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.datasets.database_query import TableQuery
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows


@frozen
class DatabaseTable(TableQuery):
    """A data set of a database.

    A database does not tell cheaply whether a table has changed. So its content counts as unchanged until somebody
    says otherwise by another ``snapshot``: a date, a version, any word.
    """

    def rows(self) -> RawRows:
        """The rows, read into temporary files that are removed when the process ends.

        Raises ``BadInput`` for values that are not what the schema says, ``StepFailed`` where the database is away.
        """
        import atexit
        import shutil
        import tempfile

        folder = Path(tempfile.mkdtemp(prefix="when_ml_pipeline_meets_hydra-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return self.read(folder)

    def read(self, folder: Path) -> RawRows:
        """The rows, read once into Parquet files in ``folder``; see ``rows``."""
        from when_ml_pipeline_meets_hydra.ml.datasets import database_rows

        return database_rows.read(self, folder)

    def files(self) -> Iterable[Path]:
        """None: what the rows are is said by ``snapshot``."""
        return ()

    def fingerprint(self) -> str:
        """The digest of where the rows come from, and of the snapshot; connects to nothing."""
        where = {
            "connection": self.connection.place(),
            "relation": self.relation,
            "order_by": self.order_by,
            "limit": self.limit,
            "snapshot": self.snapshot,
        }
        return hashlib.sha256(json.dumps(where, sort_keys=True).encode()).hexdigest()

    def check(self) -> Iterable[Problem]:
        """What is wrong with the connection and the columns; keys of the connection and the schema are whole ones."""
        from when_ml_pipeline_meets_hydra.ml.datasets import database_checks

        return database_checks.problems(self)
