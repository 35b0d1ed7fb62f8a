"""Checkpoints of an interrupted training."""

from __future__ import annotations

import io
import pickle
import time
from pathlib import Path
from typing import Any

import torch

from when_ml_pipeline_meets_hydra.storage import durable_files

_FILE = "training.pt"
_SECONDS = 1.0
_VERSION = str(torch.__version__)


class Checkpoints:
    """Stores the state of a training in ``folder`` (None: nowhere), by atomic writes."""

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / _FILE if folder else None
        self._written = time.monotonic()

    def load(self, device: Any) -> dict[str, Any] | None:
        """Return the state that was saved last, or None if there is none of this version of PyTorch."""
        if self._file is None or not self._file.is_file():
            return None
        try:
            # Only tensors and plain values: loading executes no code.
            state: dict[str, Any] = torch.load(self._file, map_location=device, weights_only=True)
            return state if state.pop("torch") == _VERSION else None
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
            print(f"{self._file} cannot be read: training starts again")
            return None

    def save(self, state: dict[str, Any]) -> None:
        """Save ``state`` (tensors and plain values), unless another one was saved less than a second ago."""
        if self._file is None or time.monotonic() - self._written < _SECONDS:
            return
        buffer = io.BytesIO()
        torch.save({**state, "torch": _VERSION}, buffer)
        durable_files.write(self._file, buffer.getvalue())
        self._written = time.monotonic()
