"""Measure predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from numbers_job.prediction import Predictions
from when_ml_pipeline_meets_hydra import Artifact, frozen


@frozen
class Analysis(Artifact):
    """``metrics.json``: each metric of each part, ``test_accuracy``."""

    metrics: dict[str, float]


def measure(prediction: Predictions, metrics: tuple[Literal["accuracy", "roc_auc"], ...], *, out: Path) -> Analysis:
    """Measure the predictions of each part; the positive class is the last column."""
    import polars as pl
    from sklearn.metrics import accuracy_score, roc_auc_score

    found: dict[str, float] = {}
    for part in prediction.parts:
        frame = pl.read_parquet(prediction.path / f"{part}.parquet")
        y, positive = frame["class"].to_numpy(), frame[:, -1].to_numpy()
        for metric in metrics:
            score = accuracy_score(y, positive > 0.5) if metric == "accuracy" else roc_auc_score(y, positive)
            found[f"{part}_{metric}"] = round(float(score), 6)
    (out / "metrics.json").write_text(json.dumps(found, indent=2) + "\n")
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return Analysis(path=out, metrics=found)
