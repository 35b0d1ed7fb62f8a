"""Short names of config keys and metrics, for the headings of tables and plots."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence


def short_names(names: Iterable[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """Return the shortest unique suffix of each name: ``model``, ``learning_rate``, ``preprocessing/param``."""
    names = list(names)
    return {name: next(e for e in _ends(name) if e == name or _is_only(e, name, names, taken)) for name in names}


def _ends(name: str) -> Iterator[str]:
    starts = [found.end() for found in re.finditer(r"[./]", name)]
    yield from (name[start:] for start in reversed([0, *starts]))


def _is_only(end: str, name: str, names: Iterable[str], taken: Sequence[str]) -> bool:
    return end not in taken and not any(end in _ends(other) for other in names if other != name)
