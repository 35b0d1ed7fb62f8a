"""``cluster drift``: the requests of a served version compared with its training data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config_dir import ConfigDir
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem, Refused

STATUS_OVERRIDES = ("c=deployment", "c/deployment_sub=status")


def drift(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="The model's name, and the cluster as for a deployment: deployment/cluster=… cluster.url=…"
        ),
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="The version; the active one otherwise")] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days, today included")] = 7,
    picture: Annotated[Path | None, typer.Option("--picture", help="Plot it: .png or .svg")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 3 where something has drifted")] = False,
    config_dir: ConfigDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines")] = False,
) -> None:
    """Compare the requests and predictions of a version with its training data: the stability index per feature."""
    from when_ml_pipeline_meets_hydra.cli.commands.compare import check_suffixes, write_file
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_rows
    from when_ml_pipeline_meets_hydra.serving.monitoring.drift import compare, summary, table

    check_suffixes({"--picture": picture})
    cluster, model = _cluster_and_model(words or [], config_dir or [])
    found = compare(cluster.observation(model, version, days))
    if picture:
        from when_ml_pipeline_meets_hydra.analyses.drift import draw

        write_file(picture, draw(found, picture.suffix.lower().removeprefix(".")))
    if as_json:
        from pydantic import TypeAdapter

        sys.stdout.write(TypeAdapter(Any).dump_json(found, indent=2).decode() + "\n")
    else:
        print_rows(("feature", "PSI", "", "changed most"), table(found))
        print(summary(found, f"{found.model} version {found.version} on {cluster.name}"))
        if picture:
            print(f"written: {picture}")
    if check and found.drifted:
        raise typer.Exit(int(ExitCode.REFUSED))


def _cluster_and_model(words: list[str], config_dirs: list[str]) -> tuple[Any, str]:
    from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Watched
    from when_ml_pipeline_meets_hydra.pipeline import prepare

    names = [word for word in words if "=" not in word and not word.startswith("~")]
    if len(names) > 1:
        raise BadInput(Problem(key=names[1], message="one model at a time", remedy="Use NAME GROUP=OPTION KEY=VALUE"))
    overrides = [w for w in words if w not in names] + [f"model_name={name}" for name in names]
    prepared = prepare([*STATUS_OVERRIDES, *overrides], config_dirs=config_dirs)
    arguments = prepared.bound.calls[0][1].arguments
    cluster = arguments["cluster"]
    if not isinstance(cluster, Watched):
        raise Refused("cluster", f"{cluster.name} does not record the requests to its models")
    return cluster, arguments["model_name"]
