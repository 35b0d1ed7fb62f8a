"""Stage validation: the scores of a model on folds of the training rows, in each of which everything is fitted anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from when_ml_pipeline_meets_hydra.contracts import Each, agreed, agreed_with_data
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
from when_ml_pipeline_meets_hydra.ml.evaluation import FoldScore, Validated, mean_and_deviation
from when_ml_pipeline_meets_hydra.ml.metrics.interface import NONE, Metrics
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold
from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit
from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Threshold
from when_ml_pipeline_meets_hydra.ml.thresholds.most_likely import MostLikely
from when_ml_pipeline_meets_hydra.ml.training.class_weights import classes_of
from when_ml_pipeline_meets_hydra.ml.training.decisions import threshold_problems
from when_ml_pipeline_meets_hydra.ml.validation.auto import MOST_ROWS
from when_ml_pipeline_meets_hydra.ml.validation.interface import Validation

if TYPE_CHECKING:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.training.decisions import Scored


def _folds(validation: Validation, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
    return validation.folds(split, dataset)


def _are_named(metrics: Metrics | None) -> Iterator[Problem]:
    yield from metrics.problems() if metrics else ()


def _is_of_two_classes(dataset: Any, threshold: Threshold | None) -> Iterator[Problem]:
    if threshold is not None and threshold.is_wanted and (classes := classes_of(dataset)) is not None:
        yield from threshold_problems(threshold, classes)


@agreed(_are_named)
@agreed_with_data(_is_of_two_classes)
def validate(
    preprocessing: Annotated[tuple[PreparedData, ...], Each("split", of=_folds)],
    modeling: Annotated[tuple[TrainedModel, ...], Each("split", of=_folds)],
    threshold: Threshold = MostLikely(),  # noqa: B008
    metrics: Metrics = NONE,
    *,
    out: Path,
) -> Validated:
    """Gather the scores and the predictions of the folds, and choose the threshold; see ``Validated`` for the files.

    The data of each fold are prepared, and its model is trained, by the subcommands of the combination.
    """
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.training.decisions import chosen, described, given

    folds = [_FoldRows.read(number, *both) for number, both in enumerate(zip(preprocessing, modeling, strict=True), 1)]
    classes, decision = preprocessing[0].classes, given(threshold, preprocessing[0].classes)
    if threshold.is_wanted and threshold.is_chosen:
        decision = chosen(threshold, classes, [fold.scored for fold in folds])
    if threshold.is_wanted:
        folds = _decided(folds, threshold)
    table = pl.concat([fold.table for fold in folds], how="diagonal").sort("row", "fold")
    table.write_parquet(out / "predictions.parquet")
    scores = tuple(fold.score(metrics, is_new=threshold.is_wanted) for fold in folds)
    means, deviations = mean_and_deviation([score.metrics for score in scores])
    baseline, _ = mean_and_deviation([fold.baseline(metrics) for fold in folds])
    validated = Validated(
        path=out,
        model=modeling[0].model,
        task=modeling[0].task,
        metrics=means,
        deviations=deviations,
        baseline=baseline,
        folds=scores,
        decision=decision,
        model_bytes=fmean((model.path / "model.onnx").stat().st_size for model in modeling),
    )
    _write(validated, out / "scores.json")
    print(validated.summary)
    rows = preprocessing[0].rows_train + preprocessing[0].rows_test
    if rows > MOST_ROWS and len(folds) > 1:  # of a table in a database, the number is not known when folds are chosen
        fewer = f"modeling/validation=holdout trains one model instead of {len(folds)}"
        print(f"Note: {preprocessing[0].dataset}: {rows:,} training rows in {len(folds)} folds; {fewer}")
    if decision:
        print(f"{validated.model}: {described(decision, classes)}")
    return validated


@dataclass(frozen=True, kw_only=True)
class _FoldRows:
    """The held-out rows of a fold, ``table`` with their predictions (classes by name), and the same as arrays."""

    number: int
    data: PreparedData
    model: TrainedModel
    table: pl.DataFrame
    scored: Scored

    @classmethod
    def read(cls, number: int, data: PreparedData, model: TrainedModel) -> _FoldRows:
        """Read the rows of a fold, from 1."""
        from when_ml_pipeline_meets_hydra.ml.inputs.stored_predictions import labelled_rows, weights_of
        from when_ml_pipeline_meets_hydra.ml.training.decisions import Scored

        table = _predictions(number, data, model)
        _, predicted, target = labelled_rows(table, data.classes)
        numbers = table["row"].to_numpy()
        scored = Scored(target=target, predicted=predicted, weights=weights_of(table), numbers=numbers)
        return cls(number=number, data=data, model=model, table=table, scored=scored)

    def score(self, own: Metrics, *, is_new: bool) -> FoldScore:
        """Return the metrics; those of the model are computed anew if its predictions are."""
        from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate

        rows, metrics = self.scored, self.model.metrics
        if is_new:
            metrics = evaluate(rows.target, rows.predicted, rows.weights, self.model.quantile)
        metrics = {**metrics, **self._further(own, rows.predicted)}
        return FoldScore(fold=self.number, rows_train=self.data.rows_train, rows=self.data.rows_test, metrics=metrics)

    def baseline(self, own: Metrics) -> dict[str, float]:
        """Return the metrics of the naive baseline."""
        if not own.own:
            return dict(self.model.baseline)
        from when_ml_pipeline_meets_hydra.ml.training.matrices import read_split
        from when_ml_pipeline_meets_hydra.ml.training.predictions import naive

        known, data = read_split(self.data, "train"), self.data
        guess = naive(data.task, known.target, len(self.scored.target), len(data.classes), known.weights)
        return {**self.model.baseline, **self._further(own, guess)}

    def _further(self, own: Metrics, predicted: Any) -> dict[str, float]:
        from when_ml_pipeline_meets_hydra.ml.metrics.interface import ScoredRows

        rows = ScoredRows.of(self.scored.target, predicted, self.data.classes, self.scored.weights)
        return own.scores(rows)[0]


def _decided(folds: Sequence[_FoldRows], threshold: Threshold) -> list[_FoldRows]:
    """Return the folds with the classes that a threshold gives their rows, chosen on the other folds."""
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.training.decisions import cross_fitted

    classes = folds[0].data.classes
    names = pl.Series(classes, dtype=pl.String)
    found = []
    for fold, predicted in zip(folds, cross_fitted(threshold, classes, [f.scored for f in folds]), strict=True):
        labels = names.gather(predicted.values).alias("prediction")
        scored = replace(fold.scored, predicted=predicted)
        found.append(replace(fold, table=fold.table.with_columns(labels), scored=scored))
    return found


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
        **({"threshold": validated.decision.threshold} if validated.decision else {}),
        "folds": [
            {"fold": f.fold, "rows_train": f.rows_train, "rows": f.rows, "metrics": dict(f.metrics)}
            for f in validated.folds
        ],
    }
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
