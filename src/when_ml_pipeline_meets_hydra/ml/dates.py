"""Dates and timestamps written as texts: one reading of a text for whole columns and for single values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_N = "[0-9]"  # \d has other digits than ASCII's in Polars
_DIGITS = {"Y": f"{_N}{{4}}", "y": f"{_N}{{2}}", "m": "0?[1-9]|1[0-2]", "d": f"0?[1-9]|[12]{_N}|3[01]"}
_DIGITS |= {"H": f"[01]?{_N}|2[0-3]", "I": "0?[1-9]|1[0-2]", "M": f"[0-5]{_N}", "S": f"[0-5]{_N}", "f": f"{_N}{{1,9}}"}
_TWO_DIGITS = {n: _DIGITS[n].replace("?", "", 1) for n in "mdHI"}
_ZONE = f"[Zz]|[+-]{_N}{{2}}(?::?{_N}{{2}})?"
_WORDS = {"b": f"(?i:{'|'.join(m[:3] for m in _MONTHS)})", "B": f"(?i:{'|'.join(_MONTHS)})", "p": "(?i:[ap]m)"}
_DIRECTIVES = {**_DIGITS, **_WORDS, "z": _ZONE}
_ISO = (
    rf"^(?P<day>{_N}{{4}}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]{_N}|3[01]))"
    rf"(?:[T ](?P<time>(?:[01]{_N}|2[0-3]):[0-5]{_N})(?:(?P<seconds>:[0-5]{_N})(?P<part>\.{_N}{{1,9}})?)?"
    rf" ?(?:{_ZONE})?)?$"
)
_CENTURY = 69  # 68 is 2068, 69 is 1969, as in POSIX
_DAYS = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"),
)
_TIMES = (" %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S", "T%H:%M:%S%z")
# Formats that are looked for in texts of unknown meaning, besides ISO 8601.
FORMATS = (*_DAYS, *(day + time for day in _DAYS for time in _TIMES))


def has_time(form: str) -> bool:
    """Whether a format has a time of day."""
    return any(f"%{d}" in form for d in "HI")


@cache
def pattern(form: str | None) -> str:
    """Return the regular expression, for Python and Polars, of all texts in a format; None: ISO 8601.

    Raises:
        ValueError: the format cannot be read.
    """
    if form is None:
        return _ISO
    parts = re.findall(r"%.|[^%]|%$", form)
    wrong = [p for p in parts if p[0] == "%" and p[1:] not in _DIRECTIVES]
    if wrong:
        known = ", ".join(f"%{d}" for d in _DIRECTIVES)
        raise ValueError(f"'{wrong[0]}' is no part of a date that can be read; known are {known}")
    _check([p[1] for p in parts if p[0] == "%"], form)
    close = {k for a, b in pairwise(range(len(parts))) if parts[a][0] == parts[b][0] == "%" for k in (a, b)}
    return f"^{''.join(_part(p, k in close) for k, p in enumerate(parts))}$"


def _part(part: str, close: bool) -> str:
    """The pattern of a directive, or of a character; two numbers without anything between them have a fixed length."""
    if part[0] != "%":
        return re.escape(part)
    name = part[1]
    return f"(?P<{name}>{(_TWO_DIGITS if close else {}).get(name, _DIRECTIVES[name])})"


def _check(names: list[str], form: str) -> None:
    once = {"a year": "Yy", "a month": "mbB", "a day": "d", "an hour": "HI"}
    for what, choices in once.items():
        count = sum(n in choices for n in names)
        if count > 1 or (not count and what in ("a year", "a month")):
            raise ValueError(f"it has {'two parts' if count else 'no part'} for {what} (%{', %'.join(choices)})")
    if len(set(names)) < len(names):
        raise ValueError("it has a part twice")
    if ("I" in names) != ("p" in names):
        raise ValueError("%I and %p need each other")
    later = [n for n in "MSf" if n in names]
    if later and (not has_time(form) or later != list("MSf"[: len(later)]) or ("f" in names and ".%f" not in form)):
        raise ValueError("%M needs an hour, %S needs %M, and %f needs %S and a dot before it")


def parse(text: str, form: str | None) -> datetime | None:
    """Return the day and time of day as written, without the offset from UTC; None if the text has another format."""
    found = re.match(pattern(form), text.strip(), re.ASCII)
    if found is None:
        return None
    part = {k: v or "" for k, v in found.groupdict().items()}
    try:
        if form is None:
            seconds = f"{part['time'] or '00:00'}{part['seconds'] or ':00'}{part['part'][:7]}"
            return datetime.strptime(f"{part['day']} {seconds}", "%Y-%m-%d %H:%M:%S" + ".%f" * bool(part["part"]))
        return datetime(_year(part), _month(part), int(part.get("d", 1)), *_clock(part))
    except ValueError:
        return None


def _year(part: dict[str, str]) -> int:
    if "Y" in part:
        return int(part["Y"])
    year = int(part["y"])
    return 1900 + year if year >= _CENTURY else 2000 + year


def _month(part: dict[str, str]) -> int:
    if "m" in part:
        return int(part["m"])
    name = (part.get("b") or part["B"]).lower()
    return next(k for k, month in enumerate(_MONTHS, 1) if month.startswith(name[:3]))


def _clock(part: dict[str, str]) -> tuple[int, int, int, int]:
    hour = int(part.get("H") or part.get("I") or 0)
    if "p" in part:
        hour = hour % 12 + 12 * (part["p"].lower() == "pm")
    return hour, int(part.get("M", 0)), int(part.get("S", 0)), int(part.get("f", "0").ljust(6, "0")[:6])


def moment(text: pl.Expr, form: str | None) -> pl.Expr:
    """Return the same as ``parse`` for a column of texts without blanks around them, as Datetime in microseconds."""
    import polars as pl

    # Whether a text has the format is decided by the pattern, without groups, which is fast; Polars' own reading
    # takes more.
    known = pl.when(text.str.contains(re.sub(r"\?P<\w+>", "?:", pattern(form)))).then(text).otherwise(None)
    value = _iso(known) if form is None else _formatted(known, form)
    return pl.when(value.dt.year() >= 1).then(value).otherwise(None)


def _iso(text: pl.Expr) -> pl.Expr:
    import polars as pl

    def number(start: int) -> pl.Expr:
        return text.str.slice(start, 2).cast(pl.Int64, strict=False).fill_null(0)

    has_seconds = text.str.slice(16, 1) == ":"
    seconds = number(11) * 3600 + number(14) * 60 + pl.when(has_seconds).then(number(17)).otherwise(0)
    rest = pl.when(has_seconds & (text.str.len_bytes() > 19)).then(text.str.slice(19)).otherwise(None)
    part = rest.str.extract(r"^\.([0-9]{1,6})").str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    time = (seconds * 1_000_000 + part).cast(pl.Duration("us"))
    return text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")) + time


def _formatted(text: pl.Expr, form: str) -> pl.Expr:
    import polars as pl

    names = re.findall("%(.)", form)
    if "z" in names:
        text, form = text.str.replace(rf"(?:{_ZONE})$", "", literal=False), form.replace("%z", "")
    form = form.replace(".%f", "%.f").replace("%b", "%B")
    # Polars asks for a day, an hour and a minute.
    for needed, value in (("d", "01"), ("H", "00"), ("M", "00")):
        if needed not in names and not (needed == "H" and "I" in names):
            text, form = text + pl.lit(f" {value}"), f"{form} %{needed}"
    made = text.str.to_datetime(form, strict=False, time_unit="us")
    if "y" not in names:
        return made
    return pl.when(made.dt.year() >= 2000 + _CENTURY).then(made.dt.offset_by("-100y")).otherwise(made)


def day(text: pl.Expr, form: str | None) -> pl.Expr:
    """Return the dates of a column of texts; null for one with a time of day unless its format has one."""
    import polars as pl

    if form is not None:
        return moment(text, form).dt.date()
    value = pl.when(text.str.len_bytes() == 10).then(text).otherwise(None).str.to_date("%Y-%m-%d", strict=False)
    return pl.when(value.dt.year() >= 1).then(value).otherwise(None)


def formats(texts: Iterable[str], share: float = 1.0) -> list[str | None]:
    """Return the formats (None: ISO 8601) that at least ``share`` of ``texts`` have; there may be several."""
    known = [t.strip() for t in texts]
    if not known:
        return []
    first = {form for text in known[:3] for form in (None, *FORMATS) if parse(text, form)}
    return [
        form
        for form in (None, *FORMATS)
        if form in first and sum(parse(t, form) is not None for t in known) >= share * len(known)
    ]


def days(value: date) -> float:
    """Return the days since 1970-01-01."""
    return float(value.toordinal() - date(1970, 1, 1).toordinal())


def seconds(value: datetime) -> float:
    """Return the seconds since 1970-01-01, of the day and time of day as written."""
    since = value.replace(tzinfo=None) - datetime(1970, 1, 1)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) / 1e6
