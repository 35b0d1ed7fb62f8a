"""A profile as a self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from when_ml_pipeline_meets_hydra.pages.layout import page


def render(profile: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    return page(__file__, title=profile["dataset"], **profile)
