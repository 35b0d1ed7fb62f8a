"""Database drivers, each of which is an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


def driver(module: str, *, extra: str) -> Any:
    """Import a driver. Raises ``BadInput`` if it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        message = f"this kind of database needs {module}, which cannot be imported ({error})"
        remedy = f"Install it: pip install 'when_ml_pipeline_meets_hydra[{extra}]'"
        raise BadInput(Problem(key="", message=message, remedy=remedy)) from error
