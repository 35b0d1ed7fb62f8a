"""The results of ``quality.py``, and their tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

BASE = "ours"
NAIVE = "naive"
BEGIN, END = "<!-- written by benchmarks/quality.py -->", "<!-- end of what it wrote -->"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A line of the results: ``seconds`` of CPU time, ``wall`` of wall-clock time."""

    table: str
    split: int
    contender: str
    metric: str
    error: float
    seconds: float
    wall: float
    rows: int
    columns: int
    version: str


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The ratio of two mean errors on the same splits, and its standard error (nan for a single split)."""

    value: float
    error: float
    splits: int

    @classmethod
    def of(cls, numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
        """Return the ratio of the means; its standard error is that of the ratio estimator (Cochran 1977, 6.4)."""
        count, value = len(numerators), fmean(numerators) / fmean(denominators)
        residuals = [a - value * b for a, b in zip(numerators, denominators, strict=True)]
        spread = math.sqrt(sum(r * r for r in residuals) / (count - 1)) if count > 1 else math.nan
        return cls(value=value, error=spread / (fmean(denominators) * math.sqrt(count)), splits=count)

    def __str__(self) -> str:
        return f"{self.value:.3f}" if math.isnan(self.error) else f"{self.value:.3f} ± {self.error:.3f}"


def read(file: Path) -> list[Result]:
    """Return the results in ``file``; of several of one table, split and contender the last one."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    found = [Result(**json.loads(line)) for line in lines]
    return list({(r.table, r.split, r.contender): r for r in found}.values())


class Results:
    """Results by table, contender and split."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._by: dict[str, dict[str, dict[int, Result]]] = {}
        for result in results:
            self._by.setdefault(result.table, {}).setdefault(result.contender, {})[result.split] = result

    @property
    def tables(self) -> list[str]:
        """The tables, small ones first."""
        return sorted(self._by, key=lambda name: self.any(name).rows)

    @property
    def contenders(self) -> list[str]:
        """The contenders, in the order in which they were measured."""
        return list(dict.fromkeys(contender for by in self._by.values() for contender in by))

    @property
    def libraries(self) -> list[str]:
        """The contenders that are not ours."""
        return [name for name in self.contenders if not name.startswith(BASE) and name != NAIVE]

    def any(self, table: str) -> Result:
        """Return one result of a table, for its rows and columns."""
        return next(result for by in self._by[table].values() for result in by.values())

    def of(self, table: str, contender: str) -> list[Result]:
        """Return the results of a contender on a table."""
        return list(self._by[table].get(contender, {}).values())

    def ratio(self, table: str, contender: str, other: str) -> Ratio | None:
        """Return the ratio of two contenders' errors on the splits that both have; None if there are none."""
        first, second = (self._by[table].get(name, {}) for name in (contender, other))
        splits = sorted(first.keys() & second.keys())
        if not splits:
            return None
        return Ratio.of([first[s].error for s in splits], [second[s].error for s in splits])

    def ratios(self, contender: str, other: str) -> dict[str, Ratio]:
        """Return the ratios of two contenders' errors by table."""
        found = {table: self.ratio(table, contender, other) for table in self.tables}
        return {table: ratio for table, ratio in found.items() if ratio}

    def best_library(self) -> str | None:
        """Return the library with the lowest geometric mean of errors, over the tables that all of them have."""
        common = [t for t in self.tables if all(self.of(t, name) for name in self.libraries if name != "AutoGluon")]
        names = [name for name in self.libraries if name != "AutoGluon"]

        def mean_log(name: str) -> float:
            return fmean(math.log(fmean(r.error for r in self.of(table, name))) for table in common)

        return min(names, key=mean_log) if names and common else None


def tables(results: Sequence[Result]) -> str:
    """Return the summary and the tables, as Markdown."""
    found = Results(results)
    parts = [_summary(found), _by_table(found), _options(found), _seconds(found)]
    return "\n\n".join(part for part in parts if part)


def _summary(found: Results) -> str:
    lines = ["| error: ours ÷ | tables | median | worst | worst minus one standard error |"]
    lines.append("|---|---:|---:|---:|---:|")
    best = found.best_library()
    for name in found.libraries:
        if ratios := found.ratios(BASE, name):
            shown = f"**{name}**" if name == best else name
            lines.append(f"| {shown} | {len(ratios)} | {_middle_and_worst(ratios)} |")
    best_line = f"The library with the lowest errors (geometric mean over all tables) is {best}." if best else ""
    return "\n".join([*lines, "", best_line])


def _middle_and_worst(ratios: Mapping[str, Ratio]) -> str:
    worst = max(ratios, key=lambda table: ratios[table].value)
    surely = max(ratios, key=lambda table: _beyond(ratios[table]))
    values = f"{median(r.value for r in ratios.values()):.3f} | {ratios[worst].value:.3f} ({worst})"
    return f"{values} | {_beyond(ratios[surely]):.3f} ({surely})"


def _beyond(ratio: Ratio) -> float:
    return ratio.value - (0 if math.isnan(ratio.error) else ratio.error)


def _by_table(found: Results) -> str:
    libraries = found.libraries
    lines = [f"| table | rows × columns | error | ours | {' | '.join(f'÷ {name}' for name in libraries)} |"]
    lines.append("|---|---:|---|---:|" + "---:|" * len(libraries))
    for table in found.tables:
        one, errors = found.any(table), [r.error for r in found.of(table, BASE)]
        if errors:
            ratios = [found.ratio(table, BASE, name) for name in libraries]
            shown = " | ".join(str(ratio or "") for ratio in ratios)
            lines.append(f"| {table} | {one.rows:,} × {one.columns} | {one.metric} | {_mean(errors)} | {shown} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4g}"
    error = math.sqrt(sum((v - fmean(values)) ** 2 for v in values) / (len(values) - 1) / len(values))
    return f"{fmean(values):.4g} ± {error:.2g}"


def _options(found: Results) -> str:
    """Our options, and the naive prediction, beside our default."""
    others = [name for name in found.contenders if name != BASE and name not in found.libraries]
    lines = ["| error: ÷ ours | tables | median | best | worst |", "|---|---:|---:|---:|---:|"]
    for name in others:
        if ratios := found.ratios(name, BASE):
            low, high = (which(ratios, key=lambda table: ratios[table].value) for which in (min, max))
            ends = " | ".join(f"{ratios[table].value:.3f} ({table})" for table in (low, high))
            lines.append(f"| {name} | {len(ratios)} | {median(r.value for r in ratios.values()):.3f} | {ends} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _seconds(found: Results) -> str:
    """The CPU seconds of a training, median over the tables."""
    small, large = "below 2,000 rows", "above"
    lines = [f"| CPU seconds, medians of the tables | {small} | {large} |", "|---|---:|---:|"]
    for name in found.contenders:
        by_size: dict[bool, list[float]] = {True: [], False: []}
        for table in found.tables:
            if seconds := [r.seconds for r in found.of(table, name)]:
                by_size[found.any(table).rows < 2_000].append(median(seconds))
        shown = (f"{median(values):.2f}" if values else "" for values in (by_size[True], by_size[False]))
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Replace what is between the marks of ``page``."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} lacks the marks {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
