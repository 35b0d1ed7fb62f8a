"""A real model server in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.serving.formats.archive import digest_header

ID, PASSWORD = "ann", "s3cret-of-the-server"
COMMAND = [Path(sys.executable).parent / "when_ml_pipeline_meets_hydra"]


class Server:
    """Where it listens, and what it has written to stderr so far."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log
        self.url = f"http://127.0.0.1:{port}"

    def call(
        self, method: str, path: str, body: Any = None, *, auth: str | None = f"{ID}:{PASSWORD}", **headers: str
    ) -> tuple[int, Any]:
        """Status and content of an answer; a body that is no bytes is sent as JSON."""
        if auth is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def upload(self, model: str, archive: bytes, **request: str) -> tuple[int, Any]:
        """Status and content of the answer to an upload, with the digest of what is sent."""
        headers = {"Content-Digest": digest_header(hashlib.sha256(archive).digest()), **request}
        return self.call("POST", f"/v2/repository/models/{model}/versions", archive, **headers)

    def workers(self) -> list[int]:
        """Process ids of those that answer."""
        command = ["pgrep", "-f", "-P", str(self.process.pid), "spawn_main"]
        found = subprocess.run(command, capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]


@contextmanager
def running(repository: Path, log: Path, *more: str, **environment: str) -> Iterator[Server]:
    """A server of ``repository`` until the block ends; ``more`` are further words of its command line."""
    variables = {**os.environ, "WMH_SERVE_PW": PASSWORD, **environment}
    words = ["serve", "--repository", str(repository), "--port", "0", "--id", ID, *more]
    with log.open("w") as stderr:
        process = subprocess.Popen([*COMMAND, *words], stderr=stderr, env=variables, text=True)
    try:
        yield Server(process, _port(process, log), log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)


def _port(process: subprocess.Popen[str], log: Path) -> int:
    for _ in range(2400):
        if found := re.search(r"at https?://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())
