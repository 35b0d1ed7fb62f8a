"""``web``: the web app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import ConfigDir, StoreOption
from when_ml_pipeline_meets_hydra.cli.commands.users import (
    Certificate,
    FailedLogins,
    Host,
    Key,
    Proxy,
    RepositoryOption,
    print_line,
    repository_root,
    single_user,
)
from when_ml_pipeline_meets_hydra.composing.environment import WEB_PW, home
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.http.users import Users

_ID_HELP = f"The only user of a repository without users, you otherwise; the password is in ${WEB_PW}"


def web(
    repository: RepositoryOption = None,
    store: StoreOption = "",
    config_dir: ConfigDir = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one")] = 8090,
    user: Annotated[str, typer.Option("--id", help=_ID_HELP)] = "",
    certificate: Certificate = None,
    key: Key = None,
    proxy: Proxy = "",
    failed_logins: FailedLogins = 10,
    launch_users: Annotated[str, typer.Option(help="Those who may start runs, as ann,bob; nobody otherwise")] = "",
    launch_limit: Annotated[int, typer.Option(min=1, help="Runs started in the app that are computed at once")] = 1,
) -> None:
    """Serve the web app, in which the entries of a config store are edited, reviewed and published.

    The users of the model repository sign in ('cluster user add' adds them); in the config store they have the roles of
    their names. A repository without users has a single one, whose password is in the environment variable WMH_WEB_PW.
    """
    from when_ml_pipeline_meets_hydra.config_store.people import current_user
    from when_ml_pipeline_meets_hydra.serving.http.users import Users
    from when_ml_pipeline_meets_hydra.web import server
    from when_ml_pipeline_meets_hydra.web.settings import Settings

    root = repository_root(repository)
    sole = single_user(user or current_user(), root, WEB_PW)
    settings = Settings(
        home=home(),
        repository=root,
        store=store,
        sole=sole,
        config_dirs=tuple(config_dir or ()),
        host=host,
        port=port,
        certificate=certificate,
        key=key,
        proxy=proxy,
        failed_logins=failed_logins,
        launch_users=_known(launch_users, Users(root, sole)),
        launch_limit=launch_limit,
    )
    server.serve(settings, print_line)


def _known(names: str, users: Users) -> frozenset[str]:
    """The named users. Raises ``BadInput`` if there is no such user."""
    found, known = {name.strip() for name in names.split(",")} - {""}, users.all()
    if unknown := sorted(found - {*known}):
        message, remedy = "there is no such user", did_you_mean(unknown[0], known)
        raise BadInput(Problem(key="--launch-users", value=unknown[0], message=message, remedy=remedy))
    return frozenset(found)
