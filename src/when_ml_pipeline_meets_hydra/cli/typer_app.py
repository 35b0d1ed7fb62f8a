"""The Typer app of our own commands, which have one file each."""

from __future__ import annotations

from functools import cache
from typing import Any

import typer

from when_ml_pipeline_meets_hydra.cli import COMMANDS
from when_ml_pipeline_meets_hydra.cli.arguments import PROGRAM
from when_ml_pipeline_meets_hydra.cli.commands.annotate import note, tag
from when_ml_pipeline_meets_hydra.cli.commands.check import check
from when_ml_pipeline_meets_hydra.cli.commands.compare import compare_runs
from when_ml_pipeline_meets_hydra.cli.commands.drift import drift
from when_ml_pipeline_meets_hydra.cli.commands.graph import graph
from when_ml_pipeline_meets_hydra.cli.commands.new import new
from when_ml_pipeline_meets_hydra.cli.commands.plan import plan
from when_ml_pipeline_meets_hydra.cli.commands.rerun import rerun
from when_ml_pipeline_meets_hydra.cli.commands.runs import diff, list_runs, show
from when_ml_pipeline_meets_hydra.cli.commands.schema import schema
from when_ml_pipeline_meets_hydra.cli.commands.serve import serve
from when_ml_pipeline_meets_hydra.cli.commands.store import gc, list_results, verify
from when_ml_pipeline_meets_hydra.cli.commands.sync import sync
from when_ml_pipeline_meets_hydra.cli.commands.users import add_user, list_users, remove_user
from when_ml_pipeline_meets_hydra.cli.commands.web import web

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
runs = typer.Typer(no_args_is_help=True, help=COMMANDS["runs"])
store = typer.Typer(no_args_is_help=True, help=COMMANDS["store"])
cluster = typer.Typer(no_args_is_help=True, help=COMMANDS["cluster"])
users = typer.Typer(no_args_is_help=True, help="Manage the users of a repository's servers")

app.command("plan", help=COMMANDS["plan"], context_settings={"allow_extra_args": True})(plan)
app.command("graph", help=COMMANDS["graph"])(graph)
app.command("new", short_help=COMMANDS["new"])(new)
app.command("check", short_help=COMMANDS["check"])(check)
app.command("schema", short_help=COMMANDS["schema"])(schema)
app.command("serve", help=COMMANDS["serve"])(serve)
app.command("web", help=COMMANDS["web"])(web)
app.add_typer(runs, name="runs")
app.add_typer(store, name="store")
app.add_typer(cluster, name="cluster")
cluster.command("drift")(drift)
cluster.add_typer(users, name="user")
users.command("add")(add_user)
users.command("remove")(remove_user)
users.command("list")(list_users)
runs.command("list")(list_runs)
runs.command("show")(show)
runs.command("diff")(diff)
runs.command("compare")(compare_runs)
runs.command("tag")(tag)
runs.command("note")(note)
runs.command("rerun")(rerun)
runs.command("sync")(sync)
store.command("list")(list_results)
store.command("verify")(verify)
store.command("gc")(gc)


def run_command(arguments: list[str]) -> int:
    """Run one of our own commands; returns its exit code."""
    try:
        command(has_config=arguments[:1] == ["config"]).main(arguments, prog_name=PROGRAM)
    except SystemExit as stopped:  # Typer always exits
        return int(stopped.code or 0)
    return 0


@cache
def command(*, has_config: bool) -> Any:
    """The commands; the many below ``config`` would slow down each of the others."""
    if has_config:
        from when_ml_pipeline_meets_hydra.cli.commands.config.config_app import config

        app.add_typer(config, name="config", help=COMMANDS["config"])
    return typer.main.get_command(app)
