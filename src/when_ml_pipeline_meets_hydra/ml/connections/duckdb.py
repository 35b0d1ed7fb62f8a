"""A DuckDB file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.connections.cursors import CursorSession, first_line
from when_ml_pipeline_meets_hydra.ml.connections.drivers import driver
from when_ml_pipeline_meets_hydra.ml.connections.files import existing
from when_ml_pipeline_meets_hydra.ml.connections.interface import QueryFailed, Session

if TYPE_CHECKING:
    import polars as pl

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_DTYPES = {
    **dict.fromkeys(_WHOLE, DType.INT),
    **dict.fromkeys(("HUGEINT", "UHUGEINT", "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL"), DType.FLOAT),
    **dict.fromkeys(("VARCHAR", "ENUM", "UUID"), DType.STRING),
    "DATE": DType.DATE,
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), DType.DATETIME),
    "BOOLEAN": DType.BOOL,
}
_CONFIG = {"autoinstall_known_extensions": False}  # a query downloads no code; INSTALL, once, does


@frozen
class DuckDb:
    """The DuckDB file at ``path``."""

    path: Annotated[NamedPath, Field(description="The DuckDB file"), Unkeyed()]  # keyed by `place` instead

    def place(self) -> Mapping[str, Any]:
        """Return the path of the file."""
        return {"duckdb": str(self.path.absolute())}

    @contextmanager
    def open(self, *, write: bool = False) -> Iterator[Session]:
        """Open the file, for reading only unless ``write``."""
        duckdb = driver("duckdb", extra="duckdb")
        driver("nanoarrow", extra="duckdb")
        path = existing(self.path, make_folder=write)
        try:
            connection = duckdb.connect(str(path), read_only=not write, config=_CONFIG)
        except duckdb.Error as error:
            raise BadInput(Problem(key="path", value=str(self.path), message=first_line(error))) from error
        with connection:
            yield _Session(connection, duckdb.Error, dtype=_dtype)


class _Session(CursorSession):
    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise the driver's errors as ``QueryFailed``; that of a missing extension says how to install it."""
        try:
            yield
        except self.error as error:
            if missing := re.search(r"\bextension\b.*\bINSTALL (\w+)", str(error), re.DOTALL):
                name = missing[1]
                text = f"it needs DuckDB's extension '{name}': INSTALL {name}; in DuckDB, once, downloads it"
                raise QueryFailed(text) from error
            raise QueryFailed(first_line(error)) from error

    def batches(self, query: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the result of a query in batches, without a Python object for each value.

        DuckDB returns 131,072 rows at a time.
        """
        import nanoarrow
        import polars as pl

        with self.translate_errors():
            try:
                for chunk in nanoarrow.c_array_stream(self.connection.sql(query)):
                    yield from pl.DataFrame(chunk).iter_slices(rows)
            except RuntimeError as error:  # nanoarrow: "ArrowArrayStream::get_next() failed (5): Conversion Error: …"
                raise QueryFailed(first_line(error).partition("): ")[2] or first_line(error)) from error


def _dtype(item: Any) -> DType | str:
    name = str(item[1])
    if name.endswith("]"):  # a list
        return name
    return _DTYPES.get(name.partition("(")[0].strip(), name)
