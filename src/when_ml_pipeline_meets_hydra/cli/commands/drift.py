"""``cluster drift``: what a served model is asked, beside what it was trained with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem, Refused

ASKS = ("c=deployment", "c/deployment_sub=status")


def drift(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="The model's name, and the cluster as for a deployment: deployment/cluster=… cluster.url=…"
        ),
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="The version; the active one otherwise")] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days, today included")] = 7,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw it: .png or .svg")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 3 where something has drifted")] = False,
    config_dir: Annotated[list[str] | None, typer.Option("--config-dir", help="A folder of your option files")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines")] = False,
) -> None:
    """Compare what a version is asked and answers with its training: the stability index of each feature."""
    from when_ml_pipeline_meets_hydra.cli.commands.compare import check_endings, write
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_rows
    from when_ml_pipeline_meets_hydra.serving.monitoring.drift import compare, table

    check_endings({"--picture": picture})
    cluster, model = _asked(words or [], config_dir or [])
    found = compare(cluster.observation(model, version, days))
    if picture:
        from when_ml_pipeline_meets_hydra.analyses.drift import draw

        write(picture, draw(found, picture.suffix.lower().removeprefix(".")))
    if as_json:
        from pydantic import TypeAdapter

        sys.stdout.write(TypeAdapter(Any).dump_json(found, indent=2).decode() + "\n")
    else:
        print_rows(("feature", "PSI", "", "changed most"), table(found))
        print(_said(found, cluster.name))
        if picture:
            print(f"written: {picture}")
    if check and found.drifted:
        raise typer.Exit(int(ExitCode.REFUSED))


def _asked(words: list[str], config_dirs: list[str]) -> tuple[Any, str]:
    """The cluster and the model's name that the words come to."""
    from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Watched
    from when_ml_pipeline_meets_hydra.pipeline import prepare

    names = [word for word in words if "=" not in word and not word.startswith("~")]
    if len(names) > 1:
        raise BadInput(
            Problem(key=names[1], message="one model at a time", remedy="Name it, then GROUP=OPTION KEY=VALUE")
        )
    overrides = [word for word in words if word not in names]
    prepared = prepare([*ASKS, *overrides, *(f"model_name={name}" for name in names)], config_dirs=config_dirs)
    arguments = prepared.bound.calls[0][1].arguments
    cluster = arguments["cluster"]
    if not isinstance(cluster, Watched):
        raise Refused("cluster", f"{cluster.name} does not note what its models are asked")
    return cluster, arguments["model_name"]


def _said(found: Any, name: str) -> str:
    what = f"{found.model} version {found.version} on {name}"
    if found.first is None:
        return f"{what} was asked nothing in these days: there is nothing to compare"
    asked = f"{what}: {found.rows} rows of {found.requests} requests, {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    if found.has_too_little:
        return f"{asked}: too little to tell drift from chance"
    return f"{asked}: {', '.join(found.drifted) or 'nothing'} drifted"
