"""A model repository on disk.

::

    <root>/<model>/versions/<n>/   a bundle, never changed once it is there
    <root>/<model>/active.json     which version is active, which were before, and the event that made it so
    <root>/<model>/history.jsonl   one line per event, appended

Everything appears whole: versions and the pointer are written under another name and renamed, so whoever reads needs
no lock. Writers take one lock per model. The version's ``event.json`` and the pointer hold the event that the history
gets next; a writer that finds it missing there (its predecessor was killed in between) appends it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import filelock
from pydantic import Field, TypeAdapter

from when_ml_pipeline_meets_hydra import durable
from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused
from when_ml_pipeline_meets_hydra.serving.manifest import (
    FILES,
    MANIFEST,
    BundleRefused,
    read_manifest,
    verify_files,
)
from when_ml_pipeline_meets_hydra.serving.versions import Action, Event, Status, Version, model_name

REMEMBERED = 20  # versions to which rollbacks can go
LOCK_SECONDS = 120
POINTER, HISTORY, EVENT = "active.json", "history.jsonl", "event.json"


class Unknown(Refused):
    """A model or a version that the repository does not have."""


@frozen
class Pointer:
    """Content of ``active.json``."""

    active: Annotated[int, Field(ge=1)]
    previous: tuple[int, ...]
    event: Event


_pointers = TypeAdapter(Pointer)
_events = TypeAdapter(Event)


class Repository:
    """The models below ``root``, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def models(self) -> tuple[str, ...]:
        """Names of all models that have a version."""
        return tuple(sorted(path.parent.name for path in self.root.glob("*/versions") if _numbers(path)))

    def folder(self, model: str, version: int) -> Path:
        """Where a version's bundle lies.

        Raises:
            Unknown: there is no such version.
        """
        path = self._folder(model) / "versions" / str(version)
        if not path.is_dir():
            raise Unknown("model_name", f"'{model}' has no version {version}")
        return path

    def active(self, model: str) -> int:
        """The active version.

        Raises:
            Unknown: no version of the model is active.
        """
        pointer = self._pointer(model)
        if pointer is None:
            raise Unknown("model_name", f"no version of '{model}' is active")
        return pointer.active

    def stamp(self, model: str) -> tuple[int, int] | None:
        """Changes whenever another version becomes active; costs one call of ``stat``."""
        try:
            found = os.stat(self._folder(model) / POINTER)  # noqa: PTH116 (Path.stat costs twice as much)
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    def numbers(self, model: str) -> tuple[int, ...]:
        """The numbers of a model's versions."""
        return _numbers(self._folder(model) / "versions")

    def status(self, model: str) -> Status:
        """All about a model; the active version's files are compared with their checksums."""
        pointer = self._pointer(model)
        active = pointer.active if pointer else None
        return Status(
            model=model,
            active=active,
            previous=pointer.previous if pointer else (),
            versions=tuple(self._version(model, n, verify=n == active) for n in self.numbers(model)),
            history=self._history(model),
        )

    def add(self, model: str, bundle: Path, who: str) -> int:
        """Keep a copy of the bundle in the directory ``bundle``, and return its version; nothing becomes active.

        The same bundle twice is one version.

        Raises:
            BundleRefused: the bundle is damaged.
        """
        _, digest = read_manifest(bundle)
        with self._writing(model) as folder:
            numbers = self.numbers(model)
            for version in (self._version(model, n, verify=True) for n in reversed(numbers)):
                if version.digest == digest and version.problem is None:
                    return version.number
            event = _event(who, Action.PUSH, max(numbers, default=0) + 1)
            _install(bundle, folder, event)
            _append(folder, event)
        return event.version

    def activate(self, model: str, version: int, who: str) -> Status:
        """Make a version the active one; the one that was active is kept for rollbacks.

        Raises:
            Unknown: there is no such version.
            BundleRefused: its files are damaged.
        """
        self.folder(model, version)
        with self._writing(model) as folder:
            self._verify(model, version)
            pointer = self._pointer(model)
            if pointer is None or pointer.active != version:
                before = (pointer.active, *pointer.previous) if pointer else ()
                previous = tuple(n for n in before if n != version)[:REMEMBERED]
                _switch(folder, version, previous, _event(who, Action.ACTIVATE, version))
        return self.status(model)

    def rollback(self, model: str, who: str) -> Status:
        """Make the version active that was active before.

        Raises:
            Unknown: no version is active.
            Refused: there is none before it.
            BundleRefused: the files of the one before are damaged.
        """
        self.active(model)
        with self._writing(model) as folder:
            pointer = self._pointer(model)
            if pointer is None or not pointer.previous:
                raise Refused("model_name", f"'{model}' has no earlier version to go back to")
            version, *previous = pointer.previous
            self._verify(model, version)
            _switch(folder, version, tuple(previous), _event(who, Action.ROLLBACK, version))
        return self.status(model)

    def _folder(self, model: str) -> Path:
        try:
            return self.root / model_name(model)
        except ValueError as problem:
            raise BadInput(Problem(key="model_name", value=model, message=str(problem))) from None

    def _pointer(self, model: str) -> Pointer | None:
        try:
            return _pointers.validate_json((self._folder(model) / POINTER).read_bytes())
        except FileNotFoundError:
            return None

    def _history(self, model: str) -> tuple[Event, ...]:
        lines = durable.read_lines(self._folder(model) / HISTORY)
        return tuple(map(_events.validate_json, lines))

    def _verify(self, model: str, version: int) -> None:
        folder = self.folder(model, version)
        verify_files(folder, read_manifest(folder)[0])

    def _version(self, model: str, number: int, *, verify: bool) -> Version:
        folder, problem = self.folder(model, number), None
        try:
            manifest, digest = read_manifest(folder)
        except BundleRefused as refused:
            return Version(number=number, digest="", source="", model="", metrics={}, problem=refused.message)
        try:
            if verify:
                verify_files(folder, manifest)
        except BundleRefused as refused:
            problem = refused.message
        return Version(
            number=number,
            digest=digest,
            source=manifest.source,
            model=manifest.model,
            metrics=manifest.metrics,
            problem=problem,
        )

    @contextmanager
    def _writing(self, model: str) -> Iterator[Path]:
        folder = self._folder(model)
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(folder / ".lock", timeout=LOCK_SECONDS):
                self._finish_history(model)
                yield folder
        except filelock.Timeout:
            raise Refused("model_name", f"another process has been writing '{model}' for {LOCK_SECONDS} s") from None

    def _finish_history(self, model: str) -> None:
        """Append what a killed predecessor did but could not write down."""
        folder = self._folder(model)
        known = set(self._history(model))
        done = [_events.validate_json(path.read_bytes()) for path in folder.glob(f"versions/*/{EVENT}")]
        if pointer := self._pointer(model):
            done.append(pointer.event)
        for event in sorted(set(done) - known, key=lambda event: event.when):
            _append(folder, event)


def _numbers(versions: Path) -> tuple[int, ...]:
    return tuple(sorted(int(path.name) for path in versions.glob("[0-9]*") if path.name.isdecimal()))


def _event(who: str, action: Action, version: int) -> Event:
    return Event(when=datetime.now(UTC), who=who, action=action, version=version)


def _install(bundle: Path, folder: Path, event: Event) -> None:
    # Nobody else is in here while we hold the lock, so what lies here was left by a killed process.
    incoming = folder / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    for name in (*FILES, MANIFEST):
        shutil.copyfile(bundle / name, incoming / name)
        durable.sync(incoming / name)
    verify_files(incoming, read_manifest(incoming)[0])
    durable.write(incoming / EVENT, _events.dump_json(event))
    incoming.rename(folder / "versions" / str(event.version))
    durable.sync(folder / "versions")


def _switch(folder: Path, version: int, previous: tuple[int, ...], event: Event) -> None:
    pointer = Pointer(active=version, previous=previous, event=event)
    durable.write(folder / POINTER, _pointers.dump_json(pointer))
    _append(folder, event)


def _append(folder: Path, event: Event) -> None:
    durable.append_line(folder / HISTORY, _events.dump_json(event))
