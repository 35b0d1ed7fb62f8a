"""The Typer app of the ``config`` commands."""

from __future__ import annotations

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.diff import diff
from when_ml_pipeline_meets_hydra.cli.commands.config.draft import draft
from when_ml_pipeline_meets_hydra.cli.commands.config.edit import edit
from when_ml_pipeline_meets_hydra.cli.commands.config.export_folder import export_folder
from when_ml_pipeline_meets_hydra.cli.commands.config.history import history
from when_ml_pipeline_meets_hydra.cli.commands.config.import_folder import import_folder
from when_ml_pipeline_meets_hydra.cli.commands.config.list_entries import list_entries
from when_ml_pipeline_meets_hydra.cli.commands.config.members import role, rules
from when_ml_pipeline_meets_hydra.cli.commands.config.migrate import migrate
from when_ml_pipeline_meets_hydra.cli.commands.config.publish import publish
from when_ml_pipeline_meets_hydra.cli.commands.config.revert import revert
from when_ml_pipeline_meets_hydra.cli.commands.config.review import review
from when_ml_pipeline_meets_hydra.cli.commands.config.show import show

config = typer.Typer(no_args_is_help=True)
config.command("list")(list_entries)
config.command("show")(show)
config.command("edit")(edit)
config.command("import")(import_folder)
config.command("export")(export_folder)
config.command("history")(history)
config.command("revert")(revert)
config.command("draft")(draft)
config.command("review")(review)
config.command("publish")(publish)
config.command("diff")(diff)
config.add_typer(migrate, name="migrate")
config.command("role")(role)
config.command("rules")(rules)
