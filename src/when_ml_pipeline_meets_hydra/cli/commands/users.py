"""``cluster user``: add, remove and list the users of a model repository's servers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.output.consoles import print_rows
from when_ml_pipeline_meets_hydra.composing.environment import HOME, home
from when_ml_pipeline_meets_hydra.storage.home import make_home

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.http.users import Users

REPOSITORY_HELP = f"Directory of the model repository; models/ in ${HOME} or .pipeline otherwise"
ROLE_HELP = "Their permissions: predict; deploy (also upload, activate, roll back); admin"

RepositoryOption = Annotated[Path | None, typer.Option(help=REPOSITORY_HELP)]
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
    from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
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
