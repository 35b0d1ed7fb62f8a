"""The layout of all pages, which are made by Jinja2: every value in them is escaped, and a page needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def page(module: str, **content: Any) -> str:
    """The page of a module (its ``__file__``): the template beside it, of the same name, filled with ``content``."""
    template = Path(module).with_suffix(".html")
    pages = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return pages.get_template(template.name).render(content)
