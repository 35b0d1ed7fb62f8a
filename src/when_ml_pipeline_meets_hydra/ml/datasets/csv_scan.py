"""A fast pass over the bytes of a CSV file: whether all of its records have the fields of the header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.int64]]
BLOCK = 1 << 20  # bytes
LONGEST = 1 << 24  # of a record
QUOTE, NEWLINE, RETURN, BLANK = b'"\n\r '
BOM = b"\xef\xbb\xbf"


class Quotes(Enum):
    """What quotes mean: around a field that may have separators and line ends; or nothing, as in ``5" pipe``."""

    AROUND_FIELDS = "around fields"
    PLAIN = "plain"


class NotUtf8(Exception):
    """Bytes ``found`` that are not UTF-8, in a ``record`` (the header is 0) and a ``line`` (from 1)."""

    def __init__(self, *, record: int, line: int, found: bytes) -> None:
        super().__init__(record, line, found)
        self.record, self.line, self.found = record, line, found


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Bytes, and what has a meaning in them: the ``places`` of separators, line ends and quotes around fields.

    ``kinds`` are the bytes at these ``places``; ``inside``: whether each one is between quotes.
    """

    content: bytes
    places: Places
    kinds: Bytes
    inside: Bools

    @property
    def end(self) -> int:
        """The end of the last record; 0 if none ends here."""
        last = np.flatnonzero(((self.kinds == NEWLINE) & ~self.inside)[::-1])[:1]
        return int(self.places[len(self.kinds) - 1 - last[0]]) + 1 if len(last) else 0

    def until(self, end: int) -> _Block:
        """The bytes before ``end``."""
        k = int(np.searchsorted(self.places, end))
        return _Block(content=self.content[:end], places=self.places[:k], kinds=self.kinds[:k], inside=self.inside[:k])

    def records(self, before: int) -> int:
        """The number of records that end before a place."""
        k = int(np.searchsorted(self.places, before))
        return int(np.count_nonzero((self.kinds[:k] == NEWLINE) & ~self.inside[:k]))


def _block(content: bytes, separator: int) -> _Block:
    array = np.frombuffer(content, np.uint8)
    places = np.flatnonzero((array == separator) | (array == NEWLINE) | (array == QUOTE))
    kinds = array[places]
    inside = np.bitwise_xor.accumulate((kinds == QUOTE).view(np.uint8)).view(bool)
    return _Block(content=content, places=places, kinds=kinds, inside=inside)


def is_regular(file: Path, separator: str, fields: int, quotes: Quotes) -> bool:
    """Whether each record has ``fields`` fields, no line is empty, and quotes stand where they must.

    Such a file is read by Polars as by the csv module. Raises ``NotUtf8``.
    """
    mark = ord(separator)
    unmarked = bytes(sorted({*range(256)} - {mark, NEWLINE}))
    lines = records = 0
    for block in _blocks(file, mark, quotes):
        if block is None:
            return False
        content = block.content if isinstance(block, _Block) else block
        if b"\r" in content and content.count(b"\r") != content.count(b"\r\n"):
            return False
        if isinstance(block, _Block):
            kinds = block.kinds[(block.kinds != QUOTE) & ~block.inside]
            fits = _quotes_fit(block, mark) and fields > 1  # an empty line is no field
        else:
            kinds = np.frombuffer(content.translate(None, unmarked), np.uint8)
            fits = _quotes_are_plain(content, mark) and (fields > 1 or not _has_empty_line(content))
        if not fits or len(kinds) % fields:
            return False
        table = kinds.reshape(-1, fields)  # of each record its separators, then its line end
        if not ((table[:, -1] == NEWLINE).all() and (table[:, :-1] == mark).all()):
            return False
        _check_utf8(block, content, lines, records)
        lines, records = lines + content.count(b"\n"), records + len(table)
    return True


def _blocks(file: Path, separator: int, quotes: Quotes) -> Iterator[_Block | bytes | None]:
    """Yield blocks of whole records, analysed if they have quotes; None if a quote is not closed for long, or never."""
    rest = b""
    with file.open("rb") as opened:
        opened.seek(len(BOM) if opened.read(len(BOM)) == BOM else 0)
        while part := opened.read(BLOCK):
            rest += part
            if quotes is Quotes.PLAIN or b'"' not in rest:
                end = rest.rfind(b"\n") + 1
                yield rest[:end]
            else:
                block = _block(rest, separator)
                end = block.end
                yield block.until(end)
            rest = rest[end:]
            if len(rest) > LONGEST:
                yield None
    if not rest:
        return
    if rest.endswith(b"\r"):
        yield None
    content = rest if rest.endswith(b"\n") else rest + b"\n"
    if quotes is Quotes.PLAIN or b'"' not in content:
        yield content
        return
    block = _block(content, separator)
    yield block if block.end == len(content) else None


def _check_utf8(block: _Block | bytes, content: bytes, lines: int, records: int) -> None:
    if content.isascii():
        return
    try:
        content.decode()
    except UnicodeDecodeError as error:
        before = content.count(b"\n", 0, error.start)
        record = records + (block.records(error.start) if isinstance(block, _Block) else before)
        found = content[error.start : error.end]
        raise NotUtf8(record=record, line=lines + before + 1, found=found) from None


def _has_empty_line(content: bytes) -> bool:
    return content.startswith((b"\n", b"\r")) or b"\n\n" in content or b"\n\r" in content


def _quotes_are_plain(content: bytes, separator: int) -> bool:
    """Whether no quote begins a field."""
    if b'"' not in content:
        return True
    return not content.startswith(b'"') and not any(
        bytes([before, QUOTE]) in content for before in (separator, NEWLINE, RETURN, BLANK)
    )


def _quotes_fit(block: _Block, separator: int) -> bool:
    """Whether each quote begins or ends a field, or is one of two quotes that stand for one."""
    array = np.frombuffer(block.content, np.uint8)
    places = block.places[block.kinds == QUOTE]
    if not len(places):
        return True
    before = array[places - 1]
    if places[0] == 0:
        before[0] = NEWLINE
    opening, closing = places[::2], places[1::2]
    after = array[closing + 1]  # there is one, since a line end is last
    twice = opening[1:] == closing[:-1] + 1  # a quote directly after a closing one goes on with the field
    starts = (before[::2] == separator) | (before[::2] == NEWLINE)
    starts[1:] |= twice
    ends = (after == separator) | (after == NEWLINE) | (after == RETURN)
    ends[:-1] |= twice
    return bool(starts.all() and ends.all())
