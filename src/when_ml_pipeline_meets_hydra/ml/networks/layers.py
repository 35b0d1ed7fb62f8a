"""Layers by their names in options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["RELU", "GELU", "SELU", "SILU"]
Norm = Literal["BN", "LN"]

_ACTIVATIONS: Mapping[Activation, str] = {"RELU": "ReLU", "GELU": "GELU", "SELU": "SELU", "SILU": "SiLU"}
_NORMS: Mapping[Norm, str] = {"BN": "BatchNorm1d", "LN": "LayerNorm"}


def activation(kind: Activation) -> nn.Module:
    """Return the layer of an activation."""
    from torch import nn

    return getattr(nn, _ACTIVATIONS[kind])()


def norm(kind: Norm, width: int, key: str) -> nn.Module:
    """Return a layer that normalises ``width`` values. Raises ``BadInput`` for ``key`` if all would become 0."""
    from torch import nn

    if kind == "LN" and width == 1:
        message = "model.norm=LN makes a layer of a single value 0 for every row"
        raise BadInput(Problem(key=key, message=message, remedy="Choose model.norm=BN or null, or a wider layer"))
    return getattr(nn, _NORMS[kind])(width)
