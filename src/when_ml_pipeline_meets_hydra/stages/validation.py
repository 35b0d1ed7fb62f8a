"""Stage validation: the scores of a model on folds of the training rows, in each of which everything is fitted anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from when_ml_pipeline_meets_hydra.contracts import Each
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
from when_ml_pipeline_meets_hydra.ml.evaluation import FoldScore, Validated, mean_and_deviation
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold
from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit
from when_ml_pipeline_meets_hydra.ml.validation.auto import MOST_ROWS
from when_ml_pipeline_meets_hydra.ml.validation.interface import Validation

if TYPE_CHECKING:
    import polars as pl


def _folds(validation: Validation, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
    return validation.folds(split, dataset)


def validate(
    preprocessing: Annotated[tuple[PreparedData, ...], Each("split", of=_folds)],
    modeling: Annotated[tuple[TrainedModel, ...], Each("split", of=_folds)],
    *,
    out: Path,
) -> Validated:
    """Gather the scores and the predictions of the folds; see ``Validated`` for the files.

    The data of each fold are prepared, and its model is trained, by the subcommands of the combination.
    """
    import polars as pl

    both = list(enumerate(zip(preprocessing, modeling, strict=True), 1))
    parts = [_predictions(number, data, model) for number, (data, model) in both]
    table = pl.concat(parts, how="diagonal").sort("row", "fold")
    table.write_parquet(out / "predictions.parquet")
    folds = tuple(
        FoldScore(fold=number, rows_train=data.rows_train, rows=data.rows_test, metrics=model.metrics)
        for number, (data, model) in both
    )
    metrics, deviations = mean_and_deviation([fold.metrics for fold in folds])
    baseline, _ = mean_and_deviation([model.baseline for model in modeling])
    first = modeling[0]
    validated = Validated(
        path=out,
        model=first.model,
        task=first.task,
        metrics=metrics,
        deviations=deviations,
        baseline=baseline,
        folds=folds,
    )
    _write(validated, out / "scores.json")
    print(validated.summary)
    rows = preprocessing[0].rows_train + preprocessing[0].rows_test
    if rows > MOST_ROWS and len(folds) > 1:  # of a table in a database, the number is not known when folds are chosen
        fewer = f"modeling/validation=holdout trains one model instead of {len(folds)}"
        print(f"Note: {preprocessing[0].dataset}: {rows:,} training rows in {len(folds)} folds; {fewer}")
    return validated


def _predictions(number: int, data: PreparedData, model: TrainedModel) -> pl.DataFrame:
    """The predictions of a fold's held-out rows; classes by name."""
    import polars as pl

    rows = pl.read_parquet(data.path / "rows.parquet")
    predicted = pl.read_parquet(model.path / "predictions.parquet")
    if data.classes:
        names = pl.Series(data.classes, dtype=pl.String)
        predicted = predicted.with_columns(names.gather(predicted[c]).alias(c) for c in ("target", "prediction"))
    return pl.concat([rows, predicted], how="horizontal").with_columns(pl.lit(number).alias("fold"))


def _write(validated: Validated, file: Path) -> None:
    content = {
        "metrics": dict(validated.metrics),
        "deviations": dict(validated.deviations),
        "baseline": dict(validated.baseline),
        "folds": [
            {"fold": f.fold, "rows_train": f.rows_train, "rows": f.rows, "metrics": dict(f.metrics)}
            for f in validated.folds
        ],
    }
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
