"""Steps of which several combinations race for one place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from small.steps import note
from when_ml_pipeline_meets_hydra.contracts import Artifact, Claim, Direction, claims, effect, frozen


@frozen
class Measured(Artifact):
    """What was measured."""

    directions: ClassVar[Mapping[str, Direction]] = {"error": "minimize", "height": "maximize"}

    metrics: Mapping[str, float]


@frozen
class Checked(Artifact):
    """Nothing but that it was checked."""


def measure(value: float | str, data: str, *, out: Path) -> Measured:
    """Measure a value: "fail" fails, "none" has no metric, "other" another one."""
    note("measure")
    if value == "fail":
        raise ValueError("not like that")
    if isinstance(value, str):
        return Measured(path=out, metrics={"mine": 1} if value == "other" else {})
    return Measured(path=out, metrics={"error": value, "height": -value, "mine": value})


def look(measure: Measured, *, out: Path) -> Checked:
    """Look at what was measured."""
    note("look")
    return Checked(path=out)


def _shelf(place: str, data: str) -> Claim:
    return Claim(place=place, text=f"the place {place}", among=data)


@claims(_shelf)
@effect
def put(measure: Measured, place: str, data: str, value: float | str) -> None:
    """Put it in its place."""
    note("put")
    print(f"put {value} of {data} in {place}")


@effect
def show(measure: Measured, place: str, value: float | str) -> None:
    """Show it, which takes no place."""
    note("show")
