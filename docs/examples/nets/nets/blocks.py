"""A residual block."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """x → x + linear(activation(linear(normalised x)))."""

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), activation, nn.Linear(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` and what the block adds to it, both [N, width]."""
        return x + self.inside(x)
