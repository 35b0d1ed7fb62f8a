"""Merge two texts that were made from the same one, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

OURS, MIDDLE, THEIRS = "<<<<<<< ", "=======\n", ">>>>>>> "


class Merged(NamedTuple):
    """A merged text; lines that both sides changed differently are between markers, and counted."""

    text: str
    conflicts: int


def merge(base: str, ours: str, theirs: str, *, names: tuple[str, str] = ("yours", "published")) -> Merged:
    """Return the text with the changes of both sides."""
    lines: list[str] = []
    conflicts = 0
    for mine, other, before in _parts(*(text.splitlines(keepends=True) for text in (base, ours, theirs))):
        if mine == other or other == before:
            lines += mine
        elif mine == before:
            lines += other
        else:
            conflicts += 1
            lines += [f"{OURS}{names[0]}\n", *mine, MIDDLE, *other, f"{THEIRS}{names[1]}\n"]
    return Merged("".join(lines), conflicts)


def _parts(base: list[str], ours: list[str], theirs: list[str]) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Yield the two sides and the base, part by part; a part is what all three share, or what lies between."""
    at_base = at_ours = at_theirs = 0
    for start, in_ours, in_theirs, size in [*_shared(base, ours, theirs), (len(base), len(ours), len(theirs), 0)]:
        yield ours[at_ours:in_ours], theirs[at_theirs:in_theirs], base[at_base:start]
        same = base[start : start + size]
        yield same, same, same
        at_base, at_ours, at_theirs = start + size, in_ours + size, in_theirs + size


def _shared(base: list[str], ours: list[str], theirs: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the runs of lines of the base that both sides kept: their place in each, and their number."""
    in_ours, in_theirs = _kept(base, ours), _kept(base, theirs)
    line = 0
    while line < len(base):
        size = 0
        while (
            line + size < len(base)
            and in_ours.get(line + size, -1) == in_ours.get(line, -2) + size
            and in_theirs.get(line + size, -1) == in_theirs.get(line, -2) + size
        ):
            size += 1
        if size:
            yield line, in_ours[line], in_theirs[line], size
        line += size or 1


def _kept(base: list[str], side: list[str]) -> dict[int, int]:
    """The lines of the base that a side kept, with their place there."""
    blocks = SequenceMatcher(None, base, side, autojunk=False).get_matching_blocks()
    return {block.a + n: block.b + n for block in blocks for n in range(block.size)}
