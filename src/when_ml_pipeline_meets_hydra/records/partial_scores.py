"""The partial scores of a step in a record: for each metric, pairs of step and value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric

MOST_SHOWN = 7  # points of a metric that are shown, beside the last one


def as_json(scores: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, list[tuple[int, float | None]]]:
    """Return partial scores as JSON values; null for what is no number."""
    return {name: [(step, v if isfinite(v) else None) for step, v in points] for name, points in scores.items()}


def as_text(name: str, points: Sequence[tuple[int, float | None]]) -> str:
    """Return the partial scores of a metric as text, of many a few: ``r2 0.31, 0.52, 0.58 at steps 1, 20, 40``."""
    gaps = max(len(points) - 1, 1)
    shown = [points[round(k * gaps / MOST_SHOWN)] for k in range(MOST_SHOWN)] if gaps > MOST_SHOWN else points[:-1]
    steps, values = zip(*shown, points[-1], strict=True)
    texts = ("nan" if value is None else format_metric(value) for value in values)
    return f"{name} {', '.join(texts)} at steps {', '.join(map(str, steps))}"
