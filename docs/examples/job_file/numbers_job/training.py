"""Train a classifier of images in epochs, with callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

from pydantic import Field

from numbers_job.data import Numbers
from numbers_job.experiment import Experiment
from when_ml_pipeline_meets_hydra import Artifact, Progress, Several, frozen


@frozen
class TrainParams:
    """The hyperparameters."""

    epochs: Annotated[int, Field(ge=1, description="Passes through the images, at most")]
    learning_rate: Annotated[float, Field(gt=0, le=1, description="Size of a step")]
    alpha: Annotated[float, Field(ge=0, description="Penalty of large weights")]


@runtime_checkable
class Callback(Protocol):
    """Called after each epoch."""

    def epoch_ended(self, losses: list[float], out: Path) -> bool:
        """Return whether to stop; ``losses`` are those on the validation part so far."""


class EarlyStopping:
    """Stops a training whose loss has not decreased by ``min_delta`` for ``patience`` epochs: a plain class."""

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta

    def epoch_ended(self, losses: list[float], out: Path) -> bool:
        """Return whether the best loss is too long ago."""
        before = losses[: -self.patience]
        return bool(before) and min(losses[-self.patience :]) > min(before) - self.min_delta


class History:
    """Writes the loss of each epoch into a file."""

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name

    def epoch_ended(self, losses: list[float], out: Path) -> bool:
        """Write the losses so far."""
        lines = (f"{epoch},{loss:.6f}" for epoch, loss in enumerate(losses, 1))
        (out / self.file_name).write_text("\n".join(["epoch,loss", *lines]) + "\n")
        return False


class Initializer:
    """The seed of the order of the images."""

    def __init__(self, seed: int) -> None:
        self.seed = seed


@frozen
class Classifier(Artifact):
    """``model.onnx``, with its loss on the validation part."""

    metrics: dict[str, float]
    directions = {"loss": "minimize"}  # noqa: RUF012


def fit(
    experiment: Experiment,
    dataset: Numbers,
    train_params: TrainParams,
    callbacks: Annotated[Mapping[str, Callback], Several()],
    exp_initializer: Initializer,
    *,
    out: Path,
    progress: Progress,
) -> Classifier:
    """Train in epochs until the last one, or until a callback stops it; export the model as ONNX."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import log_loss

    x, y = dataset.rows("train")
    x_validation, y_validation = dataset.rows("validation")
    options = {"eta0": train_params.learning_rate, "alpha": train_params.alpha, "learning_rate": "constant"}
    model = SGDClassifier(loss="log_loss", random_state=exp_initializer.seed, **options)
    losses: list[float] = []
    for epoch in range(1, train_params.epochs + 1):
        model.partial_fit(x, y, classes=[0, 1])
        losses.append(float(log_loss(y_validation, model.predict_proba(x_validation))))
        progress(epoch, train_params.epochs, "epochs")
        stops = [callback.epoch_ended(losses, out) for callback in callbacks.values()]
        if any(stops):
            break
    graph = to_onnx(model, x[:1], options={"zipmap": False}, target_opset=18)
    (out / "model.onnx").write_bytes(graph.SerializeToString())
    print(f"{experiment.name}: {len(y)} images, {len(losses)} epochs, loss {losses[-1]:.3f}")
    return Classifier(path=out, metrics={"loss": losses[-1], "epochs": len(losses)})
