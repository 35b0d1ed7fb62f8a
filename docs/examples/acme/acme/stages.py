"""A subcommand of preprocessing, and the subcommand of a stage of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra import Artifact, Dataset, PreparedData, Progress, TrainedModel, frozen


@frozen
class Counts(Artifact):
    """``counts.json``: each column with its type and number of missing values."""

    rows: int


def count(dataset: Dataset, *, out: Path) -> Counts:
    """Count what the data set has and what it lacks."""
    frame = dataset.rows().frame.collect()
    columns = {c.name: {"dtype": str(c.dtype), "missing": c.null_count()} for c in frame.iter_columns()}
    (out / "counts.json").write_text(json.dumps(columns, indent=2))
    print(f"{dataset.name}: {frame.height} rows, {frame.width} columns")
    return Counts(path=out, rows=frame.height)


@frozen
class Style:
    """How a report looks."""

    title: Annotated[str, Field(min_length=1, description="First line")]
    digits: Annotated[int, Field(ge=1, le=12, description="Digits of each number")] = 3


@frozen
class Report(Artifact):
    """``report.md``: the model, its metrics and those of the baseline."""


def make(preprocessing: PreparedData, modeling: TrainedModel, style: Style, *, out: Path, progress: Progress) -> Report:
    """Write a page about the model."""
    lines = [f"# {style.title}", "", f"{modeling.model} on {preprocessing.dataset}", ""]
    for name, value in modeling.metrics.items():
        lines.append(f"- {name}: {value:.{style.digits}g}")
    progress(1, 1, "written")
    (out / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print((out / "report.md").read_text(encoding="utf-8"))
    return Report(path=out)
