"""Preprocessing: read a data set, split it, turn it into matrices and into an ONNX graph that does the same."""

from __future__ import annotations

from pathlib import Path

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.datasets.interface import Dataset
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.preparation.param import PreparationParam
from when_ml_pipeline_meets_hydra.stages.artifacts import PreparedData


def prepare(dataset: Dataset, p_param: PreparationParam, *, out: Path, progress: Progress) -> PreparedData:
    """Prepare a data set for training; see ``PreparedData`` for the files.

    Raises:
        BadInput: a column is not there.
        StepFailed: nothing to learn from, or the ONNX graph does not give the numbers of the matrices.
    """
    from when_ml_pipeline_meets_hydra.datasets.table import table as read
    from when_ml_pipeline_meets_hydra.preparation import write
    from when_ml_pipeline_meets_hydra.preparation.fit import fit
    from when_ml_pipeline_meets_hydra.preparation.split import split

    progress(0, 5, "reading")
    table = read(dataset.rows())
    parts = split(table, p_param.test_fraction, p_param.seed)
    rows_test = sum(parts.held_out)
    rows_train = sum(parts.rows) - rows_test
    if not (rows_train and rows_test):
        raise StepFailed(f"{dataset.name} has {sum(parts.rows)} rows with a target: too few to hold some out")
    progress(1, 5, "fitting")
    fitted = fit(parts.train(), table.columns, rows_train, p_param)
    features = fitted.features([write.TARGET_FEATURE])
    if not features:
        raise StepFailed(
            "No column gives a feature: no numbers, and no text occurs often enough (p_param.min_frequency)"
        )
    for done, (rows, name) in enumerate([(parts.train(), "train"), (parts.test(), "test")]):
        progress(2 + done, 5, f"writing {name}.parquet")
        write.write_matrix(rows, table, fitted, features, out / f"{name}.parquet")
    progress(4, 5, "comparing the ONNX graph with the matrices")
    write.write_graph(fitted, out / "preprocessing.onnx")
    for rows, name in (parts.train(), "train"), (parts.test(), "test"):
        raw = write.first_rows(rows, table)
        write.compare(raw, fitted, features, out / "preprocessing.onnx", out / f"{name}.parquet")
    write.write_raw(raw, table, out / "holdout.parquet")
    progress(5, 5, "prepared")
    print(f"{dataset.name}: {rows_train:,} rows to train on, {rows_test:,} held out, {len(features)} features")
    return PreparedData(
        path=out,
        dataset=dataset.name,
        task=table.task,
        target=table.target,
        classes=parts.classes,
        columns=table.columns,
        features=features,
        rows_train=rows_train,
        rows_test=rows_test,
    )
