"""A PostgreSQL server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

from pydantic import Field, SecretStr

from when_ml_pipeline_meets_hydra.contracts import Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.connections.cursors import CursorSession, first_line
from when_ml_pipeline_meets_hydra.ml.connections.drivers import driver
from when_ml_pipeline_meets_hydra.ml.connections.interface import NoResponse, QueryFailed, Session


class SslMode(StrEnum):
    """PostgreSQL's ``sslmode``: encryption of the connection, and verification of the server's certificate."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


_DTYPES = {
    **dict.fromkeys(("int2", "int4", "int8"), DType.INT),
    **dict.fromkeys(("float4", "float8", "numeric"), DType.FLOAT),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "uuid"), DType.STRING),
    "date": DType.DATE,
    **dict.fromkeys(("timestamp", "timestamptz"), DType.DATETIME),
    "bool": DType.BOOL,
}
_TYPE = "SELECT format_type(oid, NULL), typcategory::text FROM pg_type WHERE oid = %s"
_TEXTS = ("E", "S")  # categories of types: enums, and texts such as citext
# The config key to correct for each error message; the first match counts.
_KEY_BY_MESSAGE = (
    ("pw", re.compile(r"password authentication failed|no password supplied|password")),
    ("database", re.compile(r'database ".*" does not exist')),
    ("user", re.compile(r'role ".*"|user ".*"')),
    ("sslmode", re.compile(r"SSL|certificate")),
    ("host", re.compile(r"refused|host name|resolve|timeout|timed out|unreachable|No such file|No route|invalid port")),
)
_NO_RESPONSE = re.compile(r"refused|timeout|timed out|unreachable|No route|starting up|shutting down")


@frozen
class Postgres:
    """The database ``database`` of a PostgreSQL server."""

    host: Annotated[str, Field(min_length=1, description="Name or address of the server, or its socket's folder")]
    port: Annotated[int, Field(ge=1, le=65535, description="Port of the server")] = 5432
    database: Annotated[str, Field(min_length=1, description="Name of the database")]
    user: Annotated[str, Field(min_length=1, description="Name of the user who connects")]
    pw: Annotated[SecretStr | None, Field(description="The password; null: none, or that in ~/.pgpass")] = None
    sslmode: Annotated[SslMode, Field(description="Encryption"), Unkeyed()] = SslMode.PREFER
    timeout: Annotated[int, Field(ge=1, le=3600, description="Seconds to wait for a connection"), Unkeyed()] = 10

    def place(self) -> Mapping[str, Any]:
        """Return server, database and user."""
        return {"postgres": [self.host, self.port, self.database, self.user]}

    @contextmanager
    def open(self, *, write: bool = False) -> Iterator[Session]:
        """Connect, for reading only unless ``write``."""
        psycopg = driver("psycopg", extra="postgres")
        try:
            connection = psycopg.connect(
                host=self.host,
                port=self.port,
                dbname=self.database,
                user=self.user,
                password=self.pw.get_secret_value() if self.pw else None,
                sslmode=self.sslmode.value,
                connect_timeout=self.timeout,
                application_name="when_ml_pipeline_meets_hydra",
                options="" if write else "-c default_transaction_read_only=on",
                autocommit=write,
            )
        except psycopg.Error as error:
            problem = self._problem(error)
            raise (NoResponse if _NO_RESPONSE.search(problem.message) else BadInput)(problem) from error

        def dtype(item: Any) -> DType | str:
            registered = connection.adapters.types.get(item.type_code)
            if registered and registered.oid == item.type_code:  # not an array of it
                known: DType | str = _DTYPES.get(registered.name, str(registered.name))
                return known
            name, category = connection.execute(_TYPE, [item.type_code]).fetchone() or (str(item.type_code), "")
            return DType.STRING if category in _TEXTS else str(name)

        with closing(connection):
            reading = partial(connection.cursor, name="rows")  # a server-side cursor: the result stays on the server
            yield _Session(connection, psycopg.Error, placeholder="%s", dtype=dtype, reading=reading)

    def _problem(self, error: Exception) -> Problem:
        message = first_line(error).rpartition("FATAL: ")[2].strip()
        key = next((key for key, pattern in _KEY_BY_MESSAGE if pattern.search(message)), "")
        shown = {"database": self.database, "user": self.user, "host": f"{self.host}:{self.port}"}.get(key)
        return Problem(key=key, value=shown, message=f"cannot connect to PostgreSQL: {message}")


class _Session(CursorSession):
    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise the driver's errors as ``QueryFailed``; further queries are possible."""
        try:
            with super().translate_errors():
                yield
        except QueryFailed:
            with suppress(self.error):
                self.connection.rollback()
            raise
