"""Rendering of self-contained HTML pages with Jinja2; every value is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def page(module: str, **content: Any) -> str:
    """Render the template beside ``module`` (its ``__file__``), which has the same name, with ``content``."""
    return _template(Path(module).with_suffix(".html")).render(content)


@cache
def _template(file: Path) -> Template:
    pages = Environment(
        loader=FileSystemLoader([file.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return pages.get_template(file.name)
