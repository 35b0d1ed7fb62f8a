"""Runs the model server until it is stopped."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from when_ml_pipeline_meets_hydra.errors import BadInput, PipelineError, Problem
from when_ml_pipeline_meets_hydra.serving.app import create_app
from when_ml_pipeline_meets_hydra.serving.repository import Repository
from when_ml_pipeline_meets_hydra.serving.smoke import read_smoke

GRACE_SECONDS = 10
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(root: Path, *, host: str, port: int, user: str, password: str, announce: Callable[[str], None]) -> None:
    """Serve the repository below ``root`` until SIGINT or SIGTERM; requests that have begun are finished.

    Args:
        root: directory of the repository, which need not exist yet.
        host: address to listen on.
        port: port to listen on, 0 for a free one.
        user: id that clients have to bring.
        password: its password.
        announce: gets the lines for the person who started the server.

    Raises:
        BadInput: the address cannot be listened on, or ``root`` is no directory.
    """
    repository = Repository(root)
    if root.exists() and not root.is_dir():
        raise BadInput(Problem(key="--repository", value=str(root), message="is no directory"))
    with _listening(host, port) as listener:
        url = _url(host, listener.getsockname()[1])
        for line in _welcome(repository, url, user, host):
            announce(line)
        _log_to_stderr()
        app = create_app(repository, user=user, password=password)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
        )
        with _quiet_signals():
            uvicorn.Server(config).run(sockets=[listener])
    announce("Stopped.")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sets TCP_NODELAY only where the protocol is named; without it an answer takes 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as problem:
        raise BadInput(Problem(key="--host", value=host, message=problem.strerror or "unknown address")) from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(1024)
        except OSError as problem:
            remedy = "Stop what listens there, or take another one; --port 0 takes a free one"
            message = f"cannot listen on {host}: {(problem.strerror or str(problem)).lower()}"
            raise BadInput(Problem(key="--port", value=str(port), message=message, remedy=remedy)) from None
        yield listener


@contextmanager
def _quiet_signals() -> Iterator[None]:
    # After its graceful stop uvicorn raises the signal again, for whoever waits for it: that is us.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _welcome(repository: Repository, url: str, user: str, host: str) -> Iterator[str]:
    models = repository.models()
    yield f"Serving {', '.join(models) or 'no model yet'} from {repository.root} at {url} (Ctrl-C stops)"
    model, row = _example(repository)
    body = shlex.quote(json.dumps({"rows": [row]}, ensure_ascii=False))
    yield f"Try: curl -u {shlex.quote(user)} {url}/v2/models/{model}/predict -d {body}"
    if host not in LOOPBACK:
        yield "Warning: passwords travel unencrypted; put a TLS proxy in front of this server."


def _example(repository: Repository) -> tuple[str, Any]:
    for model in repository.models():
        try:
            return model, read_smoke(repository.folder(model, repository.active(model))).rows[0]
        except PipelineError:
            continue  # another model may make a better example
    return "NAME", {"COLUMN": "VALUE"}


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name, level in (("when_ml_pipeline_meets_hydra", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
