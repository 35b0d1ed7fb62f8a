"""A real MLflow server that asks for a password, in a process of its own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ID, PASSWORD = "admin", "s3cret-of-mlflow"
COMMAND = Path(sys.executable).parent / "mlflow"
MLFLOW = pytest.mark.integration("mlflow", "flask_wtf")  # what tests are marked with that start it


@dataclass(frozen=True)
class MlflowServer:
    """Where it listens, and where it keeps its artifacts."""

    url: str
    artifacts: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which MLflow's own tools, and the option ``mlflow``, find it."""
        names = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        return dict(zip(names, (self.url, ID, PASSWORD), strict=True))


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """A server that keeps everything in ``folder``, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    settings = folder / "auth.ini"  # a password that was right is not hashed again with each request
    settings.write_text(
        "[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///basic_auth.db\nadmin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\nauth_cache_ttl_seconds = 3600\n"
    )
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_USERNAME": ID,
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [COMMAND, *words],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url, folder / "log")
        yield MlflowServer(url, folder / "artifacts")
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # its own group: the server and its workers
        process.wait(timeout=120)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(600):
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except (URLError, OSError):
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(log.read_text())
