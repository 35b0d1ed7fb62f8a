"""Permutation importance of the raw columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.analyses.drawing import picture, short
from when_ml_pipeline_meets_hydra.analyses.interface import Case, Finding, Table
from when_ml_pipeline_meets_hydra.contracts import Progress, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from when_ml_pipeline_meets_hydra.ml.inputs.stored_predictions import Array
    from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions


@frozen
class Importance:
    """How much worse the model gets when the values of a raw column are shuffled (Breiman, "Random Forests", 2001)."""

    repeats: Annotated[int, Field(ge=1, le=100, description="How often each column is shuffled")] = 5
    rows: Annotated[int, Field(ge=10, le=1000, description="Most held-out rows that are used")] = 500
    most_columns: Annotated[int, Field(ge=1, le=100_000, description="With more columns the section is left out")] = 100
    shown: Annotated[int, Field(ge=1, le=60, description="Columns in the picture, the most important first")] = 12
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Seed of the shuffling")] = 0

    def find(self, case: Case, progress: Progress) -> Finding | None:
        """The importance on held-out rows; None for a single row or too many columns (pixels)."""
        columns = case.preprocessing.columns
        if len(columns) > self.most_columns or case.preprocessing.rows_test < 2:
            return None
        import numpy as np
        import polars as pl

        from when_ml_pipeline_meets_hydra.ml.datasets.table import column
        from when_ml_pipeline_meets_hydra.ml.preparation import matrix
        from when_ml_pipeline_meets_hydra.ml.training.matrices import read_split
        from when_ml_pipeline_meets_hydra.serving.bundle_predictions import Predictor

        raw = pl.read_parquet(case.preprocessing.path / "holdout.parquet").head(self.rows)
        raw.columns = [column(k) for k in range(len(columns))]
        feeds, target = matrix.feeds(raw, columns), read_split(case.preprocessing, "test").target[: raw.height]
        predictor = Predictor(case.preprocessing, case.modeling)
        before = _loss(case.task, target, predictor.predict_raw(feeds))
        random = np.random.default_rng(self.seed)
        found = []
        for done, described in enumerate(columns):
            progress(done, len(columns), described.name)
            losses = []
            for _ in range(self.repeats):
                shuffled = feeds[described.name][random.permutation(raw.height)]
                predicted = predictor.predict_raw({**feeds, described.name: shuffled})
                losses.append(_loss(case.task, target, predicted) - before)
            found.append({"column": described.name, "mean": float(np.mean(losses)), "spread": float(np.std(losses))})
        found.sort(key=lambda f: (-float(f["mean"]), f["column"]))  # type: ignore[arg-type]
        top = found[: self.shown]
        metric = "RMSE" if case.task is Task.REGRESSION else "log loss"
        most = ", ".join(f"{f['column']} {f['mean']:.3g}" for f in top[:3])
        rest = f" The picture shows the first {len(top)} of {len(found)}." if len(top) < len(found) else ""
        return Finding(
            title="Importance of the columns",
            text=f"How much the {metric} grows on {raw.height} held-out rows when the values of a column are shuffled "
            f"({self.repeats} times, on average); near 0 the model hardly uses it. Correlated columns share "
            f"their importance.{rest}",
            numbers={"metric": metric, "rows": raw.height, "before": before, "columns": found},
            pictures=[
                picture(
                    f"Importance of the columns; the first are {most}.",
                    lambda axes: _draw(axes, top, metric),
                    height=max(2.2, 0.9 + 0.27 * len(top)),
                )
            ],
            table=Table(
                columns=("column", f"growth of the {metric}", "spread"),
                rows=[(str(f["column"]), f"{f['mean']:.4g}", f"{f['spread']:.2g}") for f in found],
            ),
        )


def _loss(task: Task, target: Array, predicted: Predictions) -> float:
    from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate

    return evaluate(target, predicted)["rmse" if task is Task.REGRESSION else "log_loss"]


def _draw(axes: Axes, found: list[dict[str, Any]], metric: str) -> None:
    names = [short(f["column"], 22) for f in found]
    axes.barh(
        range(len(found)),
        [f["mean"] for f in found],
        xerr=[f["spread"] for f in found],
        color="#0072B2",
        ecolor="#5b6470",
        height=0.65,
    )
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"growth of the {metric}")
