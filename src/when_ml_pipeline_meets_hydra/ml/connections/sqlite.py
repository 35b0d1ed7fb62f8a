"""An SQLite file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.connections.cursors import CursorSession, first_line
from when_ml_pipeline_meets_hydra.ml.connections.files import existing
from when_ml_pipeline_meets_hydra.ml.connections.interface import Session


@frozen
class Sqlite:
    """The SQLite file at ``path``; in SQLite only values have types, columns have none."""

    path: Annotated[NamedPath, Field(description="The SQLite file"), Unkeyed()]  # keyed by `place` instead

    def place(self) -> Mapping[str, Any]:
        """Return the path of the file."""
        return {"sqlite": str(self.path.absolute())}

    @contextmanager
    def open(self, *, write: bool = False) -> Iterator[Session]:
        """Open the file, for reading only unless ``write``."""
        import sqlite3

        path = existing(self.path, make_folder=write)
        mode = "rwc" if write else "ro"
        try:
            connection = sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None)
            connection.execute("SELECT count(*) FROM sqlite_master")  # reads the file, which connecting does not
            connection.create_function("md5", 1, _md5, deterministic=True)
        except sqlite3.Error as error:
            raise BadInput(Problem(key="path", value=str(self.path), message=first_line(error))) from error
        with closing(connection):
            yield CursorSession(connection, sqlite3.Error)


def _md5(text: str) -> str:
    """The function of this name in other databases."""
    return hashlib.md5(text.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
