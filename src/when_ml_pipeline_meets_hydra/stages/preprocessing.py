"""Stage preprocessing: read a data set, split it, and prepare matrices and an equivalent ONNX graph."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, PreparedData
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, RawRows
from when_ml_pipeline_meets_hydra.ml.preparation.param import PreparationParam
from when_ml_pipeline_meets_hydra.ml.splits.interface import (
    RowSplit,
    all_rows,
    columns_of,
    left_out_by,
    separated_by,
)

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.table import Table
    from when_ml_pipeline_meets_hydra.ml.preparation.fit import Fitted


def prepare(
    dataset: Dataset, p_param: PreparationParam, split: RowSplit, *, out: Path, progress: Progress
) -> PreparedData:
    """Prepare a data set for training; see ``PreparedData`` for the files.

    Raises:
        BadInput: a column is not there, or none gives a feature.
        StepFailed: rows that cannot be split, numbers that 32-bit floats do not tell apart, or an ONNX graph that
            disagrees with the matrices.
    """
    from when_ml_pipeline_meets_hydra.ml.datasets.table import table as read
    from when_ml_pipeline_meets_hydra.ml.preparation import write

    progress(0, 4, "reading")
    with write.fetched(dataset, out) as fetched:
        rows = _rows(fetched, split)
        known = read(rows, with_empty=False, further=columns_of(split))
        with write.read_once(known, rows.texts, out) as table:
            return _prepare(dataset, table, rows.image, p_param, split, out, progress)


def _rows(fetched: RawRows, split: RowSplit) -> RawRows:
    """The rows of the data set, with those that the split adds, without the columns that only split them."""
    rows = all_rows(split, fetched)
    names = [name for name in left_out_by(split) if name not in rows.exclude and name != rows.target]
    reasons = (f"{name} (the rows are split by it)" for name in names)
    return replace(
        rows,
        columns=tuple(c for c in rows.columns if c.name not in names),
        exclude=(*rows.exclude, *names),
        left_out=(*rows.left_out, *reasons),
    )


def _prepare(
    dataset: Dataset,
    table: Table,
    image: Image | None,
    p_param: PreparationParam,
    how: RowSplit,
    out: Path,
    progress: Progress,
) -> PreparedData:
    from when_ml_pipeline_meets_hydra.ml.preparation import matrix, write
    from when_ml_pipeline_meets_hydra.ml.preparation.fit import fit
    from when_ml_pipeline_meets_hydra.ml.preparation.left_out import left_out
    from when_ml_pipeline_meets_hydra.ml.splits.sides import split

    name = dataset.name
    parts = split(table, how)
    rows_train, rows_test, separated = parts.rows_train, parts.rows_test, separated_by(how)
    if not (rows_train and rows_test):
        raise StepFailed(f"{name} has {rows_train + rows_test} rows with a target: too few to hold some out")
    _refuse_weights(table)
    progress(1, 4, "fitting")
    fitted = fit(parts.train(), table.described, rows_train, p_param, image, table.derived, table.sources)
    features = _features(name, table, fitted, p_param, image)
    if not (image and image.decoded):  # 256 values of a pixel never coincide
        for line in matrix.check_resolution(parts.train(), rows_train, fitted, p_param.scaling):
            print(line)
    write.write_files(table, parts, fitted, features, out, progress)
    if separated:
        write.write_separated(parts, table, separated, out / "separated.parquet")
    progress(4, 4, "prepared")
    print(f"{name}: {rows_train:,} rows to train on, {rows_test:,} held out, {len(features)} features")
    if table.weight:
        print(f"{name}: rows weighted by {table.weight}, in training and in metrics")
    remarks = left_out(table, fitted)
    if remarks:
        print(f"{name}: {remarks}")
    return PreparedData(
        path=out,
        dataset=name,
        task=table.task,
        target=table.target,
        classes=parts.classes,
        columns=table.columns,
        reading=table.reading,
        features=features,
        one_hot=fitted.one_hot,
        rare=fitted.rare,
        indicators=fitted.indicated,
        image=image,
        remarks=remarks,
        separated=separated.column if separated else None,
        in_time=bool(separated and separated.in_time),
        weight=table.weight,
        rows_train=rows_train,
        rows_test=rows_test,
        fingerprint=dataset.fingerprint(),
    )


def _features(
    name: str, table: Table, fitted: Fitted, p_param: PreparationParam, image: Image | None
) -> tuple[str, ...]:
    """Return the names of the features. Raises ``BadInput`` if there are none, ``StepFailed`` if they make no image."""
    from when_ml_pipeline_meets_hydra.ml.preparation import write
    from when_ml_pipeline_meets_hydra.ml.preparation.left_out import left_out

    features = fitted.features([write.TARGET_FEATURE, write.WEIGHT_FEATURE])
    if not features:
        message = "no column gives a feature: there are no numbers, and no text occurs often enough to be a category"
        given = f", or lower p_param.min_frequency (now {p_param.min_frequency:g})" if p_param.min_frequency else ""
        remedy = f"Derive columns from such texts{given}"
        raise BadInput(Problem(key="dataset", message=f"{message}; {left_out(table, fitted)}", remedy=remedy))
    if image and len(features) != prod(image.shape):
        raise StepFailed(
            f"{name} gives {len(features):,} features, and its images of {image} have {prod(image.shape):,} pixels: "
            "all columns have to be numbers, and p_param.missing_indicator=false where one is missing"
        )
    return features


def _refuse_weights(table: Table) -> None:
    """Raise ``BadInput`` for rows with a target whose weight is no positive finite number."""
    from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW
    from when_ml_pipeline_meets_hydra.ml.datasets.weights import wrong_weights

    if table.weight is None:
        return
    wrong = wrong_weights(table.frame).select(ROW).head(1).collect(engine="streaming")[ROW]
    if len(wrong):
        message = f"row {wrong[0] + 1:,} has a weight that is no positive finite number"
        raise BadInput(Problem(key="dataset.weight", value=table.weight, message=message, remedy="Correct the value"))
