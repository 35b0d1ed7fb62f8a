"""What all networks have in common; each kind only says how it is built."""

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

_PACKAGES = ("torch", "onnxscript")

# A number of features, or channels, height and width of an image.
InDim = int | tuple[int, int, int]


@frozen
class Network(ABC):
    """A network: ``build`` makes it, and it learns by gradient descent."""

    takes: ClassVar[type] = NetworkParam

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")]
    device: Annotated[
        str,
        Field(pattern=r"^(auto|cpu|(cuda|mps|xpu)(:\d+)?)$", description="Where to train; auto: GPU or CPU"),
        Unkeyed(),
    ] = "auto"
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    @abstractmethod
    def build(self, in_dim: InDim, *, out_dim: int) -> nn.Module:
        """The network, with random weights.

        Args:
            in_dim: F, of rows [N, F]; or (C, H, W), of images [N, C, H, W].
            out_dim: K, of outputs [N, K].

        Raises:
            BadInput: such rows do not fit the options.
        """

    def misfit(self, image: Image | None) -> Iterator[Problem]:
        """Why rows that are images of this shape (None: that are no images) do not fit the options."""
        yield from ()

    def check(self) -> Iterable[Problem]:
        """The packages and the device that are missing."""
        if problems := list(missing(self.name, _PACKAGES, "torch")):
            yield from problems
        elif self.device not in ("auto", "cpu") and (problem := _no_device(self.device)):
            yield Problem(key="device", value=self.device, message=problem, remedy="Choose auto or cpu")

    def fit(
        self,
        task: Task,
        m_param: Any,
        features: Array,
        target: Array,
        progress: Progress,
        *,
        image: Image | None = None,
        checkpoints: Path | None = None,
    ) -> Estimator:
        """Train, going on where an earlier attempt left ``checkpoints``; see ``Model.fit``."""
        import numpy as np
        import torch

        from when_ml_pipeline_meets_hydra.ml.networks import descent, estimator
        from when_ml_pipeline_meets_hydra.ml.networks.checkpoint import Checkpoints
        from when_ml_pipeline_meets_hydra.ml.networks.objectives import objective

        if problems := list(self.misfit(image)):
            raise BadInput(*problems)
        goal = objective(task, m_param, target)
        with descent.reproducible(m_param.seed, self.n_jobs):
            net = self._build(features.shape[1], image, goal.outputs)
            rows = torch.from_numpy(np.require(features, dtype=np.float32, requirements=["C", "W"]))
            training = descent.Descent(net.to(_device(self.device)), goal, m_param, rows)
            training.run(progress, Checkpoints(checkpoints))
        whole = torch.nn.Sequential(net, goal.head)
        if goal.classes is None:
            return estimator.Trained(whole, training.history)
        return estimator.TrainedClassifier(whole, goal.classes, training.history)

    def export(self, estimator: Any, n_features: int) -> onnx.ModelProto:
        """The trained network as ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.networks.estimator import to_graph

        return to_graph(estimator.net, n_features)

    def _build(self, n_features: int, image: Image | None, out_dim: int) -> nn.Module:
        """A network that takes rows as the matrices have them."""
        from torch import nn

        net = self.build(image.shape if image else n_features, out_dim=out_dim)
        print(f"{net}\n{sum(p.numel() for p in net.parameters()):,} weights")
        return nn.Sequential(nn.Unflatten(1, image.shape), net) if image else net


def _no_device(name: str) -> str | None:
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as problem:
        return f"this machine, or this build of PyTorch, has none ({str(problem).splitlines()[0]})"
    return None


def _device(name: str) -> Any:
    import torch

    if name != "auto":
        return torch.device(name)
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
