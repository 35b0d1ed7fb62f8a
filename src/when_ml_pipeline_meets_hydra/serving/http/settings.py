"""How a model server is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from when_ml_pipeline_meets_hydra.serving.http.users import User

MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What each worker of a server is told.

    Attributes:
        root: directory of the repository.
        sole: the only user where the repository has no ``users.json``, by name.
        request_limit: largest body of a request, in bytes.
        upload_limit: largest body of an upload, in bytes.
        concurrency: requests that a worker works on at once; more of them are told to come again.
        timeout: seconds in which a request has to come and its answer to begin; of what changes the repository, seconds
            between any two parts of the request.
        failed_logins: wrong passwords that an address may bring in a minute, for each worker.
    """

    root: Path
    sole: Mapping[str, User] = field(default_factory=dict)
    request_limit: int = 32 * MEGABYTE
    upload_limit: int = 512 * MEGABYTE
    concurrency: int = 64
    timeout: float = 30
    failed_logins: int = 10
