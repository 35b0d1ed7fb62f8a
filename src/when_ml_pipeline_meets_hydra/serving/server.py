"""Start the model server and run it until it is stopped."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, PipelineError, Problem
from when_ml_pipeline_meets_hydra.serving import workers
from when_ml_pipeline_meets_hydra.serving.formats.examples import read_smoke
from when_ml_pipeline_meets_hydra.serving.http.listening import listening
from when_ml_pipeline_meets_hydra.serving.http.settings import METRICS_DIRECTORY, Settings
from when_ml_pipeline_meets_hydra.serving.http.users import Users
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository
from when_ml_pipeline_meets_hydra.serving.worker import log_to_stderr
from when_ml_pipeline_meets_hydra.storage.durable_files import is_running

SHARED_MEMORY, METRICS = "/dev/shm", "model_server_metrics"


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve a repository until SIGINT or SIGTERM; requests already received are completed.

    ``announce`` is called with each line for the user who started the server.

    Raises:
        BadInput: the address cannot be bound, the repository is not a directory, its users cannot be read, or the
            certificate cannot be used.
        StepFailed: no worker could start.
    """
    repository = Repository(settings.root)
    if settings.root.exists() and not settings.root.is_dir():
        raise BadInput(Problem(key="--repository", value=str(settings.root), message="is not a directory"))
    users = Users(settings.root, settings.sole).all()
    with listening(settings) as (listener, url), _metrics_folder() as folder:
        for line in (*_welcome(repository, url, next(iter(users), "ID")), *settings.warnings()):
            announce(line)
        os.environ[METRICS_DIRECTORY] = folder
        log_to_stderr()
        workers.run(replace(settings, checks=_checks_folder(folder)), listener)
    announce("Stopped.")


def _metrics_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a directory for the metrics, in memory if possible: each request updates its files; disk I/O is slow."""
    place = Path(SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else tempfile.gettempdir())
    for left in place.glob(f"{METRICS}-*-*"):
        number = left.name.split("-")[1]
        if re.fullmatch(r"\d{1,9}", number) and not is_running(int(number)):
            shutil.rmtree(left, ignore_errors=True)  # left by a killed server
    return tempfile.TemporaryDirectory(prefix=f"{METRICS}-{os.getpid()}-", dir=place)


def _checks_folder(folder: str) -> Path:
    checks = Path(folder) / "checks"
    checks.mkdir()
    return checks


def _welcome(repository: Repository, url: str, user: str) -> Iterator[str]:
    models = repository.models()
    yield f"Serving {', '.join(models) or 'no model yet'} from {repository.root} at {url} (Ctrl-C stops)"
    model, row = _example(repository)
    body = shlex.quote(json.dumps({"rows": [row]}, ensure_ascii=False))
    yield f"Try: curl -u {shlex.quote(user)} {url}/v2/models/{model}/predict -d {body}"


def _example(repository: Repository) -> tuple[str, Any]:
    for model in repository.models():
        try:
            return model, read_smoke(repository.folder(model, repository.active(model))).rows[0]
        except PipelineError:
            continue  # such as a model without an active version
    return "NAME", {"COLUMN": "VALUE"}
