"""Stage preprocessing: read a data set, split it, and prepare matrices and an equivalent ONNX graph."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, PreparedData
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
from when_ml_pipeline_meets_hydra.ml.preparation.param import PreparationParam

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.table import Table


def prepare(dataset: Dataset, p_param: PreparationParam, *, out: Path, progress: Progress) -> PreparedData:
    """Prepare a data set for training; see ``PreparedData`` for the files.

    Raises:
        BadInput: a column is not there, or none gives a feature.
        StepFailed: too few rows, numbers that 32-bit floats do not tell apart, or an ONNX graph that disagrees
            with the matrices.
    """
    from when_ml_pipeline_meets_hydra.ml.datasets.table import table as read
    from when_ml_pipeline_meets_hydra.ml.preparation import write

    progress(0, 4, "reading")
    with write.fetched(dataset, out) as rows, write.read_once(read(rows, with_empty=False), rows.texts, out) as table:
        return _prepare(dataset, table, rows.image, p_param, out, progress)


def _prepare(
    dataset: Dataset, table: Table, image: Image | None, p_param: PreparationParam, out: Path, progress: Progress
) -> PreparedData:
    from when_ml_pipeline_meets_hydra.ml.preparation import matrix, write
    from when_ml_pipeline_meets_hydra.ml.preparation.fit import fit
    from when_ml_pipeline_meets_hydra.ml.preparation.left_out import left_out
    from when_ml_pipeline_meets_hydra.ml.preparation.split import split

    name = dataset.name
    parts = split(table, p_param.test_fraction, p_param.seed)
    rows_test = sum(parts.held_out)
    rows_train = sum(parts.rows) - rows_test
    if not (rows_train and rows_test):
        raise StepFailed(f"{name} has {sum(parts.rows)} rows with a target: too few to hold some out")
    progress(1, 4, "fitting")
    fitted = fit(parts.train(), table.columns, rows_train, p_param, image)
    features = fitted.features([write.TARGET_FEATURE])
    if not features:
        message = "no column gives a feature: there are no numbers, and no text occurs often enough to be a category"
        remedy = f"Derive columns from such texts, or lower p_param.min_frequency (now {p_param.min_frequency:g})"
        raise BadInput(Problem(key="dataset", message=f"{message}; {left_out(table, fitted)}", remedy=remedy))
    if image and len(features) != prod(image.shape):
        raise StepFailed(
            f"{name} gives {len(features):,} features, and its images of {image} have {prod(image.shape):,} pixels: "
            "all columns have to be numbers, and p_param.missing_indicator=false where one is missing"
        )
    for line in matrix.check_resolution(parts.train(), rows_train, fitted, p_param.scaling):
        print(line)
    write.write_files(table, parts, fitted, features, out, progress)
    progress(4, 4, "prepared")
    print(f"{name}: {rows_train:,} rows to train on, {rows_test:,} held out, {len(features)} features")
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
        image=image,
        remarks=remarks,
        rows_train=rows_train,
        rows_test=rows_test,
        fingerprint=dataset.fingerprint(),
    )
