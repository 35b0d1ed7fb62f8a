"""Machine-learning pipelines in which every choice is a Hydra config group and every stage a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.pipeline import run
    from when_ml_pipeline_meets_hydra.run import Run

__all__ = ["Run", "__version__", "run"]


def __getattr__(name: str) -> Any:
    # Loaded on demand, so that `--help` does not pay for what it does not use.
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name in ("run", "Run"):
        from importlib import import_module

        return getattr(import_module(f"{__name__}.pipeline"), name)
    raise AttributeError(name)
