"""A section of the web app: an entry of the navigation, with its pages.

Numbers in paths are ``{number:small}``, since a database takes none of twenty digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import BaseRoute


@dataclass(frozen=True, kw_only=True)
class Section:
    """The title in the navigation, the path of the first page, and the routes of all pages below this path."""

    title: str
    path: str
    routes: Sequence[BaseRoute]


class _Small(Convertor[int]):
    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("small", _Small())
