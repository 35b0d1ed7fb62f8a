"""A user's own network: layers with residual connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from when_ml_pipeline_meets_hydra import InDim, Network, frozen

if TYPE_CHECKING:
    from torch import nn


@frozen
class Residual(Network):
    """Blocks whose output is added to their input (He et al., "Deep residual learning", 2016), for tables."""

    blocks: Annotated[int, Field(ge=1, description="Number of blocks")] = 2
    width: Annotated[int, Field(ge=2, description="Width of each block")] = 64
    activation: Annotated[
        Literal["ReLU", "GELU", "SiLU"], Field(description="What follows each layer inside a block")
    ] = "GELU"

    def build(self, in_dim: InDim, *, out_dim: int) -> nn.Module:
        """The network. ``torch`` is imported here, so that ``--help`` does not need it."""
        from nets.blocks import Block
        from torch import nn

        assert isinstance(in_dim, int)
        blocks = [Block(self.width, getattr(nn, self.activation)()) for _ in range(self.blocks)]
        return nn.Sequential(nn.Linear(in_dim, self.width), *blocks, nn.Linear(self.width, out_dim))
