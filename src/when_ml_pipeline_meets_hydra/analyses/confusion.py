"""Confusion matrix, precision and recall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.analyses.drawing import picture, short
from when_ml_pipeline_meets_hydra.analyses.interface import Case, Finding, Table
from when_ml_pipeline_meets_hydra.contracts import Progress, frozen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_NAMES = 12


@frozen
class ConfusionMatrix:
    """How often each class is predicted as each; precision and recall of each."""

    def find(self, case: Case, progress: Progress) -> Finding | None:
        """The confusion matrix; None for a regression."""
        if not case.classes:
            return None
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        every = range(len(case.classes))
        predicted = case.predicted.values
        counts = confusion_matrix(case.target, predicted, labels=every)
        precision, recall, f1, rows = precision_recall_fscore_support(
            case.target, predicted, labels=every, zero_division=0, average=None
        )
        classes = [
            {"class": name, "rows": int(n), "precision": float(p), "recall": float(r), "f1": float(f)}
            for name, n, p, r, f in zip(case.classes, rows, precision, recall, f1, strict=True)
        ]
        wrong = int(counts.sum() - counts.trace())
        alt = f"Confusion matrix: {wrong} of {counts.sum()} rows lie off its diagonal."
        return Finding(
            title="Confusion matrix",
            text="Each row of the matrix is a true class, each column a predicted one; the diagonal is right. "
            "Precision is the part of a class's predictions that is right, recall the part of its rows that is found.",
            numbers={"labels": list(case.classes), "counts": counts.tolist(), "classes": classes},
            pictures=[picture(alt, lambda axes: _draw(axes, counts, case))],
            table=Table(
                columns=("class", "rows", "precision", "recall", "F1"),
                rows=[
                    (str(c["class"]), f"{c['rows']:,}", *(f"{c[k]:.3f}" for k in ("precision", "recall", "f1")))
                    for c in classes
                ],
            ),
        )


def _draw(axes: Axes, counts: Any, case: Case) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / totals.clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    few = len(case.classes) <= _MOST_NAMES
    if few:
        size = 12 if len(case.classes) <= 4 else 9
        for row, col in [(i, j) for i in range(len(counts)) for j in range(len(counts))]:
            colour = "white" if shares[row, col] > 0.55 else "#2b3340"
            axes.text(col, row, f"{counts[row, col]:,}", ha="center", va="center", color=colour, fontsize=size)
        names = [short(name) for name in case.classes]
        axes.set_xticks(range(len(names)), names, rotation=0 if sum(map(len, names)) < 36 else 40)
        axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
