"""Objectives of networks: the loss, and the conversion of outputs to predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.network_param import NetworkParam
from when_ml_pipeline_meets_hydra.ml.training.param import Loss
from when_ml_pipeline_meets_hydra.ml.training.quantiles import quantile_of

Array = np.ndarray[Any, Any]
LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_HUBER_INLIERS = 0.9


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The number of ``outputs`` of a network (K classes, or 1), its ``target``, its ``loss`` and its last layer.

    ``loss`` returns that of each row, ``weights`` are those of the rows (None: all count the same). ``head`` converts
    outputs to predictions [N, 1] of the scaled target or probabilities [N, K]; ``classes`` are the classes in the
    training rows.
    """

    outputs: int
    target: torch.Tensor
    loss: LossFunction
    head: nn.Module
    classes: Array | None
    weights: torch.Tensor | None = None

    def mean_loss(
        self, outputs: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean of the loss of some rows, times their weights, whose mean over all rows is 1."""
        losses = self.loss(outputs, target).flatten()
        return losses.mean() if weights is None else (losses * weights).mean()


def objective(task: Task, param: NetworkParam, target: Array, weights: Array | None = None) -> Objective:
    """Return the objective for ``target``, [N]: float64 with mean 0 and standard deviation 1, or indices of classes."""
    of_rows = None if weights is None else torch.from_numpy(weights.astype(np.float32))
    if task is Task.CLASSIFICATION:
        classes, indices = np.unique(target, return_inverse=True)
        return Objective(
            outputs=len(classes),
            target=torch.from_numpy(indices.astype(np.int64)),
            loss=partial(functional.cross_entropy, reduction="none"),
            head=nn.Softmax(dim=1),
            classes=classes,
            weights=of_rows,
        )
    return Objective(
        outputs=1,
        target=torch.from_numpy(target.astype(np.float32)).reshape(-1, 1),
        loss=_loss(param, target, weights),
        head=nn.Identity(),
        classes=None,
        weights=of_rows,
    )


def _loss(param: NetworkParam, target: Array, weights: Array | None) -> LossFunction:
    if param.loss is Loss.QUANTILE:
        return partial(_pinball, quantile=param.quantile)
    distance = quantile_of(np.abs(target - quantile_of(target, 0.5, weights)), _HUBER_INLIERS, weights)
    losses: Mapping[Loss, LossFunction] = {
        Loss.SQUARED_ERROR: partial(functional.mse_loss, reduction="none"),
        Loss.ABSOLUTE_ERROR: partial(functional.l1_loss, reduction="none"),
        Loss.HUBER: partial(functional.huber_loss, delta=distance or 1.0, reduction="none"),
    }
    return losses[param.loss]


def _pinball(predicted: torch.Tensor, target: torch.Tensor, quantile: float) -> torch.Tensor:
    below = target - predicted
    return torch.maximum(quantile * below, (quantile - 1) * below)
