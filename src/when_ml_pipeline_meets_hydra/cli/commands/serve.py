"""``serve``: a model repository over HTTP."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.registry import mirrored
from when_ml_pipeline_meets_hydra.cli.commands.users import RepositoryOption, root_of
from when_ml_pipeline_meets_hydra.composing.environment import SERVE_PW, home
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.http.users import User


def serve(
    repository: RepositoryOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that answer")] = 1,
    user: Annotated[
        str,
        typer.Option("--id", help=f"The only id, where the repository has no users; its password is in ${SERVE_PW}"),
    ] = "pipeline",
    certificate: Annotated[Path | None, typer.Option(help="Serve over TLS: certificate and its chain (PEM)")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM)")] = None,
    proxy: Annotated[str, typer.Option(help="Address of a proxy whose X-Forwarded-For names the client")] = "",
    request_limit: Annotated[int, typer.Option(min=1, help="Largest body of a request, in MB")] = 32,
    upload_limit: Annotated[int, typer.Option(min=1, help="Largest bundle that may be uploaded, in MB")] = 512,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests that a worker works on at once")] = 64,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a request may take")] = 30,
    failed_logins: Annotated[int, typer.Option(min=1, help="Wrong passwords from an address in a minute")] = 10,
    registry: Annotated[str, typer.Option(help="Serve what is active in the registry of this MLflow server")] = "",
    model: Annotated[list[str] | None, typer.Option(help="Model of the registry; may be given several times")] = None,
    alias: Annotated[str, typer.Option(help="Alias of the version that is active in the registry")] = "champion",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks into the registry")] = 10,
) -> None:
    """Serve the models of a repository over HTTP, to those who have an id and a password.

    'cluster user add' says who has. Where it was never used there is one user, with the password in the environment
    variable WMH_SERVE_PW. Versions that are pushed, activated or rolled back, and users that
    come or go, are noticed without a restart; SIGHUP starts the workers anew, one after the other.

    With --registry the repository follows an MLflow registry, whose id and password are in MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD; where it cannot be reached, what was active last is served.
    """
    from when_ml_pipeline_meets_hydra.serving import server
    from when_ml_pipeline_meets_hydra.serving.http.settings import MEGABYTE, Settings

    root = repository or home() / "registry" if registry else root_of(repository)
    settings = Settings(
        root=root,
        sole=_sole_user(user, root, may_deploy=not registry),
        host=host,
        port=port,
        workers=workers,
        certificate=certificate,
        key=key,
        proxy=proxy,
        request_limit=request_limit * MEGABYTE,
        upload_limit=upload_limit * MEGABYTE,
        concurrency=concurrency,
        timeout=timeout,
        failed_logins=failed_logins,
    )
    with mirrored(registry, model or [], alias, every, root, _say):
        server.serve(settings, _say)


def _sole_user(name: str, root: Path, *, may_deploy: bool) -> Mapping[str, User]:
    from when_ml_pipeline_meets_hydra.serving.formats.versions import USERS
    from when_ml_pipeline_meets_hydra.serving.http.users import Role, new_user, user_name

    # Not left in the environment, where every child would get it.
    password = os.environ.pop(SERVE_PW, "")
    if (root / USERS).exists():
        return {}
    try:
        user_name(name)
    except ValueError as wrong:
        raise BadInput(Problem(key="--id", value=name, message=str(wrong))) from None
    return {name: new_user(Role.DEPLOY if may_deploy else Role.PREDICT, password or _new_password())}


def _new_password() -> str:
    if not sys.stderr.isatty():
        remedy = f"Set it, for example: {SERVE_PW}=$(openssl rand -base64 18) when_ml_pipeline_meets_hydra serve"
        raise BadInput(Problem(key=f"${SERVE_PW}", message="the server needs a password, or users", remedy=remedy))
    password = secrets.token_urlsafe(18)
    _say(f"The password, shown only this once: {password}")
    return password


def _say(line: str) -> None:
    typer.echo(line, err=True)
