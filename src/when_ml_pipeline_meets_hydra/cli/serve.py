"""``serve``: a model repository over HTTP."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.exit import HOME_VARIABLE, home
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

PASSWORD = "WHEN_ML_PIPELINE_MEETS_HYDRA_SERVE_PW"


def serve(
    repository: Annotated[
        Path | None,
        typer.Option(help=f"Directory of the model repository; models/ in ${HOME_VARIABLE} or .pipeline otherwise"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one")] = 8080,
    user: Annotated[
        str, typer.Option("--id", help=f"The id that clients have to bring; the password is that in ${PASSWORD}")
    ] = "pipeline",
) -> None:
    """Serve the models of a repository over HTTP, with an id and a password.

    The password comes from the environment variable WHEN_ML_PIPELINE_MEETS_HYDRA_SERVE_PW. Versions that are pushed,
    activated or rolled back meanwhile are taken over without a restart.
    """
    from when_ml_pipeline_meets_hydra.serving import server

    if not user or ":" in user:
        raise BadInput(Problem(key="--id", value=user, message="an id must not be empty or hold a colon"))
    root = repository or home() / "models"
    server.serve(root, host=host, port=port, user=user, password=_password(), announce=_say)


def _password() -> str:
    # Not left in the environment, where every child would get it.
    if password := os.environ.pop(PASSWORD, ""):
        return password
    if not sys.stderr.isatty():
        remedy = f"Set it, for example: {PASSWORD}=$(openssl rand -base64 18) when_ml_pipeline_meets_hydra serve"
        raise BadInput(Problem(key=f"${PASSWORD}", message="the server needs a password", remedy=remedy))
    password = secrets.token_urlsafe(18)
    _say(f"The password, shown only this once: {password}")
    return password


def _say(line: str) -> None:
    typer.echo(line, err=True)
