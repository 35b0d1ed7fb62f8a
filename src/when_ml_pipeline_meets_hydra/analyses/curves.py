"""ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.analyses.drawing import COLOURS, MOST_LINES, picture, short
from when_ml_pipeline_meets_hydra.analyses.interface import Case, Finding, Table
from when_ml_pipeline_meets_hydra.contracts import Progress, frozen

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@frozen
class Curves:
    """ROC and precision-recall curves of the second of two classes, or of each class against all others."""

    points: Annotated[int, Field(ge=10, le=100_000, description="Most points of a curve in the JSON")] = 200

    def find(self, case: Case, progress: Progress) -> Finding | None:
        """The curves of classes that some rows belong to and others do not; None if there is none."""
        if case.predicted.probabilities is None:
            return None
        classes = [1] if len(case.classes) == 2 else range(len(case.classes))
        found = [self._of(case, k) for k in classes if 0 < (case.target == k).sum() < len(case.target)]
        if not found:
            return None
        drawn = found[:MOST_LINES]
        more = f" The pictures show the first {len(drawn)} of {len(found)} classes." if len(drawn) < len(found) else ""
        areas = ", ".join(f"{c['class']} {c['roc_auc']:.3f}" for c in drawn)
        precisions = ", ".join(f"{c['class']} {c['average_precision']:.3f}" for c in drawn)
        return Finding(
            title="ROC and precision-recall curves",
            text="How a threshold on the probability of a class trades what is found for false alarms. The nearer to "
            f"the upper left (ROC) or upper right corner, the better; dashed: a guess.{more}",
            numbers={"classes": found},
            pictures=[
                picture(f"ROC curves; areas below them: {areas}.", lambda axes: _roc(axes, drawn)),
                picture(f"Precision-recall curves; average precision: {precisions}.", lambda axes: _pr(axes, drawn)),
            ],
            table=Table(
                columns=("class", "share of rows", "area below ROC", "average precision"),
                rows=[
                    (c["class"], f"{c['share']:.1%}", f"{c['roc_auc']:.4f}", f"{c['average_precision']:.4f}")
                    for c in found
                ],
            ),
        )

    def _of(self, case: Case, k: int) -> dict[str, Any]:
        from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

        assert case.predicted.probabilities is not None
        is_k, scores = case.target == k, case.predicted.probabilities[:, k]
        false_alarms, hits, _ = roc_curve(is_k, scores)
        precision, recall, _ = precision_recall_curve(is_k, scores)
        return {
            "class": case.classes[k],
            "share": float(is_k.mean()),
            "roc_auc": float(roc_auc_score(is_k, scores)),
            "average_precision": float(average_precision_score(is_k, scores)),
            "roc": self._thinned(false_alarms, hits),
            "precision_recall": self._thinned(recall[::-1], precision[::-1]),
        }

    def _thinned(self, x: Any, y: Any) -> list[list[float]]:
        import numpy as np

        kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), self.points)).round().astype(int))
        return [[float(x[i]), float(y[i])] for i in kept]


def _roc(axes: Axes, found: Sequence[dict[str, Any]]) -> None:
    axes.plot([0, 1], [0, 1], linestyle="--", color="#8a8f98", linewidth=1)
    _lines(axes, found, "roc", "roc_auc")
    axes.set_xlabel("false alarms (part of all others)")
    axes.set_ylabel("found (part of the class)")
    axes.legend(loc="lower right")


def _pr(axes: Axes, found: Sequence[dict[str, Any]]) -> None:
    if len(found) == 1:
        axes.axhline(found[0]["share"], linestyle="--", color="#8a8f98", linewidth=1)
    _lines(axes, found, "precision_recall", "average_precision", step=True)
    axes.set_xlabel("recall (part of the class)")
    axes.set_ylabel("precision")
    axes.legend(loc="lower left")


def _lines(axes: Axes, found: Sequence[dict[str, Any]], points: str, area: str, *, step: bool = False) -> None:
    for curve, colour in zip(found, COLOURS, strict=False):
        x, y = zip(*curve[points], strict=True)
        axes.plot(
            x,
            y,
            drawstyle="steps-pre" if step else "default",
            color=colour,
            linewidth=1.8,
            label=f"{short(curve['class'])} ({curve[area]:.3f})",
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
