"""Smoke rows of a bundle with their expected predictions, and the comparison of predictions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Decision
from when_ml_pipeline_meets_hydra.serving.formats.manifest import SMOKE, BundleRefused

Value = float | int | str | bool | None
Row = Mapping[str, Value]

# Part of the target's spread (or of 1, for probabilities): the graph of a network computes in 32-bit floats.
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """Predictions for N rows: numbers, or class names with K probabilities each in the order of the classes."""

    values: tuple[float | str, ...]
    probabilities: tuple[tuple[float, ...], ...] | None = None


@frozen
class Smoke:
    """Raw rows and the trained model's predictions for them; ``spread`` is the standard deviation of a numeric target.

    ``decision`` is the threshold by which rows get one of two classes, if there is one. Earlier bundles have neither.
    """

    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    expected: Predictions
    spread: float | None = None
    decision: Decision | None = None

    def difference(self, got: Predictions) -> str | None:
        """Describe the first row for which ``got`` differs by more than rounding; return None if there is none."""
        return difference(self.expected, got, self.spread, self.decision)


_smokes = TypeAdapter(Smoke)


def write_smoke(folder: Path, smoke: Smoke) -> None:
    """Write ``smoke.json``."""
    text = json.dumps(_smokes.dump_python(smoke, mode="json"), ensure_ascii=False, allow_nan=False)
    (folder / SMOKE).write_text(text + "\n", encoding="utf-8")


def read_smoke(folder: Path) -> Smoke:
    """Return the smoke rows of the bundle in ``folder``.

    Raises:
        BundleRefused: the file is missing or malformed.
    """
    try:
        return _smokes.validate_json((folder / SMOKE).read_bytes(), strict=True)
    except (OSError, ValidationError):
        raise BundleRefused(f"{SMOKE} cannot be read") from None


def difference(
    expected: Predictions, got: Predictions, spread: float | None, decision: Decision | None = None
) -> str | None:
    """Describe the first row whose predictions differ by more than rounding; return None if there is none.

    Args:
        expected: predictions of the trained model.
        got: predictions to compare.
        spread: standard deviation of a numeric target; None: numbers may differ by a part of the largest one.
        decision: the threshold by which rows get one of two classes, if there is one.
    """
    if len(expected.values) != len(got.values):
        return f"{len(got.values)} predictions for {len(expected.values)} rows"
    if expected.probabilities is None:
        return _numbers_differ(expected.values, got.values, spread)
    if got.probabilities is None or len(got.probabilities) != len(expected.values):
        return "the probabilities are missing"
    for row, (wanted, found) in enumerate(zip(expected.probabilities, got.probabilities, strict=True)):
        if len(wanted) != len(found) or any(_far(a, b, 1.0) for a, b in zip(wanted, found, strict=True)):
            return f"row {row}: probabilities {_short(found)} instead of {_short(wanted)}"
        if got.values[row] != expected.values[row] and not _is_tie(wanted, decision):
            return f"row {row}: {got.values[row]!r} instead of {expected.values[row]!r}"
    return None


def _numbers_differ(expected: Sequence[float | str], got: Sequence[float | str], spread: float | None) -> str | None:
    if any(isinstance(value, str) for value in (*expected, *got)):
        return None if list(expected) == list(got) else "class names instead of numbers"
    wanted, found = [float(value) for value in expected], [float(value) for value in got]
    scale = spread or max(map(abs, wanted), default=1.0) or 1.0
    center = median(wanted) if wanted else 0.0
    for row, (a, b) in enumerate(zip(wanted, found, strict=True)):
        # A prediction far from all others may be off by a part of this distance.
        if _far(a, b, max(scale, abs(a - center))) and not abs(a - b) <= math.ulp(a):
            return f"row {row}: {b:.{_digits(a, b)}g} instead of {a:.{_digits(a, b)}g}"
    return None


def _digits(a: float, b: float) -> int:
    """The digits that tell two numbers apart."""
    return next((n for n in range(7, 17) if f"{a:.{n}g}" != f"{b:.{n}g}"), 17)


def _far(a: float, b: float, scale: float) -> bool:
    return not math.isfinite(b) or abs(a - b) > TOLERANCE * scale


def _is_tie(probabilities: Sequence[float], decision: Decision | None) -> bool:
    if decision is not None:
        return abs(probabilities[decision.positive] - decision.threshold) <= 2 * TOLERANCE
    first, second = sorted(probabilities, reverse=True)[:2]
    return first - second <= 2 * TOLERANCE


def _short(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{number:.4g}" for number in numbers[:5]) + (", …]" if len(numbers) > 5 else "]")
