"""The libraries of the extra ``kserve``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


def library(name: str, *, needed_by: str) -> Any:
    """Import a module of the extra ``kserve``. Raises ``BadInput`` if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        message = f"{needed_by} needs {name.partition('.')[0]}, which cannot be imported ({error})"
        remedy = "Install it: pip install 'when_ml_pipeline_meets_hydra[kserve]'"
        raise BadInput(Problem(key="", message=message, remedy=remedy)) from error
