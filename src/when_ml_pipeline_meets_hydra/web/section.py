"""A section of the web app: an entry of the navigation, with its pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute


@dataclass(frozen=True, kw_only=True)
class Section:
    """The title in the navigation, the path of the first page, and the routes of all pages below this path."""

    title: str
    path: str
    routes: Sequence[BaseRoute]
