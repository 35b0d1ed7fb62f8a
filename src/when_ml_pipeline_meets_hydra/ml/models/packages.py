"""Checks of optional packages of models."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator

from when_ml_pipeline_meets_hydra.errors import Problem


def missing(model: str, packages: Iterable[str], extra: str) -> Iterator[Problem]:
    """Yield one problem for all ``packages`` of a ``model`` that are not installed; ``extra`` installs them."""
    if absent := [name for name in packages if importlib.util.find_spec(name) is None]:
        yield Problem(
            key="",
            value=model,
            message=f"needs {' and '.join(absent)}, which the base install leaves out",
            remedy=f"pip install 'when_ml_pipeline_meets_hydra[{extra}]'",
        )
