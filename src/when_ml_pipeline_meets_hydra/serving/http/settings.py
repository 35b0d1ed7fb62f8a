"""Settings of a model server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from when_ml_pipeline_meets_hydra.serving.http.users import User

MEGABYTE = 1 << 20
UPLOADS_AT_ONCE = 2  # per worker; each of them is checked in a process of its own
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Address, repository and limits of a model server.

    Attributes:
        root: directory of the repository.
        sole: the only user, by name, if the repository has no ``users.json``.
        host: address to listen on.
        port: port to listen on, 0 for a free one.
        workers: number of processes that serve requests.
        certificate: file of the certificate and its chain, for TLS.
        key: file of its private key.
        proxy: address of a proxy whose X-Forwarded-For header is trusted; empty: none.
        request_limit: largest body of a request, in bytes.
        row_limit: most rows of a request.
        header_limit: largest head of a request (its first line and its headers), in bytes.
        memory_limit: memory that the models of a worker may use for predictions, in bytes; their weights do not count.
        upload_limit: largest body of an upload, in bytes.
        concurrency: concurrent requests of a worker; further ones get a 503 response.
        timeout: seconds for the response to a request that has been received.
        receive_timeout: seconds in which a request must be received; for changes of the repository, seconds between two
            parts of its body.
        load_timeout: seconds in which an uploaded bundle has to be checked, or a version to be loaded.
        failed_logins: failed logins that an address may have in a minute, for each worker.
        checks: directory for results of checks that the workers share; None: they are not shared.
    """

    root: Path
    sole: Mapping[str, User] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    certificate: Path | None = None
    key: Path | None = None
    proxy: str = ""
    request_limit: int = 32 * MEGABYTE
    row_limit: int = 100_000
    header_limit: int = 64 << 10
    memory_limit: int = 2048 * MEGABYTE
    upload_limit: int = 512 * MEGABYTE
    concurrency: int = 64
    timeout: float = 5
    receive_timeout: float = 30
    load_timeout: float = 30
    failed_logins: int = 10
    checks: Path | None = None
