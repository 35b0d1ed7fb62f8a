"""``check``: whether all option files of a project are good."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.arguments import with_job_file
from when_ml_pipeline_meets_hydra.cli.commands.config_dir import ConfigDir

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.errors import Problem


def check(
    config_dir: ConfigDir = None,
    config_name: Annotated[str | None, typer.Option("--config-name", help="A job file of yours in it")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines")] = False,
) -> None:
    """Check all option files of the project, or of --config-dir: each composes and binds in some combination.

    What is wrong is reported at once, with file and line: unknown keys, values out of range, a _target_ that cannot be
    used, options that are hidden, misplaced or read by no stage. Data and the values that a command line gives may be
    missing. A line '# @with GROUP=OPTION' in a file says for which other choice it is made.
    """
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

    folders = config_dir or []
    if not folders:
        remedy = "Give --config-dir, or name config_dirs in [tool.wmh] of pyproject.toml"
        raise BadInput(
            Problem(key="--config-dir", message="there are no option files of yours to check", remedy=remedy)
        )
    problems = _problems(folders, config_name)
    if as_json:
        plain = [{k: v for k, v in asdict(p).items() if v and k != "jobs"} for p in problems]
        print_json({"folders": folders, "problems": plain})
    elif problems:
        from when_ml_pipeline_meets_hydra.cli.output.consoles import console
        from when_ml_pipeline_meets_hydra.cli.output.tables import Problems

        console(stderr=True, soft_wrap=True).print(Problems(problems, "Not all is good"))
    else:
        print(f"The option files of {', '.join(folders)} are good", file=sys.stderr)
    if problems:
        raise typer.Exit(2)


def _problems(folders: Sequence[str], config_name: str | None) -> Sequence[Problem]:
    from when_ml_pipeline_meets_hydra.checking.last_check import checked

    def of_folders() -> Sequence[Problem]:
        from when_ml_pipeline_meets_hydra.checking.check import check_folders

        return check_folders(folders)

    def of_job_file() -> Sequence[Problem]:
        from when_ml_pipeline_meets_hydra.checking.check import check_job_file

        return check_job_file(with_job_file(list(folders), config_name))

    return of_job_file() if config_name else checked(folders, of_folders)
