"""``cluster user``: add, remove and list the users of a model repository's servers; and the options of its servers."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.output.consoles import print_rows
from when_ml_pipeline_meets_hydra.composing.dotenv_file import variable
from when_ml_pipeline_meets_hydra.composing.environment import HOME, home
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.storage.home import make_home

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.http.users import User, Users

REPOSITORY_HELP = f"Directory of the model repository; models/ in ${HOME} or .pipeline otherwise"
ROLE_HELP = "Their permissions: predict; deploy (also upload, activate, roll back); admin"

RepositoryOption = Annotated[Path | None, typer.Option(help=REPOSITORY_HELP)]
Host = Annotated[str, typer.Option(help="Address to listen on")]
Certificate = Annotated[Path | None, typer.Option(help="Serve over TLS: certificate and its chain (PEM)")]
Key = Annotated[Path | None, typer.Option(help="The certificate's private key (PEM)")]
Proxy = Annotated[str, typer.Option(help="Address of a proxy whose X-Forwarded-For names the client")]
FailedLogins = Annotated[int, typer.Option(min=1, help="Failed logins allowed per address and minute")]
Name = Annotated[str, typer.Argument(help="The id that they log in with")]


def repository_root(repository: Path | None) -> Path:
    """Return the given repository, or the default one in the home folder."""
    return repository or home() / "models"


def add_user(
    name: Name,
    role: Annotated[str, typer.Option(help=ROLE_HELP)] = "predict",
    replace: Annotated[bool, typer.Option("--replace", help="Set the password and role of an existing user")] = False,
    repository: RepositoryOption = None,
) -> None:
    """Add a user; the password is prompted for, or read from stdin. Running servers notice at once."""
    from when_ml_pipeline_meets_hydra.serving.http.users import Role

    if role not in list(Role):
        remedy = did_you_mean(role, list(Role))
        raise BadInput(Problem(key="--role", value=role, message="there is no such role", remedy=remedy))
    password = _password()
    if repository is None:
        make_home(home())
    _users(repository).add(name, Role(role), password, replace=replace)
    typer.echo(f"{name} may {role} on {repository_root(repository)}", err=True)


def remove_user(name: Name, repository: RepositoryOption = None) -> None:
    """Remove a user. Running servers notice at once."""
    _users(repository).remove(name)
    typer.echo(f"{name} is no longer a user of {repository_root(repository)}", err=True)


def list_users(repository: RepositoryOption = None) -> None:
    """List the users of a repository's servers, with their roles."""
    print_rows(("id", "role"), ((name, user.role) for name, user in sorted(_users(repository).all().items())))


def _users(repository: Path | None) -> Users:
    from when_ml_pipeline_meets_hydra.serving.http.users import Users

    return Users(repository_root(repository))


def _password() -> str:
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return password
    return sys.stdin.readline().rstrip("\r\n")


def single_user(name: str, root: Path, password_in: str, *, may_deploy: bool = True) -> Mapping[str, User]:
    """Return the only user of a repository that has none, whose password is in an environment variable.

    Raises:
        BadInput: the name is invalid, or there is no password and no terminal on which a new one can be shown.
    """
    from when_ml_pipeline_meets_hydra.serving.formats.versions import USERS
    from when_ml_pipeline_meets_hydra.serving.http.users import Role, new_user, user_name

    # Removed from the environment, which every child process inherits.
    password = os.environ.pop(password_in, None) or variable(password_in) or ""
    if (root / USERS).exists():
        return {}
    try:
        user_name(name)
    except ValueError as wrong:
        raise BadInput(Problem(key="--id", value=name, message=str(wrong))) from None
    role = Role.DEPLOY if may_deploy else Role.PREDICT
    return {name: new_user(role, password or _new_password(password_in))}


def _new_password(variable_name: str) -> str:
    if not sys.stderr.isatty():
        remedy = f"Set it, for example: export {variable_name}=$(openssl rand -base64 18)"
        raise BadInput(Problem(key=f"${variable_name}", message="the server needs a password, or users", remedy=remedy))
    password = secrets.token_urlsafe(18)
    print_line(f"The password, shown only this once: {password}")
    return password


def print_line(line: str) -> None:
    """Print a line of a server for the person who started it."""
    typer.echo(line, err=True)
