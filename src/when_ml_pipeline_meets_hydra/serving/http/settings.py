"""How a model server is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from when_ml_pipeline_meets_hydra.serving.http.users import User

MEGABYTE = 1 << 20
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where a server listens, what it serves, and within which limits.

    Attributes:
        root: directory of the repository.
        sole: the only user where the repository has no ``users.json``, by name.
        host: address to listen on.
        port: port to listen on, 0 for a free one.
        workers: number of processes that answer.
        certificate: file of the certificate and its chain, for TLS.
        key: file of its private key.
        proxy: address of a proxy whose X-Forwarded-For is believed; empty: nobody's.
        request_limit: largest body of a request, in bytes.
        upload_limit: largest body of an upload, in bytes.
        concurrency: requests that a worker works on at once; more of them are told to come again.
        timeout: seconds in which a request has to come and its answer to begin; of what changes the repository, seconds
            between any two parts of the request.
        failed_logins: wrong passwords that an address may bring in a minute, for each worker.
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
    upload_limit: int = 512 * MEGABYTE
    concurrency: int = 64
    timeout: float = 30
    failed_logins: int = 10
