"""The files of prepared data, and the comparison of the ONNX graph with the matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, RawRows, Remote
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, TARGET, WEIGHT, Table, column
from when_ml_pipeline_meets_hydra.ml.expressions.calendar import number
from when_ml_pipeline_meets_hydra.ml.preparation import graph, matrix
from when_ml_pipeline_meets_hydra.ml.preparation.fit import Fitted
from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Summary, of_numbers, of_texts
from when_ml_pipeline_meets_hydra.ml.splits.interface import HELD_OUT, Separated
from when_ml_pipeline_meets_hydra.ml.splits.sides import LABEL, Split

TARGET_FEATURE, WEIGHT_FEATURE = "__target__", "__weight__"
HOLDOUT_ROWS = 1000
SUMMARY_ROWS, SUMMARY_VALUES = 100_000, 20_000_000


@contextmanager
def fetched(dataset: Dataset, folder: Path) -> Iterator[RawRows]:
    """The rows of a data set; those of a server are fetched into ``folder``, and removed afterwards."""
    if not isinstance(dataset, Remote):
        yield dataset.rows()
        return
    with TemporaryDirectory(prefix="rows-", dir=folder) as inside:
        yield dataset.read(Path(inside))


@contextmanager
def read_once(table: Table, texts: bool, folder: Path) -> Iterator[Table]:
    """The table; ``texts`` are parsed only once, into a file, since otherwise every pass would parse them again."""
    if not texts:
        yield table
        return
    file = folder / "typed.parquet"
    table.frame.sink_parquet(file, compression="lz4", engine="streaming")
    try:
        yield replace(table, frame=pl.scan_parquet(file, glob=False))
    finally:
        file.unlink()


def write_files(
    table: Table, parts: Split, fitted: Fitted, names: tuple[str, ...], out: Path, progress: Progress
) -> None:
    """Write the matrices, the graph and the held-out raw rows into ``out``, and compare graph and matrices.

    Raises:
        StepFailed: the outputs of the graph differ from the matrices.
    """
    model = out / "preprocessing.onnx"
    model.write_bytes(graph.build(fitted).SerializeToString(deterministic=True))
    session = _session(model)
    for done, (part, rows) in enumerate({"train": parts.train(), "test": parts.test()}.items()):
        progress(2 + done, 4, f"writing {part}.parquet")
        write_matrix(rows, table, fitted, names, out / f"{part}.parquet")
        raw = first_rows(rows, table)
        compare(raw, fitted, names, session, out / f"{part}.parquet")
    write_raw(raw, table, out / "holdout.parquet")
    parts.test().select(pl.col(ROW).cast(pl.Int64)).sink_parquet(out / "rows.parquet", engine="streaming")
    write_summary(parts, table, out / "summary.json")


def write_separated(parts: Split, table: Table, separated: Separated, file: Path) -> None:
    """Write the column that a split keeps apart, for every row, with the part in which the row is."""
    value = pl.col(table.further[separated.column]).alias("value")
    rows = parts.labelled.filter(pl.col(HELD_OUT).is_not_null()).select(value, HELD_OUT)
    rows.sink_parquet(file, compression="lz4", engine="streaming")


def write_matrix(rows: pl.LazyFrame, table: Table, fitted: Fitted, names: tuple[str, ...], file: Path) -> None:
    """Stream the features of ``rows``, their target and their weight, if they have one, into ``file``."""
    regression = table.task is Task.REGRESSION
    target = number(TARGET, table.target.dtype) if regression else pl.col(LABEL)
    weight = [] if table.weight is None else [pl.col(WEIGHT).alias(WEIGHT_FEATURE)]
    selected = rows.select(*matrix.features(fitted, names), target.alias(TARGET_FEATURE), *weight)
    selected.sink_parquet(file, compression="lz4", engine="streaming")


def first_rows(rows: pl.LazyFrame, table: Table) -> pl.DataFrame:
    """Return the raw columns (``c0``, ``c1`` …) of the first rows, at most 1,000."""
    wanted = [column(k) for k in range(len(table.columns))]
    return rows.select(wanted).head(HOLDOUT_ROWS).collect(engine="streaming")


def write_raw(rows: pl.DataFrame, table: Table, file: Path) -> None:
    """Write raw rows with the original names of the columns."""
    rows.rename({column(k): c.name for k, c in enumerate(table.columns)}).write_parquet(file)


def write_summary(parts: Split, table: Table, file: Path) -> None:
    """Write the distribution of each raw column over (a sample of) the training rows."""
    wanted = [column(k) for k in range(len(table.columns))]
    sample = parts.sample(min(SUMMARY_ROWS, max(1, SUMMARY_VALUES // len(wanted))))
    values = matrix.feeds(sample.select(wanted).collect(engine="streaming"), table.columns)
    columns = {c.name: (of_texts if c.dtype.is_text else of_numbers)(values[c.name]) for c in table.columns}
    file.write_bytes(TypeAdapter(Summary).dump_json(Summary(columns=columns), indent=1))


def _session(model: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def compare(raw: pl.DataFrame, fitted: Fitted, names: tuple[str, ...], session: Any, written: Path) -> None:
    """Compare the outputs of the graph in an onnxruntime ``session`` with the first rows of the matrix in ``written``.

    Raises:
        StepFailed: they differ.
    """
    made: Any = session.run(None, matrix.feeds(raw, fitted.inputs))[0]
    expected = pl.read_parquet(written, columns=list(names), n_rows=raw.height).cast(pl.Float32).to_numpy()
    agrees = np.isclose(made, expected, rtol=1e-6, atol=1e-6) if made.shape == expected.shape else np.zeros((1, 1))
    if not agrees.all():
        row, feature = (int(k) for k in np.argwhere(~agrees.astype(bool))[0])
        raise StepFailed(
            f"The ONNX graph of the preprocessing differs from {written.name}: row {row}, feature "
            f"'{names[feature]}' (graph: {made.shape}, file: {expected.shape})"
        )
