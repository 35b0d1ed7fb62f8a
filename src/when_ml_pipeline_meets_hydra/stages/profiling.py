"""Subcommand profile: a description of each column of a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.contracts import Artifact, Progress, frozen
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.table import Table


@frozen
class Profile(Artifact):
    """The profile of a data set.

    Files: ``profile.json`` (``dataset``, ``rows``, ``task``, what stands out as ``remarks``, and for each column its
    name, type, share of missing values, number of distinct ones, range, histogram, and ``remarks``) and
    ``profile.html``, the same as a self-contained page.
    """

    dataset: str
    rows: int
    columns: int


def profile(dataset: Dataset, *, out: Path, progress: Progress) -> Profile:
    """Describe each column (type, missing values, range, histogram) as a page and as JSON.

    The rows are read once; then the columns are described in parallel.

    Raises:
        BadInput: a column is not there.
        StepFailed: a column cannot be described.
    """
    from when_ml_pipeline_meets_hydra.ml.datasets.table import table as read
    from when_ml_pipeline_meets_hydra.ml.preparation import write

    progress(0, None, "reading")
    with write.fetched(dataset, out) as rows, write.read_once(read(rows, with_empty=False), rows.texts, out) as table:
        content = _content(dataset.name, table, progress)
    _write(content, out)
    count = f"{content['rows']:,} rows, {len(content['columns'])} columns"
    print(f"{dataset.name}: {count} described in profile.html and profile.json")
    if content["remarks"]:
        print(f"{dataset.name}: {content['remarks']}")
    return Profile(path=out, dataset=dataset.name, rows=content["rows"], columns=len(content["columns"]))


def _content(name: str, table: Table, progress: Progress, workers: int | None = None) -> dict[str, Any]:
    """The profile as JSON; the same for any number of ``workers`` (None: as many as Polars has threads)."""
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.preparation.categories import fewest_rows
    from when_ml_pipeline_meets_hydra.ml.preparation.param import PreparationParam
    from when_ml_pipeline_meets_hydra.ml.profiles.parallel import describe_all
    from when_ml_pipeline_meets_hydra.ml.profiles.remarks import add_remarks, line

    rows: int = table.frame.select(pl.len()).collect(engine="streaming").item()
    found = describe_all(table, rows, progress, workers)
    remarks = add_remarks(table, rows, found, fewest_rows(PreparationParam(), rows)[0])
    content = {"dataset": name, "rows": rows, "task": table.task.value, **remarks, "remarks": line(remarks, found)}
    return {**content, "columns": found}


def _write(content: dict[str, Any], out: Path) -> None:
    from when_ml_pipeline_meets_hydra.ml.profiles import page

    (out / "profile.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    (out / "profile.html").write_text(page.render(content), encoding="utf-8")
