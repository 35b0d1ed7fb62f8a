"""The pointer to the versions of a model that serve, and the history of its changes.

The pointer holds the event that changed it, and a version's ``event.json`` the push that added it. Both are written
atomically, before the line in the history: an event that a killed writer did not append is restored from them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.serving.formats.versions import Action, Canary, Event
from when_ml_pipeline_meets_hydra.storage import durable_files

log = logging.getLogger(__name__)

POINTER, HISTORY, EVENT = "active.json", "history.jsonl", "event.json"


class Damaged(Refused):
    """The pointer of a model cannot be read, so it is unknown which version is active."""


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
    """Return the pointer of the model in ``folder``; None if no version was ever active. Raises ``Damaged``."""
    try:
        return _pointers.validate_json((folder / POINTER).read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, IsADirectoryError):
        remedy = "Restore it, or remove it and deploy again; the versions beside it stay"
        raise Damaged("model_name", f"{folder / POINTER} is damaged. {remedy}") from None


def write_pointer(folder: Path, pointer: Pointer) -> None:
    """Switch to ``pointer``, and append its event to the history. The caller must hold the write lock."""
    durable_files.write(folder / POINTER, _pointers.dump_json(pointer))
    with suppress(OSError):  # a full disk: the event is in the pointer, and is appended by the next writer
        append(folder, pointer.event)


def event_now(who: str, run: str | None, action: Action, version: int, why: str | None = None) -> Event:
    """Return an event with the current time."""
    return Event(when=datetime.now(UTC), who=who, action=action, version=version, run=run, why=why)


def write_event(version: Path, event: Event) -> None:
    """Write the event that added a version into the version's folder."""
    durable_files.write(version / EVENT, _events.dump_json(event))


def read_history(folder: Path) -> tuple[Event, ...]:
    """Return all events, oldest first, including one that is not appended to the history yet."""
    written = _written(folder)
    return (*written, *_unwritten(folder, written))


def finish_history(folder: Path) -> None:
    """Append the events that a killed writer did not, and remove its temporary files.

    The caller must hold the write lock.
    """
    for left in folder.glob(f".{POINTER}.*"):
        left.unlink()
    for event in _unwritten(folder, _written(folder)):
        append(folder, event)


def append(folder: Path, event: Event) -> None:
    """Append an event to the history. The caller must hold the write lock."""
    durable_files.append_line(folder / HISTORY, _events.dump_json(event))


def _written(folder: Path) -> tuple[Event, ...]:
    return tuple(_readable(folder / HISTORY, durable_files.read_lines(folder / HISTORY)))


def _unwritten(folder: Path, written: tuple[Event, ...]) -> list[Event]:
    done = [event for path in folder.glob(f"versions/*/{EVENT}") for event in _readable(path, [path.read_bytes()])]
    if pointer := read_pointer(folder):
        done.append(pointer.event)
    return sorted(set(done) - set(written), key=lambda event: event.when)


def _readable(file: Path, texts: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events in a file; no version depends on them, so one that is damaged is left out with a warning."""
    for text in texts:
        try:
            yield _events.validate_json(text)
        except ValidationError:
            log.warning("%s is damaged: an event in it cannot be read", file)
