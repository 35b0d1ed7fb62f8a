"""Which versions of a model serve, and the history of how that came about.

The pointer holds the event that made it, and a version's ``event.json`` the one that brought it. Both appear whole, and
before the history's line: what a killed writer could not write down is read from there, and written by the next one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.serving.formats.versions import Action, Canary, Event
from when_ml_pipeline_meets_hydra.storage import durable_files

POINTER, HISTORY, EVENT = "active.json", "history.jsonl", "event.json"


@frozen
class Pointer:
    """Content of ``active.json``; ``active`` is None after an undeploy."""

    active: Annotated[int, Field(ge=1)] | None
    previous: tuple[int, ...]
    canary: Canary | None = None
    event: Event


_pointers = TypeAdapter(Pointer)
_events = TypeAdapter(Event)


def read_pointer(folder: Path) -> Pointer | None:
    """The pointer of the model in ``folder``; None where no version was ever active."""
    try:
        return _pointers.validate_json((folder / POINTER).read_bytes())
    except FileNotFoundError:
        return None


def write_pointer(folder: Path, pointer: Pointer) -> None:
    """Switch to ``pointer``, and append its event. Needs the lock of the writers."""
    durable_files.write(folder / POINTER, _pointers.dump_json(pointer))
    append(folder, pointer.event)


def event_now(who: str, run: str | None, action: Action, version: int, why: str | None = None) -> Event:
    """What is being done now."""
    return Event(when=datetime.now(UTC), who=who, action=action, version=version, run=run, why=why)


def write_event(version: Path, event: Event) -> None:
    """Note in a version's own folder how it came there."""
    durable_files.write(version / EVENT, _events.dump_json(event))


def read_history(folder: Path) -> tuple[Event, ...]:
    """All events, the oldest first; also one that is done but not written down yet."""
    written = _written(folder)
    return (*written, *_unwritten(folder, written))


def finish_history(folder: Path) -> None:
    """Append what a killed predecessor did but could not write down, and remove what it has not finished.

    Needs the lock of the writers.
    """
    for left in folder.glob(f".{POINTER}.*"):
        left.unlink()
    for event in _unwritten(folder, _written(folder)):
        append(folder, event)


def append(folder: Path, event: Event) -> None:
    """Append a line. Needs the lock of the writers."""
    durable_files.append_line(folder / HISTORY, _events.dump_json(event))


def _written(folder: Path) -> tuple[Event, ...]:
    return tuple(map(_events.validate_json, durable_files.read_lines(folder / HISTORY)))


def _unwritten(folder: Path, written: tuple[Event, ...]) -> list[Event]:
    done = [_events.validate_json(path.read_bytes()) for path in folder.glob(f"versions/*/{EVENT}")]
    if pointer := read_pointer(folder):
        done.append(pointer.event)
    return sorted(set(done) - set(written), key=lambda event: event.when)
