"""What a CSV file holds: its encoding, its header, and rows that all have the header's fields.

A file with a single right reading that Polars would read otherwise (another encoding, quotes inside fields, empty
lines) is read from a copy of its records, in a folder that is removed when the process ends. A file without one is
refused, with the number of a row.
"""

from __future__ import annotations

import atexit
import csv
import gzip
import re
import shutil
import sys
import tempfile
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE, lookup
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.datasets.csv_scan import NotUtf8, Quotes, is_regular

if TYPE_CHECKING:
    import polars as pl

_MARKS = {BOM_UTF8: "utf-8", BOM_UTF32_LE: "utf-32", BOM_UTF32_BE: "utf-32", BOM_UTF16_LE: "utf-16"}
_MARKS |= {BOM_UTF16_BE: "utf-16"}
_AT_ONCE = 1 << 20
_SHOWN = 60
_numbers = count()


@dataclass(frozen=True, kw_only=True)
class Records:
    """The records of a CSV file in UTF-8: ``names`` of the header ("" for a column without one), what quotes mean."""

    file: Path
    names: tuple[str, ...]
    separator: str
    quotes: Quotes

    def frame(self) -> pl.LazyFrame:
        """Return the rows, every value as text; a column without a name is ``column <number>``."""
        import polars as pl

        names = columns(self.names)
        return pl.scan_csv(
            self.file,
            separator=self.separator,
            quote_char='"' if self.quotes is Quotes.AROUND_FIELDS else None,
            infer_schema=False,
            glob=False,
            with_column_names=lambda _: names,
        )


def columns(names: tuple[str, ...]) -> list[str]:
    """Return the names of the columns of a frame: unique, also those without a name."""
    made: list[str] = []
    for place, name in enumerate(names, 1):
        candidate = name or f"column {place}"
        while not name and candidate in (*names, *made):
            candidate += "'"
        made.append(candidate)
    return made


def open_records(file: Path, separator: str, encoding: str | None) -> Records:
    """Look at a CSV file, once while it does not change.

    Raises:
        BadInput: it cannot be read, or has no single right reading.
    """
    at = file.stat()
    return _open(file, separator, encoding, (at.st_ino, at.st_size, at.st_mtime_ns))


@lru_cache(maxsize=64)
def _open(file: Path, separator: str, encoding: str | None, state: tuple[int, ...]) -> Records:
    try:
        readable = _as_utf8(file, encoding)
        header = _header(readable, separator)
        if len(header) == 1 and (other := _other_separator(readable, separator)):
            message = f"there is a single column, '{header[0]}', if '{separator}' separates the values"
            raise BadInput(_refused(file, message, f"Write dataset.separator={other}"))
        names = _names(file, header)
        for quotes in Quotes:
            if is_regular(readable, separator, len(header), quotes):
                return Records(file=readable, names=names, separator=separator, quotes=quotes)
        copied = _copied(file, readable, separator, len(header))
        return Records(file=copied, names=names, separator=separator, quotes=Quotes.AROUND_FIELDS)
    except NotUtf8 as found:
        raise BadInput(_not_utf8(file, found)) from None


def _not_utf8(file: Path, found: NotUtf8) -> Problem:
    place = f"{row(found.record)} (line {found.line})"
    return _refused(
        file,
        f"{place} has the bytes {found.found.hex(' ')}, which are not UTF-8",
        "Write what the file is encoded in: dataset.encoding=latin-1, or cp1252 if it comes from Windows",
    )


def _refused(file: Path, message: str, remedy: str | None = None) -> Problem:
    return Problem(key="path", value=str(file), message=message, remedy=remedy)


def row(number: int) -> str:
    """Return what a record is called: rows are counted from 1, after the header."""
    return f"row {number}" if number else "the header"


def _as_utf8(file: Path, encoding: str | None) -> Path:
    """The file, or a copy of its text in UTF-8, unpacked if it is packed by gzip."""
    with file.open("rb") as opened:
        start = opened.read(16)
    if kind := next((kind for begin, kind in _OTHER_FILES.items() if start.startswith(begin)), None):
        raise BadInput(_refused(file, f"this is {kind[0]}, not a CSV file", kind[1]))
    if start[:2] == b"\x1f\x8b":
        return _as_utf8(_unpacked(file), encoding)
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    given = encoding and lookup(encoding).name
    if marked and given and not given.startswith(marked):
        message = f"the file begins with the mark of {marked}, so that it is not {encoding}"
        raise BadInput(_refused(file, message, f"Write dataset.encoding={marked}, or leave it out"))
    if (marked or given or "utf-8").startswith("utf-8"):
        return file
    encoding = marked or encoding
    copy = _new_file()
    line = 1
    with file.open(encoding=encoding, newline="") as read, copy.open("w", encoding="utf-8", newline="") as write:
        try:
            while text := read.read(_AT_ONCE):
                write.write(text)
                line += text.count("\n")
        except UnicodeError as error:
            message = f"after line {line} there are bytes that are not {encoding}"
            raise BadInput(_refused(file, message, "Write another dataset.encoding")) from error
    return copy


