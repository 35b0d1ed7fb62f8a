"""The Protocol of trackers, and what is sent to them: of a run, one part per combination, and one for the whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

STAGES = ("modeling", "analysis")  # whose files are sent unless others are named


class Row(NamedTuple):
    """Values by metric after a number of epochs or trees, or of a fold, which is the ``step``."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A combination of a run, or a whole sweep, which is the ``parent`` of its combinations; secrets are masked.

    ``id`` is the same whenever the same record is read, ``run`` the id of the record. ``config`` is nested and
    resolved. ``metrics`` maps ``<stage>.<metric>`` to its value; ``rows`` are scores on folds and partial scores: those
    of ended steps, and then those of running ones, of which some may not come again. ``facts`` are command, overrides,
    git state and versions. ``files`` maps names to files and folders. Times are seconds since 1970; ``ended`` is None
    before.
    """

    id: str
    run: str
    name: str
    parent: str | None = None
    is_parent: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    status: str
    started: float
    ended: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether a step has failed."""
        return self.status == "failed"

    def all_files(self) -> Iterator[tuple[str, Path]]:
        """Yield each file with its name: ``modeling/model.onnx``."""
        for name, place in self.files.items():
            inside = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else []
            yield from ((f"{name}/{file.relative_to(place)}", file) for file in inside)
            if place.is_file():
                yield name, place


class Points:
    """The points (metric, step) of a run that a tracker has."""

    def __init__(self, points: Iterable[tuple[str, int]] = ()) -> None:
        self._points = set(points)

    def new(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield what is new of some rows, from then on known."""
        for step, values in rows:
            if new := {name: value for name, value in values.items() if (name, step) not in self._points}:
                self._points |= {(name, step) for name in new}
                yield Row(step, new)


class Connection(Protocol):
    """An open connection to a tracker."""

    @property
    def url(self) -> str | None:
        """Where a person sees what was sent."""

    def send(self, run: TrackedRun) -> None:
        """Send a run, or what is new of it: a run that is sent twice is there once."""

    def close(self) -> None:
        """Wait until everything has been sent."""


class Tracker(Protocol):
    """The settings of a tracker. ``artifacts`` names the stages whose files are sent."""

    artifacts: Sequence[str]

    def connect(self, known: dict[str, str]) -> Connection:
        """Open a connection. ``known`` maps ids to what the tracker calls them, and is kept with the record."""


def flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of a nested config with their values as text: ``m_param.n_estimators``, ``"5"``; lists as JSON."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{key}.")
        else:
            yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
