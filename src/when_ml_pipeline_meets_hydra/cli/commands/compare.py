"""``runs compare``: the combinations of runs side by side, as a table, a file or a plot."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.binding.settings import Direction, Objective
from when_ml_pipeline_meets_hydra.cli.output.consoles import console, print_json, print_rows
from when_ml_pipeline_meets_hydra.cli.output.sweeps import sort_combinations
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.records.compare import Comparison, compare, objective_of
from when_ml_pipeline_meets_hydra.records.frames import csv_of, parquet_of
from when_ml_pipeline_meets_hydra.records.lookup import find_record
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.storage import durable_files


def compare_runs(
    runs: Annotated[list[str], typer.Argument(help="Ids, parts of them that are unique, or 'last'")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table to this file")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write the table to this file")] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Plot the metric against the swept keys: .png or .svg")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="Sort by it, and plot it: r2, or modeling.r2")] = None,
    minimize: Annotated[
        bool | None,
        typer.Option(
            "--minimize/--maximize", help="Which value of a metric of your own is the best", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines")] = False,
) -> None:
    """Compare the combinations of one or several runs: differing keys, status, metrics."""
    check_suffixes({"--csv": csv, "--parquet": parquet, "--picture": picture})
    records = list(dict.fromkeys(find_record(home(), run) for run in runs))
    direction: Direction | None = None if minimize is None else "minimize" if minimize else "maximize"
    comparison, note = _sorted(compare(records), records, metric, direction)
    contents = {file: make(comparison) for file, make in ((csv, csv_of), (parquet, parquet_of)) if file}
    if picture:
        contents[picture] = _plot(comparison, picture)
    for file, content in contents.items():  # after all have been made, so that an error writes none
        write_file(file, content)
    if as_json:
        rows = [row.as_json() for row in comparison.rows]
        print_json({"keys": comparison.keys, "metrics": comparison.metrics, "combinations": rows})
        return
    print_rows(*comparison.table(comparison.rows, console().width if sys.stdout.isatty() else None))
    if note:
        console(stderr=True, soft_wrap=True).print(note, style="yellow", markup=False)
    for file in contents:
        print(f"written: {file}")


def _sorted(
    comparison: Comparison, records: Sequence[Record], metric: str | None, given: Direction | None
) -> tuple[Comparison, str | None]:
    """Sort by ``--metric``, otherwise by the objective of the run; returns a note if the run has no such metric."""
    recorded = objective_of(records[0])
    if metric is None:
        if given and recorded.metric is None:
            message = "there is no metric to sort by"
            raise BadInput(Problem(key=f"--{given}", message=message, remedy="Name it: --metric NAME"))
        direction = _direction(recorded.metric or "", records, given) or recorded.direction
        return sort_combinations(comparison, Objective(metric=recorded.metric, direction=direction))
    stage = (recorded.metric or "").rpartition(".")[0]
    own = f"{stage}.{metric}"  # of two of one name, that by which the run has chosen
    try:
        whole = own if own in comparison.metrics else comparison.metric(metric)
    except BadInput as error:
        (problem,) = error.problems
        raise BadInput(Problem(key="--metric", value=metric, message=problem.message, remedy=problem.remedy)) from None
    same = recorded.metric in (whole, whole.partition(".")[2])
    direction = _direction(whole, records, given) or (recorded.direction if same else None) or "maximize"
    return comparison.sorted(Objective(metric=whole, direction=direction)), None


def _direction(metric: str, records: Sequence[Record], given: Direction | None) -> Direction | None:
    """Return the direction of a metric as given or declared. Raises ``BadInput`` if these differ."""
    own = next((d for r in records if (d := r.head.get("directions", {}).get(metric))), None)
    if own and given and given != own:
        message = f"{metric} is better the {'larger' if own == 'maximize' else 'smaller'} it is"
        raise BadInput(Problem(key=f"--{given}", message=message, remedy="Leave it out"))
    return given or own


def _plot(comparison: Comparison, file: Path) -> bytes:
    from when_ml_pipeline_meets_hydra.records.plot import draw

    if not comparison.metrics:
        raise BadInput(Problem(key="--picture", value=str(file), message="no step measured anything"))
    if not comparison.keys:
        message = "nothing differs between the combinations of these runs"
        raise BadInput(Problem(key="--picture", value=str(file), message=message, remedy="Name several runs"))
    name = comparison.objective.metric
    metric = comparison.metric(name) if name else comparison.metrics[0]
    return draw(comparison, metric, file.suffix.lower().removeprefix("."))


def check_suffixes(files: dict[str, Path | None]) -> None:
    """Raise ``BadInput`` for each file whose suffix does not fit its flag."""
    allowed = {"--csv": (".csv",), "--parquet": (".parquet",), "--picture": (".png", ".svg")}
    problems = [
        Problem(key=flag, value=str(file), message=f"the file has to end with {' or '.join(allowed[flag])}")
        for flag, file in files.items()
        if file and file.suffix.lower() not in allowed[flag]
    ]
    if problems:
        raise BadInput(*problems)


def write_file(file: Path, content: bytes) -> None:
    """Write an output file. Raises ``BadInput`` if it cannot be written."""
    try:
        durable_files.write(file, content)
    except OSError as error:
        message = f"nothing can be written there ({error.strerror})"
        raise BadInput(Problem(key=str(file), message=message)) from error
