"""The report as one self-contained HTML page."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from when_ml_pipeline_meets_hydra.analyses.interface import Finding
from when_ml_pipeline_meets_hydra.pages.layout import page

_LONG = 12  # rows of a table that are shown without a click


def render(
    title: str,
    about: str,
    scores: Mapping[str, float],
    baseline: Mapping[str, float],
    findings: Mapping[str, Finding],
    footer: str,
) -> str:
    """Render the page as HTML."""
    return page(
        __file__,
        title=title,
        about=about,
        scores=scores,
        baseline=baseline,
        findings=findings,
        footer=footer,
        most_rows=_LONG,
        place=lambda name: re.sub(r"[^A-Za-z0-9_-]", "-", f"section-{name}"),
        base64=lambda svg: base64.b64encode(svg).decode(),
    )
