"""A convolutional network for images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Image
from when_ml_pipeline_meets_hydra.ml.models.network import InDim, Network
from when_ml_pipeline_meets_hydra.ml.networks import layers

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[int, Field(ge=1, le=65_536)]
_POOL = 2


@frozen
class Cnn(Network):
    """Convolutions, each followed by a maximum over 2 × 2 pixels; then linear layers (LeCun et al., "LeNet", 1998).

    Edges are padded with zeros, so that convolutions keep the size of an image.
    """

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "cnn"
    kernel_size: Annotated[int, Field(ge=1, le=64, description="Height and width of a convolution's kernels")] = 5
    pool_stride: Annotated[int, Field(ge=1, le=64, description="Pixels from one maximum to the next")] = 2
    activation: Annotated[layers.Activation, Field(description="Activation after each layer but the last")] = "RELU"
    channels: Annotated[tuple[Width, ...], Field(min_length=1, description="Kernels of each convolution")] = (6, 16)
    hidden_dims: Annotated[tuple[Width, ...], Field(description="Widths of the linear layers")] = (120, 84)
    dropout_prob: Annotated[float, Field(ge=0, lt=1, description="Part of the hidden values left out in training")] = (
        0.0
    )

    def build(self, in_dim: InDim, *, out_dim: int) -> nn.Sequential:
        """Build the network; see ``Network.build``."""
        from torch import nn

        image = None if isinstance(in_dim, int) else Image(channels=in_dim[0], height=in_dim[1], width=in_dim[2])
        if image is None or list(self.misfit(image)):
            raise BadInput(*self.misfit(image))
        before, after = (self.kernel_size - 1) // 2, self.kernel_size // 2
        depth, net = image.channels, nn.Sequential()
        for channels in self.channels:
            net.append(nn.ZeroPad2d((before, after, before, after)))
            net.append(nn.Conv2d(depth, channels, self.kernel_size))
            net.append(layers.activation(self.activation))
            net.append(nn.MaxPool2d(_POOL, self.pool_stride))
            depth = channels
        net.append(nn.Flatten())
        width = depth * self._pooled(image.height) * self._pooled(image.width)
        for hidden in self.hidden_dims:
            net.extend([nn.Linear(width, hidden), layers.activation(self.activation)])
            if self.dropout_prob:
                net.append(nn.Dropout(self.dropout_prob))
            width = hidden
        return net.append(nn.Linear(width, out_dim))

    def misfit(self, image: Image | None) -> Iterator[Problem]:
        """Yield a problem if rows are no images, or too small for all pooling layers."""
        if image is None:
            remedy = "Choose modeling/model=fcn, or give dataset.image={channels: …, height: …, width: …}"
            yield Problem(
                key="model", value=self.name, message="takes images, and this data set has none", remedy=remedy
            )
        elif not self._pooled(min(image.height, image.width)):
            yield Problem(
                key="model.pool_stride",
                value=str(self.pool_stride),
                message=f"of an image of {image} nothing is left after {len(self.channels)} maxima (model.channels)",
                remedy="Choose fewer channels, a smaller stride, or larger images",
            )

    def _pooled(self, pixels: int) -> int:
        """The height or width after all convolutions and poolings."""
        for _ in self.channels:
            pixels = (pixels - _POOL) // self.pool_stride + 1 if pixels >= _POOL else 0
        return pixels
