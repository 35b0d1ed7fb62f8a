"""Smoke rows of a bundle with their expected predictions, and the comparison of predictions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.serving.formats.manifest import SMOKE, BundleRefused

Value = float | int | str | bool | None
Row = Mapping[str, Value]

# Relative to the largest value. The graph computes in 32-bit floats, the trained model in 64-bit ones.
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """Predictions for N rows: numbers, or class names with K probabilities each in the order of the classes."""

    values: tuple[float | str, ...]
    probabilities: tuple[tuple[float, ...], ...] | None = None


@frozen
class Smoke:
    """Raw rows and the trained model's predictions for them."""

    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    expected: Predictions


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


def difference(expected: Predictions, got: Predictions) -> str | None:
    """Describe the first row whose predictions differ by more than rounding; return None if there is none."""
    if len(expected.values) != len(got.values):
        return f"{len(got.values)} predictions for {len(expected.values)} rows"
    if expected.probabilities is None:
        return _numbers_differ(expected.values, got.values)
    if got.probabilities is None or len(got.probabilities) != len(expected.values):
        return "the probabilities are missing"
    for row, (wanted, found) in enumerate(zip(expected.probabilities, got.probabilities, strict=True)):
        if len(wanted) != len(found) or any(_far(a, b, 1.0) for a, b in zip(wanted, found, strict=True)):
            return f"row {row}: probabilities {_short(found)} instead of {_short(wanted)}"
        if got.values[row] != expected.values[row] and not _is_tie(wanted):
            return f"row {row}: {got.values[row]!r} instead of {expected.values[row]!r}"
    return None


def _numbers_differ(expected: Sequence[float | str], got: Sequence[float | str]) -> str | None:
    if any(isinstance(value, str) for value in (*expected, *got)):
        return None if list(expected) == list(got) else "class names instead of numbers"
    wanted, found = [float(value) for value in expected], [float(value) for value in got]
    scale = max(map(abs, wanted), default=1.0) or 1.0
    for row, (a, b) in enumerate(zip(wanted, found, strict=True)):
        if _far(a, b, scale):
            return f"row {row}: {b:.7g} instead of {a:.7g}"
    return None


def _far(a: float, b: float, scale: float) -> bool:
    return not math.isfinite(b) or abs(a - b) > TOLERANCE * scale


def _is_tie(probabilities: Sequence[float]) -> bool:
    first, second = sorted(probabilities, reverse=True)[:2]
    return first - second <= 2 * TOLERANCE


def _short(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{number:.4g}" for number in numbers[:5]) + (", …]" if len(numbers) > 5 else "]")
