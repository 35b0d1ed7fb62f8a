"""What its stages do. Each call is noted in the file that $SMALL_TRACE names, so that tests can count them."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from small.options import Knobs, Source, Target
from when_ml_pipeline_meets_hydra.contracts import Artifact, Progress, effect, frozen
from when_ml_pipeline_meets_hydra.errors import Refused


@frozen
class Numbers(Artifact):
    """Their total, and ``numbers.txt`` with one per line."""

    total: int


@frozen
class Curve(Artifact):
    """A fitted curve: ``curve.txt``."""

    name: Annotated[str, Field(min_length=1)]
    metrics: Mapping[str, float]


def gather(source: Source, *, out: Path, progress: Progress) -> Numbers:
    """Write the numbers down, in three files.

    More is not to be said.
    """
    note("gather")
    numbers = source.read()
    for part in range(3):
        progress(part, 3, "writing")
        (out / f"part{part}.txt").write_text("\n".join(map(str, numbers[part::3])))
        time.sleep(source.seconds)
    return Numbers(path=out, total=sum(numbers))


def fit(gather: Numbers, knobs: Knobs, *, out: Path) -> Curve:
    """Fit a curve to the numbers."""
    note("fit")
    if knobs.strict:
        raise RuntimeError(f"total {gather.total} is doubtful")
    parts = [(gather.path / f"part{n}.txt").read_text() for n in range(3)]
    rest = gather.total - sum(int(line) for part in parts for line in part.split())
    (out / "curve.txt").write_text(f"{knobs.shape} {gather.total * knobs.rate}")
    print(f"fitted a {knobs.shape}")
    return Curve(path=out, name=knobs.shape, metrics={"height": gather.total * knobs.rate, "rest": rest})


@effect
def ship(fit: Curve, target: Target) -> None:
    """Announce the curve at the target."""
    note("ship")
    phrase = target.login.phrase.get_secret_value()
    if target.mode == "refuse":
        raise Refused("target.login.phrase", f"the phrase {phrase} is wrong")
    if target.mode == "raise":
        raise ValueError(f"no entry with {phrase}") from KeyError({"phrase": phrase})
    if target.mode == "exit":
        sys.exit(f"bye {phrase}")
    if target.mode == "leak":
        _leak(phrase, target)
    print(f"{target.login.user} announces {fit.name} at {target.name}: {(fit.path / 'curve.txt').read_text()}")


def _leak(phrase: str, target: Target) -> None:
    """All the ways in which careless code tells what it should not."""
    for half in (phrase[:3], phrase[3:] + "\n"):
        sys.stdout.write(half)
    print(f"<{phrase}>", {"phrase": phrase}, [phrase], target, file=sys.stderr)
    logging.getLogger("small").warning("logged %s", phrase)
    warnings.warn(phrase, stacklevel=1)


def note(what: str) -> None:
    """Append a line to the trace; one write, so that those of several processes do not mix."""
    if trace := os.environ.get("SMALL_TRACE"):
        descriptor = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{what} {os.getpid()}\n".encode())
        os.close(descriptor)
