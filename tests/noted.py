"""A ``Progress`` that notes what a training reports, and can stop it."""

from __future__ import annotations

from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress


class Noted(NoProgress):
    """Notes progress and partial scores; ``last`` is the number of the report that stops the training."""

    def __init__(self, last: int | None = None) -> None:
        self.work: list[tuple[float, float | None, str]] = []
        self.scores: list[tuple[int, dict[str, float]]] = []
        self._last = last

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        self.work.append((done, total, message))

    def report(self, step: int, /, **metrics: float) -> bool:
        self.scores.append((step, metrics))
        return len(self.scores) == self._last
