"""A fully connected network; without hidden layers, a single linear one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.models.network import InDim, Network
from when_ml_pipeline_meets_hydra.ml.networks import layers

if TYPE_CHECKING:
    from torch import nn


@frozen
class Fcn(Network):
    """Hidden layers of equal width: linear, normalised, activated; then a linear one."""

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "fcn"
    num_hidden: Annotated[int, Field(ge=0, le=100, description="Number of hidden layers")] = 1
    hidden_dim: Annotated[
        int | None, Field(ge=1, le=65_536, description="Width of the hidden layers; null: that of the input")
    ] = None
    activation: Annotated[layers.Activation, Field(description="Activation after each hidden layer")] = "GELU"
    norm: Annotated[
        layers.Norm | None, Field(description="Normalisation of hidden layers: BN over a batch, LN over a layer")
    ] = "LN"
    dropout_prob: Annotated[float, Field(ge=0, lt=1, description="Part of the hidden values left out in training")] = (
        0.0
    )
    final_bias: Annotated[bool, Field(description="Whether the last layer has a bias")] = True
    input_norm: Annotated[bool, Field(description="Whether the input is normalised like hidden layers")] = False

    @model_validator(mode="after")
    def _has_a_norm(self) -> Fcn:
        if self.input_norm and self.norm is None:
            raise ValueError("input_norm needs a norm: choose norm=BN or norm=LN")
        return self

    def build(self, in_dim: InDim, *, out_dim: int) -> nn.Sequential:
        """Build the network; images are flattened. See ``Network.build``."""
        from torch import nn

        width = in_dim if isinstance(in_dim, int) else math.prod(in_dim)
        net = nn.Sequential() if isinstance(in_dim, int) else nn.Sequential(nn.Flatten())
        if self.input_norm and self.norm:
            net.append(layers.norm(self.norm, width, "model.input_norm"))
        for _ in range(self.num_hidden):
            hidden = self.hidden_dim or width
            net.append(self._block(width, hidden))
            width = hidden
        return net.append(nn.Linear(width, out_dim, bias=self.final_bias))

    def _block(self, in_features: int, out_features: int) -> nn.Sequential:
        from torch import nn

        block = nn.Sequential(nn.Linear(in_features, out_features))
        if self.norm:
            block.append(layers.norm(self.norm, out_features, "model.hidden_dim"))
        block.append(layers.activation(self.activation))
        return block.append(nn.Dropout(self.dropout_prob)) if self.dropout_prob else block
