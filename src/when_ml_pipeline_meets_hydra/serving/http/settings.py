"""Settings of a model server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from when_ml_pipeline_meets_hydra.serving.http.listening import Listening
from when_ml_pipeline_meets_hydra.serving.http.users import User

MEGABYTE = 1 << 20
UPLOADS_AT_ONCE = 2  # per worker; each of them is checked in a process of its own
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported


@dataclass(frozen=True, kw_only=True)
class Settings(Listening):
    """Repository and limits of a model server, which listens at an address.

    Attributes:
        root: directory of the repository.
        sole: the only user, by name, if the repository has no ``users.json``.
        workers: number of processes that serve requests.
        request_limit: largest body of a request, in bytes.
        row_limit: most rows of a request.
        memory_limit: memory that the models of a worker may use for predictions, in bytes; their weights do not count.
        upload_limit: largest body of an upload, in bytes.
        concurrency: concurrent requests of a worker; further ones get a 503 response.
        timeout: seconds for the response to a request that has been received.
        load_timeout: seconds in which an uploaded bundle has to be checked, or a version to be loaded.
        checks: directory for results of checks that the workers share; None: they are not shared.
    """

    root: Path
    sole: Mapping[str, User] = field(default_factory=dict)
    workers: int = 1
    request_limit: int = 32 * MEGABYTE
    row_limit: int = 100_000
    memory_limit: int = 2048 * MEGABYTE
    upload_limit: int = 512 * MEGABYTE
    concurrency: int = 64
    timeout: float = 5
    load_timeout: float = 30
    checks: Path | None = None