_AS_CSV = "Save it as CSV"
_OTHER_FILES = {
    b"PAR1\x15": ("a Parquet file", "Choose the option parquet instead of csv"),
    b"PK\x03\x04": ("a ZIP archive, as Excel workbooks are", _AS_CSV),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook of before 2007", _AS_CSV),
    b"ARROW1": ("an Arrow (Feather) file", "Save it as Parquet, and choose the option parquet instead of csv"),
    b"SQLite format 3": ("an SQLite database", "Choose the option table instead of csv"),
    b"%PDF-": ("a PDF", _AS_CSV),
    b"BZh91AY&SY": ("packed by bzip2", "Unpack it, or pack it by gzip"),
    b"\xfd7zXZ": ("packed by xz", "Unpack it, or pack it by gzip"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "Unpack it, or pack it by gzip"),
}  # what the first bytes say


def _unpacked(file: Path) -> Path:
    copy = _new_file()
    try:
        with gzip.open(file) as packed, copy.open("wb") as write:
            shutil.copyfileobj(packed, write, _AT_ONCE)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BadInput(_refused(file, "the file is packed by gzip, and damaged or cut off")) from None
    return copy


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="when_ml_pipeline_meets_hydra-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _new_file() -> Path:
    return _folder() / f"{next(_numbers)}.csv"


def _header(file: Path, separator: str) -> list[str]:
    with _records(file, separator) as found:
        try:
            first: list[str] | None = next((record for record in found if not _is_empty(record)), None)
        except csv.Error as error:
            raise BadInput(_unreadable(file, file, 0, range(1, found.line_num + 1), error)) from None
    if first is None:
        raise BadInput(_refused(file, "the file is empty: a header line with the names of the columns is needed"))
    if wrong := _not_unicode(first):
        raise NotUtf8(record=0, line=1, found=wrong)
    if any("\0" in name for name in first):
        remedy = "If it is UTF-16, write dataset.encoding=utf-16-le"
        raise BadInput(_refused(file, "the header has NUL characters: this is no text in UTF-8", remedy))
    return first


def _other_separator(file: Path, separator: str) -> str | None:
    """The separator, as in a shell, with which header and first row have the same number of fields, more than one."""
    for other, written in {";": "';'", "\t": "'\\t'", "|": "'|'", ",": "','"}.items():
        with _records(file, other) as found:
            try:
                sizes = [len(record) for record in islice((r for r in found if not _is_empty(r)), 2)]
            except csv.Error:
                continue
        if other != separator and len(sizes) == 2 and sizes[0] == sizes[1] > 1:
            return written
    return None


def _not_unicode(record: list[str]) -> bytes:
    """The first bytes of a record that are not UTF-8."""
    escaped = re.search("[\udc80-\udcff]+", "".join(record))
    return escaped[0].encode("utf-8", "surrogateescape") if escaped else b""


def _is_empty(record: list[str]) -> bool:
    """Whether a record is an empty line."""
    return not record or (len(record) == 1 and not record[0].strip())


def _names(file: Path, header: list[str]) -> tuple[str, ...]:
    names = tuple(name.strip().removeprefix("\ufeff") for name in header)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        places = ", ".join(str(k) for k, name in enumerate(names, 1) if name == twice[0])
        message = f"the name '{twice[0]}' stands more than once in the header: in the columns {places}"
        raise BadInput(_refused(file, message, "Give each column a name of its own"))
    return names


@contextmanager
def _records(file: Path, separator: str) -> Iterator[Any]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            yield csv.reader(text, delimiter=separator, strict=True, skipinitialspace=separator != " ")
    finally:
        csv.field_size_limit(before)


def _copied(source: Path, file: Path, separator: str, fields: int) -> Path:
    """Copy the records to a file that Polars reads alike. Raises ``BadInput`` for a record that is none."""
    copy, number, line = _new_file(), -1, 0
    with _records(file, separator) as found, copy.open("w", encoding="utf-8", newline="") as opened:
        write = csv.writer(opened, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow
        try:
            for record in found:
                if _is_empty(record):
                    line = found.line_num
                    continue
                number += 1
                if len(record) != fields:
                    raise BadInput(_wrong_length(source, number, line + 1, record, fields, separator))
                write(record)
                line = found.line_num
        except csv.Error as error:
            raise BadInput(_unreadable(source, file, number + 1, range(line + 1, found.line_num + 1), error)) from None
        except UnicodeEncodeError:
            raise NotUtf8(record=number, line=line + 1, found=_not_unicode(record)) from None
    return copy


def _wrong_length(file: Path, number: int, line: int, record: list[str], fields: int, separator: str) -> Problem:
    shown = separator.join(record)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    count = f"{len(record)} field{'' if len(record) == 1 else 's'}"
    return _refused(
        file,
        f"{row(number)} (line {line}) has {count}, and the header {fields}: {shown!r}",
        "Correct the row; a value with a separator in it needs quotes, and dataset.separator sets another separator"
        if fields > 1
        else "Is there another separator? dataset.separator=';' for semicolons, '\\t' for tabs",
    )


def _unreadable(source: Path, file: Path, number: int, lines: range, error: csv.Error) -> Problem:
    place = f"{row(number)} (line {lines.start})"
    if "end of data" in str(error):
        remedy = 'Close it, or write a quote inside a quoted value twice: ""'
        return _refused(source, f"{place} has a quote that is never closed", remedy)
    if "expected after" not in str(error):
        return _refused(source, f"{place} cannot be read: {error}")
    message = f"{place} has text after a closing quote"
    with file.open("rb") as opened:
        if any(b'\\"' in text for text in islice(opened, lines.start - 1, lines.stop - 1)):
            message += "; a backslash before a quote does not escape it"
    return _refused(source, message, 'Write a quote inside a quoted value twice: ""')
