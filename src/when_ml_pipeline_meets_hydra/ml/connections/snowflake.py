"""A Snowflake account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Annotated, Any

from pydantic import Field, SecretStr

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.cursors import CursorSession, first_line
from when_ml_pipeline_meets_hydra.ml.connections.drivers import driver
from when_ml_pipeline_meets_hydra.ml.connections.interface import NoResponse, Session

_DTYPES = {
    "REAL": DType.FLOAT,
    "TEXT": DType.STRING,
    "DATE": DType.DATE,
    "BOOLEAN": DType.BOOL,
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "TIMESTAMP_NTZ"), DType.DATETIME),
}
# The config key to correct for each error number (https://docs.snowflake.com/en/developer-guide/python-connector).
_KEY_BY_ERROR = {390100: "pw", 394400: "pw", 394304: "private_key_file", 251001: "account"}
_NO_RESPONSE = 250001
# By default the connector reports the imported packages, and asks the metadata services of three clouds where it runs.
_NO_REPORTS = {
    "log_imported_packages_in_telemetry": False,
    "platform_detection_timeout_seconds": 0.0,
    "session_parameters": {"CLIENT_TELEMETRY_ENABLED": False},
}


@frozen
class Snowflake:
    """A database of a Snowflake account; sign in by a password, an access token (in ``pw``) or a private key."""

    account: Annotated[str, Field(min_length=1, description="Identifier of the account: organisation-account")]
    user: Annotated[str, Field(min_length=1, description="Name of the user who connects")]
    pw: Annotated[SecretStr | None, Field(description="Password or programmatic access token")] = None
    private_key_file: Annotated[NamedPath | None, Field(description="Private key to sign in with"), Unkeyed()] = None
    private_key_file_pw: Annotated[SecretStr | None, Field(description="Password of the private key")] = None
    database: Annotated[str, Field(min_length=1, description="Name of the database")]
    schema: Annotated[str, Field(min_length=1, description="Schema of the database")] = "PUBLIC"
    warehouse: Annotated[str | None, Field(description="Warehouse that computes; null: the user's"), Unkeyed()] = None
    role: Annotated[str | None, Field(description="Role; null: the user's")] = None
    host: Annotated[str | None, Field(description="Address, if not the one of the account")] = None
    port: Annotated[int, Field(ge=1, le=65535, description="Port of the address")] = 443
    protocol: Annotated[str, Field(pattern="^https?$", description="https, or http for a test server")] = "https"
    timeout: Annotated[int, Field(ge=1, le=3600, description="Seconds to wait for a connection"), Unkeyed()] = 30

    def place(self) -> Mapping[str, Any]:
        """Return account, database, schema, user and role."""
        where = [self.account, self.host, self.port, self.database, self.schema]
        return {"snowflake": [*where, self.user, self.role]}

    @contextmanager
    def open(self, *, write: bool = False) -> Iterator[Session]:
        """Connect. (Snowflake has no read-only sessions: use a role without write access.)"""
        connector = driver("snowflake.connector", extra="snowflake")
        try:
            connection = connector.connect(**self._parameters())
        except connector.errors.Error as error:
            raise (NoResponse if error.errno == _NO_RESPONSE else BadInput)(self._problem(error)) from error

        def dtype(item: Any) -> DType | str:
            name: str = connector.constants.FIELD_ID_TO_NAME[item.type_code]
            if name == "FIXED":
                return DType.FLOAT if item.scale else DType.INT
            return _DTYPES.get(name, name)

        with closing(connection):
            yield _Session(connection, connector.errors.Error, placeholder="%s", dtype=dtype)

    def _parameters(self) -> dict[str, Any]:
        """The connector's parameters; those that are null are left to its defaults."""
        parameters = {
            "account": self.account,
            "user": self.user,
            "password": self.pw.get_secret_value() if self.pw else None,
            "private_key_file": str(self.private_key_file) if self.private_key_file else None,
            "private_key_file_pwd": self.private_key_file_pw.get_secret_value() if self.private_key_file_pw else None,
            "authenticator": "SNOWFLAKE_JWT" if self.private_key_file else None,
            "database": self.database,
            "schema": self.schema,
            "warehouse": self.warehouse,
            "role": self.role,
            "host": self.host,
            "port": self.port,
            "protocol": self.protocol,
            "login_timeout": self.timeout,
            "network_timeout": 10 * self.timeout,  # by default the connector retries without end
            "application": "when_ml_pipeline_meets_hydra",
            **_NO_REPORTS,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def _problem(self, error: Any) -> Problem:
        key = _KEY_BY_ERROR.get(getattr(error, "errno", None) or 0, "")
        return Problem(key=key, message=f"cannot connect to Snowflake: {first_line(error)}")


class _Session(CursorSession):
    def create(self, table: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
        """Create a table and insert the rows by one statement, since CREATE TABLE ends a transaction here."""
        with self.translate_errors(), closing(self.connection.cursor()) as cursor:
            cursor.execute(sql.create(table, columns))
            try:
                cursor.executemany(sql.insert(table, columns, self.placeholder), list(rows))
            except BaseException:
                cursor.execute(f"DROP TABLE {table}")
                raise
