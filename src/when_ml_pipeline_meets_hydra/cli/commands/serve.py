"""``serve``: a model repository over HTTP."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.registry import mirrored
from when_ml_pipeline_meets_hydra.cli.commands.users import RepositoryOption, repository_root
from when_ml_pipeline_meets_hydra.composing.dotenv_file import variable
from when_ml_pipeline_meets_hydra.composing.environment import SERVE_PW, home
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.storage.home import make_home

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.http.users import User


def serve(
    repository: RepositoryOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Worker processes")] = 1,
    user: Annotated[
        str,
        typer.Option("--id", help=f"The only user of a repository without users; the password is in ${SERVE_PW}"),
    ] = "pipeline",
    certificate: Annotated[Path | None, typer.Option(help="Serve over TLS: certificate and its chain (PEM)")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM)")] = None,
    proxy: Annotated[str, typer.Option(help="Address of a proxy whose X-Forwarded-For names the client")] = "",
    request_limit: Annotated[int, typer.Option(min=1, help="Largest body of a request, in MB")] = 32,
    row_limit: Annotated[int, typer.Option(min=1, help="Most rows of a request")] = 100_000,
    header_limit: Annotated[int, typer.Option(min=1, help="Largest head of a request, in KB")] = 64,
    memory_limit: Annotated[int, typer.Option(min=1, help="Memory for predictions per worker, in MB")] = 2048,
    upload_limit: Annotated[int, typer.Option(min=1, help="Largest bundle that may be uploaded, in MB")] = 512,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent requests per worker")] = 64,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a prediction")] = 5,
    receive_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to receive a request")] = 30,
    load_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to load a version or check an upload")] = 30,
    failed_logins: Annotated[int, typer.Option(min=1, help="Failed logins allowed per address and minute")] = 10,
    registry: Annotated[str, typer.Option(help="URL of an MLflow server: serve its active versions")] = "",
    model: Annotated[list[str] | None, typer.Option(help="Model of the registry (may be repeated)")] = None,
    alias: Annotated[str, typer.Option(help="Alias of the active version in the registry")] = "champion",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two reads of the registry")] = 10,
) -> None:
    """Serve the models of a repository over HTTP, with HTTP Basic authentication.

    'cluster user add' adds users. A repository without users has a single one, whose password is in the environment
    variable WMH_SERVE_PW. Changes of versions and users take effect without a restart; SIGHUP restarts the workers, one
    after the other.

    With --registry the repository mirrors an MLflow registry, whose id and password are in MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD; while it cannot be reached, the versions that were active last are served.
    """
    from when_ml_pipeline_meets_hydra.serving import server
    from when_ml_pipeline_meets_hydra.serving.http.settings import MEGABYTE, Settings

    root = repository or home() / "registry" if registry else repository_root(repository)
    settings = Settings(
        root=root,
        sole=_single_user(user, root, may_deploy=not registry),
        host=host,
        port=port,
        workers=workers,
        certificate=certificate,
        key=key,
        proxy=proxy,
        request_limit=request_limit * MEGABYTE,
        row_limit=row_limit,
        header_limit=header_limit << 10,
        memory_limit=memory_limit * MEGABYTE,
        upload_limit=upload_limit * MEGABYTE,
        concurrency=concurrency,
        timeout=timeout,
        receive_timeout=receive_timeout,
        load_timeout=load_timeout,
        failed_logins=failed_logins,
    )
    if repository is None:
        with suppress(OSError):  # a server only has to read
            make_home(home())
    with mirrored(registry, model or [], alias, every, root, _print_line):
        server.serve(settings, _print_line)


def _single_user(name: str, root: Path, *, may_deploy: bool) -> Mapping[str, User]:
    from when_ml_pipeline_meets_hydra.serving.formats.versions import USERS
    from when_ml_pipeline_meets_hydra.serving.http.users import Role, new_user, user_name

    # Removed from the environment, which every child process inherits.
    password = os.environ.pop(SERVE_PW, None) or variable(SERVE_PW) or ""
    if (root / USERS).exists():
        return {}
    try:
        user_name(name)
    except ValueError as wrong:
        raise BadInput(Problem(key="--id", value=name, message=str(wrong))) from None
    return {name: new_user(Role.DEPLOY if may_deploy else Role.PREDICT, password or _new_password())}


def _new_password() -> str:
    if not sys.stderr.isatty():
        remedy = f"Set it, for example: {SERVE_PW}=$(openssl rand -base64 18) wmh serve"
        raise BadInput(Problem(key=f"${SERVE_PW}", message="the server needs a password, or users", remedy=remedy))
    password = secrets.token_urlsafe(18)
    _print_line(f"The password, shown only this once: {password}")
    return password


def _print_line(line: str) -> None:
    typer.echo(line, err=True)
