"""The base class of networks; each kind only builds its layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, Task
from when_ml_pipeline_meets_hydra.ml.models.packages import missing
from when_ml_pipeline_meets_hydra.ml.training.network_param import NetworkParam

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

_PACKAGES = ("torch", "onnxscript")

#: A number of features; or channels, height and width of an image.
InDim = int | tuple[int, int, int]


@frozen
class Network(ABC):
    """Base class of networks, trained by gradient descent; subclasses implement ``build``.

    Example::

        def build(self, in_dim: InDim, *, out_dim: int) -> nn.Module:
            return nn.Sequential(nn.Linear(in_dim, self.width), nn.ReLU(), nn.Linear(self.width, out_dim))
    """

    takes: ClassVar[type] = NetworkParam

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")]
    device: Annotated[
        str | None,
        Field(
            pattern=r"^(auto|cpu|\d{1,3}|(cuda|mps|xpu)(:\d+)?)$",
            description="Where to train; auto: GPU or CPU; a number: that GPU; null: CPU",
        ),
        Unkeyed(),
    ] = "auto"
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    @abstractmethod
    def build(self, in_dim: InDim, *, out_dim: int) -> nn.Module:
        """Build the network, with random weights.

        Args:
            in_dim: F, of rows [N, F]; or (C, H, W), of images [N, C, H, W].
            out_dim: K, of outputs [N, K].

        Raises:
            BadInput: the options do not support such rows.
        """

    def misfit(self, image: Image | None) -> Iterator[Problem]:
        """Yield the problems of the options with images of this shape (None: with rows that are no images)."""
        yield from ()

    def check(self) -> Iterable[Problem]:
        """Yield a problem for missing packages, or a missing device."""
        if problems := list(missing(self.name, _PACKAGES, "torch")):
            yield from problems
        elif self.device not in ("auto", "cpu", None):
            from when_ml_pipeline_meets_hydra.ml.networks import devices

            if problem := devices.missing(self.device):
                yield Problem(key="device", value=self.device, message=problem, remedy="Choose auto or cpu")

    def unsupported(self, m_param: NetworkParam) -> Iterator[Problem]:
        """Yield a problem if the device cannot compute as the hyperparameters want it to."""
        if m_param.mixed_precision:
            from when_ml_pipeline_meets_hydra.ml.networks import devices

            if problem := devices.without_bfloat16(devices.device(self.device)):
                remedy = "Set it to false, or choose another device (gpu)"
                yield Problem(key="m_param.mixed_precision", value="true", message=problem, remedy=remedy)

    def fit(
        self,
        task: Task,
        m_param: Any,
        features: Array,
        target: Array,
        progress: Progress,
        *,
        image: Image | None = None,
        apart: KeptApart | None = None,
        checkpoints: Path | None = None,
        sample_weight: Array | None = None,
    ) -> Estimator:
        """Train, resuming from ``checkpoints`` of an interrupted training; see ``Model.fit``."""
        import numpy as np
        import torch

        from when_ml_pipeline_meets_hydra.ml.networks import devices, estimator
        from when_ml_pipeline_meets_hydra.ml.networks.checkpoint import Checkpoints
        from when_ml_pipeline_meets_hydra.ml.networks.objectives import objective
        from when_ml_pipeline_meets_hydra.ml.networks.training_loop import TrainingLoop

        if problems := list(self.misfit(image)):
            raise BadInput(*problems)
        goal, on = objective(task, m_param, target, sample_weight), devices.device(self.device)
        with devices.reproducible(on, m_param.seed, self.n_jobs):
            net = self._build(features.shape[1], image, goal.outputs)
            rows = torch.from_numpy(np.require(features, dtype=np.float32, requirements=["C", "W"]))
            training = TrainingLoop(net.to(on), goal, m_param, rows, apart)
            training.run(progress, Checkpoints(checkpoints))
        whole = torch.nn.Sequential(net, goal.head)
        if goal.classes is None:
            return estimator.Trained(whole, training.history)
        return estimator.TrainedClassifier(whole, goal.classes, training.history)

    def export(self, estimator: Any, n_features: int) -> onnx.ModelProto:
        """Convert the trained network to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.networks.estimator import to_graph

        return to_graph(estimator.net, n_features)

    def _build(self, n_features: int, image: Image | None, out_dim: int) -> nn.Module:
        """Build the network, for rows [N, F] of the matrices."""
        from torch import nn

        net = self.build(image.shape if image else n_features, out_dim=out_dim)
        print(f"{net}\n{sum(p.numel() for p in net.parameters()):,} weights")
        return nn.Sequential(nn.Unflatten(1, image.shape), net) if image else net
