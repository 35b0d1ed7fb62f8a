"""Partial scores of a training, from its mean loss on rows that it holds out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.errors import Pruned

LOG_LOSS = "log_loss"  # the loss of all classifications
_IN_UNITS = ("rmse", "mae", "pinball")
_METRICS = {"absolute_error": "mae", "quantile": "pinball", LOG_LOSS: LOG_LOSS}
_EACH, _EVERY = 10, 10  # trees of which each, and then every tenth, has a partial score, whatever their total


class InUnits:
    """The ``Progress`` of a model that is trained on a scaled target: errors are reported in the target's unit."""

    def __init__(self, progress: Progress, spread: float) -> None:
        self._progress, self._spread = progress, spread

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        """Pass progress on."""
        self._progress(done, total, message)

    def report(self, step: int, /, **metrics: float) -> bool:
        """Pass partial scores on; returns whether to stop."""
        units = {name: value * self._spread for name, value in metrics.items() if name in _IN_UNITS}
        return self._progress.report(step, **{**metrics, **units})


class NoProgress:
    """A ``Progress`` to which nobody listens."""

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        """Do nothing."""

    def report(self, step: int, /, **metrics: float) -> bool:
        """Return False: nobody stops the training."""
        return False


class HeldOutLoss:
    """Reports the mean ``loss`` on rows that a training holds out, and the metrics that follow from it.

    Of ``squared_error``, that is r2 against the variance of all training rows, which is 1.
    """

    def __init__(self, progress: Progress, loss: str) -> None:
        self._progress, self._loss = progress, loss

    def __call__(self, step: int, value: float, **further: float) -> None:
        """Report the mean loss after a step. Raises ``Pruned`` if the training has to stop."""
        if self._progress.report(step, **_scores(self._loss, value), **further):
            raise Pruned

    def after_tree(self, number: int, value: float) -> None:
        """Report the mean loss of trees, after each of the first ones and then after every tenth."""
        if number <= _EACH or number % _EVERY == 0:
            self(number, value)


def _scores(loss: str, value: float) -> Mapping[str, float]:
    if loss == "squared_error":
        return {"r2": 1 - value, "rmse": math.sqrt(value)}
    return {_METRICS.get(loss, "loss"): value}
