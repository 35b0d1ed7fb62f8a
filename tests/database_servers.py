"""Database servers for tests: real ones, on 127.0.0.1, started and ended here."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVERS = Path(__file__).parent / "servers"
PASSWORD = "correct-horse-battery"
# What tests are marked with that start these servers.
POSTGRES = pytest.mark.integration("psycopg", "initdb")
SNOWFLAKE = pytest.mark.integration("snowflake.connector", "fakesnow")


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL server: user ``app``, database ``postgres``."""

    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What leads clients to it."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "app",
            "PGPASSWORD": PASSWORD,
            "PGDATABASE": "postgres",
        }

    def run(self, statement: str) -> list[tuple[object, ...]]:
        """What it says to a statement."""
        import psycopg

        words = {"host": "127.0.0.1", "port": self.port, "user": "app", "password": PASSWORD, "dbname": "postgres"}
        with psycopg.connect(**words, autocommit=True) as connection:
            cursor = connection.execute(statement)
            rows: list[tuple[object, ...]] = cursor.fetchall() if cursor.description else []
            return rows

    def stop(self) -> None:
        """End it at once."""
        subprocess.run([SERVERS / "postgres.sh", "stop", self.folder], check=True, timeout=120)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server of one's own, for tests marked ``POSTGRES``."""
    # Not below pytest's own folder, which only the user who started it may enter.
    parent = Path(tempfile.mkdtemp(prefix="pg-"))
    parent.chmod(0o755)
    folder = parent / "server"
    started = subprocess.run(
        [SERVERS / "postgres.sh", "start", folder],
        env={**os.environ, "PGPASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert started.returncode == 0, started.stderr
    server = PostgresServer(folder, int(started.stdout))
    try:
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(parent)


@contextmanager
def snowflake_server() -> Iterator[dict[str, str]]:
    """fakesnow, which speaks Snowflake's protocol, for tests marked ``SNOWFLAKE``; yields what leads clients to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "fakesnow", "--server", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield {
            "SNOWFLAKE_ACCOUNT": "fakesnow",
            "SNOWFLAKE_USER": "app",
            "SNOWFLAKE_PASSWORD": PASSWORD,
            "SNOWFLAKE_DATABASE": "shop",
            "SNOWFLAKE_HOST": "127.0.0.1",
            "SNOWFLAKE_PORT": str(port),
            "SNOWFLAKE_PROTOCOL": "http",
        }
    finally:
        server.terminate()
        server.wait(timeout=120)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("fakesnow does not answer")
