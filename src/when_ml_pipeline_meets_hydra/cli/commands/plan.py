"""``plan``: the steps that would run, and why."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.arguments import with_job_file
from when_ml_pipeline_meets_hydra.cli.commands.config_dir import ConfigDir
from when_ml_pipeline_meets_hydra.cli.project import current_project


def plan(
    overrides: Annotated[list[str] | None, typer.Argument(help="c=… key=value …, as for a run")] = None,
    multirun: Annotated[bool, typer.Option("--multirun", "-m", help="A job for each listed value")] = False,
    config_dir: ConfigDir = None,
    config_name: Annotated[str | None, typer.Option("--config-name", help="A job file of yours in it")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines")] = False,
) -> None:
    """Show each step with its action and the reason for it; run nothing."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json, print_rows
    from when_ml_pipeline_meets_hydra.cli.output.formatting import counts_text
    from when_ml_pipeline_meets_hydra.cli.output.plain_lines import notes
    from when_ml_pipeline_meets_hydra.cli.output.tables import plan_json
    from when_ml_pipeline_meets_hydra.pipeline import prepare

    prepared = prepare(overrides or [], multirun=multirun, config_dirs=with_job_file(config_dir or [], config_name))
    if project := current_project():
        print(f"Project: {project.file}", file=sys.stderr)
    sys.stderr.writelines(f"{note}\n" for note in notes(prepared))
    if as_json:
        print_json(plan_json(prepared.plan))
    else:
        steps = prepared.plan.steps
        rows = ((s.call.title, s.key[:12], s.action, s.reason) for s in steps)
        print_rows(("step", "key", "action", "why"), rows)
        print(f"{counts_text(s.action for s in steps)}; nothing was run")
