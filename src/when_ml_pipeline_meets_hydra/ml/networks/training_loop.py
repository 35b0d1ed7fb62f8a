"""The training loop of networks, with early stopping; reproducible by its seed, also after an interruption."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn, optim

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.networks import devices
from when_ml_pipeline_meets_hydra.ml.networks.checkpoint import Checkpoints
from when_ml_pipeline_meets_hydra.ml.networks.objectives import Objective
from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart
from when_ml_pipeline_meets_hydra.ml.training.network_param import NetworkParam, Optimizer
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import LOG_LOSS, HeldOutLoss

_OPTIMIZERS: Mapping[Optimizer, Callable[..., optim.Optimizer]] = {
    "adamw": optim.AdamW,
    "adam": optim.Adam,
    "rmsprop": optim.RMSprop,
    "sgd": partial(optim.SGD, momentum=0.9, nesterov=True),
}
_ROWS_AT_ONCE = 4096
_SAVED = ("best", "best_loss", "losses", "epoch", "best_epoch")


class TrainingLoop:
    """The training of one network, and its state.

    The rows lie on the device of the network, which computes the steps of an epoch without waiting for each other.
    """

    def __init__(
        self,
        net: nn.Module,
        objective: Objective,
        param: NetworkParam,
        features: torch.Tensor,
        apart: KeptApart | None = None,
    ) -> None:
        self.net, self.objective, self.param = net, objective, param
        self.device = next(net.parameters()).device
        weights = () if objective.weights is None else (objective.weights,)
        self.features, self.target, *self.weights = _resident(self.device, features, objective.target, *weights)
        optimizer = _OPTIMIZERS[param.optimizer]
        self.optimizer = optimizer(net.parameters(), lr=param.learning_rate, weight_decay=param.weight_decay)
        self.train_rows, self.validation_rows = _split(len(features), param, apart)
        self.epoch = self.best_epoch = 0
        self.best_loss, self.best = math.inf, copy.deepcopy(net.state_dict())
        self.losses: list[tuple[float, float]] = []  # of each epoch: on the training and on the validation rows
        self.hits: Mapping[str, float] = {}  # the accuracy on the validation rows, of classes

    def run(self, progress: Progress, checkpoints: Checkpoints) -> None:
        """Train, resuming from ``checkpoints``; the network then has its best weights."""
        self._resume(checkpoints)
        scores = HeldOutLoss(progress, self.param.loss if self.objective.classes is None else LOG_LOSS)
        while self.epoch < self.param.epochs and not self._is_out_of_patience():
            message = self._run_epoch()
            progress(self.epoch, self.param.epochs, message)
            if len(self.validation_rows):
                scores(self.epoch, self.losses[-1][1], **self.hits)
            checkpoints.save(self._state())
        self.net.load_state_dict(self.best)
        progress(self.param.epochs, self.param.epochs, f"best after epoch {self.best_epoch}")
        print(f"{self.epoch} epochs, the best weights after {self.best_epoch}")

    @property
    def history(self) -> Mapping[str, Any]:
        """The losses of each epoch; see ``Model.fit``."""
        training, validation = [loss for loss, _ in self.losses], [loss for _, loss in self.losses]
        losses = {"training rows": training, **({"validation rows": validation} if len(self.validation_rows) else {})}
        return {"step": "epoch", "losses": losses, "best": self.best_epoch}

    def _run_epoch(self) -> str:
        # Each epoch is seeded, so that resuming needs no state of random generators.
        seeds = np.random.SeedSequence([self.param.seed, self.epoch])
        devices.set_seed(self.device, int(seeds.generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = self.param.learning_rate * self._decay()
        loss = self._train()
        validation = self._validate() if len(self.validation_rows) else loss
        self.epoch += 1
        self.losses.append((loss, validation))
        if not math.isfinite(loss + validation):
            raise StepFailed(f"The loss is not finite after epoch {self.epoch}; lower m_param.learning_rate")
        if validation < self.best_loss or not len(self.validation_rows):
            self.best_loss, self.best_epoch = validation, self.epoch
            self.best = copy.deepcopy(self.net.state_dict())
        return f"loss {loss:.4g}" + (f", validation {validation:.4g}" if len(self.validation_rows) else "")

    def _train(self) -> float:
        self.net.train()
        order = self.train_rows[torch.randperm(len(self.train_rows))]
        # Batches of nearly equal size: a last one of a single row would have no deviation to normalise by.
        batches, losses = (
            torch.tensor_split(self._where_rows_are(order), max(1, len(order) // self.param.batch_size)),
            [],
        )
        for rows in batches:
            self.optimizer.zero_grad()
            loss = self._loss(rows)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return _mean(losses, batches)

    def _validate(self) -> float:
        self.net.eval()
        batches = torch.split(self._where_rows_are(self.validation_rows), _ROWS_AT_ONCE)
        losses, hits = [], []
        with torch.no_grad():
            for rows in batches:
                outputs, target, *weights = self._outputs(rows)
                losses.append(self.objective.mean_loss(outputs, target, *weights))
                if self.objective.classes is not None:
                    right = (outputs.argmax(dim=1) == target).float()
                    hits.append((right * weights[0] if weights else right).mean())
            self.hits = {"accuracy": _mean(hits, batches)} if hits else {}
            return _mean(losses, batches)

    def _loss(self, rows: torch.Tensor) -> torch.Tensor:
        return self.objective.mean_loss(*self._outputs(rows))

    def _outputs(self, rows: torch.Tensor) -> Sequence[torch.Tensor]:
        """The outputs for some rows, their target, and their weights if they have some."""
        parts = (self.features, self.target, *self.weights)
        features, *known = (part[rows].to(self.device, non_blocking=True) for part in parts)
        with self._precision():
            outputs = self.net(features)
        return outputs.float(), *known

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.param.mixed_precision:
            return nullcontext()
        mixed: AbstractContextManager[Any] = torch.autocast(self.device.type, torch.bfloat16)
        return mixed

    def _where_rows_are(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.to(self.features.device, non_blocking=True)

    def _decay(self) -> float:
        if self.param.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * self.epoch / self.param.epochs)) / 2

    def _is_out_of_patience(self) -> bool:
        patience = self.param.patience
        return patience is not None and self.epoch - self.best_epoch >= patience

    def _resume(self, checkpoints: Checkpoints) -> None:
        if state := checkpoints.load(self.device):
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            vars(self).update({name: state[name] for name in _SAVED})
            print(f"resumed after epoch {self.epoch}")

    def _state(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _SAVED}
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), **values}


def _split(rows: int, param: NetworkParam, apart: KeptApart | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The training and the validation rows; no validation rows without patience, or if there are too few rows.

    They are drawn as the split draws its held-out rows: at random, the newest, or whole groups.
    """
    order = np.random.default_rng([param.seed, rows]).permutation(rows)
    held = round(rows * param.validation_fraction) if param.patience else 0
    if held and apart:
        is_held = apart.held_out(param.validation_fraction, param.seed)[order]
        order, held = np.concatenate((order[is_held], order[~is_held])), int(is_held.sum())
    if not 0 < held < rows - 1:
        held = 0
    return torch.from_numpy(order[held:]), torch.from_numpy(order[:held])


def _resident(device: torch.device, *tensors: torch.Tensor) -> Sequence[torch.Tensor]:
    """The tensors on the device, or as they are if its memory is too small for them."""
    try:
        return [tensor.to(device) for tensor in tensors]
    except torch.OutOfMemoryError:
        print(f"the rows do not fit into the memory of {device}: each batch is copied to it")
        return tensors


def _mean(losses: Sequence[torch.Tensor], batches: Sequence[torch.Tensor]) -> float:
    """The mean loss of all rows. It waits for the device."""
    values, counts = torch.stack(list(losses)).tolist(), [len(rows) for rows in batches]
    total = 0.0
    for value, count in zip(values, counts, strict=True):
        total += value * count
    return total / sum(counts)
