"""A model repository on disk.

::

    <root>/<model>/versions/<n>/   a bundle, never changed once it is there
    <root>/<model>/active.json     which version is active, which were before, a canary, the event that made it so
    <root>/<model>/history.jsonl   one line per event, appended

Everything appears whole: versions and the pointer are written under another name and renamed, so whoever reads needs
no lock. Writers take one lock per model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused
from when_ml_pipeline_meets_hydra.serving.formats.manifest import (
    FILES,
    MANIFEST,
    BundleRefused,
    read_manifest,
    verified,
)
from when_ml_pipeline_meets_hydra.serving.formats.reference import read_training
from when_ml_pipeline_meets_hydra.serving.formats.versions import (
    Action,
    Canary,
    Event,
    Status,
    Terms,
    Version,
    model_name,
)
from when_ml_pipeline_meets_hydra.serving.observations import daily
from when_ml_pipeline_meets_hydra.serving.observations.canary_counts import Verdict, judge, read_counts
from when_ml_pipeline_meets_hydra.serving.observations.daily import KEPT_DAYS, Observation
from when_ml_pipeline_meets_hydra.serving.repository.active_version import (
    POINTER,
    Pointer,
    append,
    event_now,
    finish_history,
    read_history,
    read_pointer,
    write_event,
    write_pointer,
)
from when_ml_pipeline_meets_hydra.storage import durable_files
from when_ml_pipeline_meets_hydra.storage.locks import LockHeld, hold

REMEMBERED = 20  # versions to which rollbacks can go
LOCK_SECONDS = 120


class Unknown(Refused):
    """A model or a version that the repository does not have."""


class Repository:
    """The models below ``root``, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        # Making a path costs more than asking for its stamp.
        self._pointer_file = lru_cache(1000)(lambda model: str(self._folder(model) / POINTER))

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
        if (active := self._known(model).active) is None:
            raise _none_active(model)
        return active

    def pointer(self, model: str) -> Pointer | None:
        """Which versions serve; None where none ever did."""
        return read_pointer(self._folder(model))

    def stamp(self, model: str) -> tuple[int, int] | None:
        """Changes whenever others serve than before; costs one call of ``stat``."""
        return durable_files.stamp(self._pointer_file(model))

    def numbers(self, model: str) -> tuple[int, ...]:
        """The numbers of a model's versions."""
        return _numbers(self._folder(model) / "versions")

    def status(self, model: str) -> Status:
        """All about a model; the files of the versions that serve are compared with their checksums."""
        pointer = self.pointer(model)
        active = pointer.active if pointer else None
        canary = pointer.canary if pointer else None
        serving = (active, canary.version if canary else None)
        return Status(
            model=model,
            active=active,
            previous=pointer.previous if pointer else (),
            canary=canary,
            measured=read_counts(self._folder(model), canary).measured if canary else None,
            versions=tuple(self._version(model, n, verify=n in serving) for n in self.numbers(model)),
            history=read_history(self._folder(model)),
        )

    def observation(self, model: str, version: int | None = None, days: int = KEPT_DAYS) -> Observation:
        """What a version, or the active one, was trained with, and what it was asked on the last ``days``.

        Raises:
            Unknown: there is no such version, or none is active.
            BundleRefused: its files are damaged.
        """
        number = self.active(model) if version is None else version
        folder = self.folder(model, number)
        training, _ = read_training(folder, read_manifest(folder)[0])
        found = daily.read(self._folder(model), number, days)
        return Observation(model=model, version=number, training=training, observed=found)

    def add(self, model: str, bundle: Path, who: str, run: str | None = None, *, number: int | None = None) -> int:
        """Keep a copy of the bundle in the directory ``bundle``, and return its version; nothing becomes active.

        The same bundle twice is one version. ``who`` asked, and ``run`` is the id of the run in which they did, if any;
        both are for the history, here and below. ``number`` is the version's where this is a copy of it.

        Raises:
            BundleRefused: the bundle is damaged.
            Refused: another bundle has that number.
        """
        _, digest = read_manifest(bundle)
        with self._writing(model) as folder:
            numbers = self.numbers(model)
            for version in (self._version(model, n, verify=True) for n in reversed(numbers)):
                if version.digest == digest and version.problem is None and number in (None, version.number):
                    return version.number
            if number in numbers:
                raise Refused("model_name", f"another version {number} of '{model}' is in {self.root} already")
            event = event_now(who, run, Action.PUSH, number or max(numbers, default=0) + 1)
            _install(bundle, folder, event)
            append(folder, event)
        return event.version

    def activate(self, model: str, version: int, who: str, run: str | None = None) -> Status:
        """Let a version serve alone; the one that was active is kept for rollbacks, and a canary is over.

        Where it does already nothing changes.

        Raises:
            Unknown: there is no such version.
            BundleRefused: its files are damaged.
        """
        self.folder(model, version)
        with self._writing(model) as folder:
            verified(self.folder(model, version))
            pointer = self.pointer(model)
            if pointer is None or pointer.active != version or pointer.canary:
                is_canary = bool(pointer and pointer.canary and pointer.canary.version == version)
                event = event_now(who, run, Action.PROMOTE if is_canary else Action.ACTIVATE, version)
                write_pointer(folder, _activated(pointer, version, event))
        return self.status(model)

    def canary(self, model: str, version: int, terms: Terms, who: str, run: str | None = None) -> Status:
        """Let a version answer a share of the requests; a canary that was there before is over.

        Where it is active, or such a canary already, nothing changes.

        Raises:
            Unknown: there is no such version, or none is active.
            BundleRefused: its files are damaged.
        """
        self.folder(model, version)
        with self._changing(model) as (folder, pointer):
            if pointer.active is None:
                raise _none_active(model)
            verified(self.folder(model, version))
            stands = pointer.canary
            if pointer.active != version and (stands is None or (stands.version, stands.terms) != (version, terms)):
                event = event_now(who, run, Action.CANARY, version)
                canary = Canary(version=version, since=event.when, terms=terms)
                write_pointer(folder, replace(pointer, canary=canary, event=event))
        return self.status(model)

    def rollback(self, model: str, who: str, run: str | None = None) -> Status:
        """Take the canary back; where there is none, make the version active that was active before.

        Raises:
            Unknown: no version ever was active.
            Refused: there is none before it.
            BundleRefused: the files of the one before are damaged.
        """
        with self._changing(model) as (folder, pointer):
            if pointer.canary:
                event = event_now(who, run, Action.TAKE_BACK, pointer.canary.version)
                write_pointer(folder, replace(pointer, canary=None, event=event))
            elif not pointer.previous:
                raise Refused("model_name", f"'{model}' has no earlier version to go back to")
            else:
                version, *previous = pointer.previous
                verified(self.folder(model, version))
                event = event_now(who, run, Action.ROLLBACK, version)
                write_pointer(folder, Pointer(active=version, previous=tuple(previous), event=event))
        return self.status(model)

    def undeploy(self, model: str, who: str, run: str | None = None) -> Status:
        """Let no version serve; the one that was active is kept for rollbacks. Twice is once.

        Raises:
            Unknown: no version ever was active.
        """
        with self._changing(model) as (folder, pointer):
            if pointer.active is not None:
                event = event_now(who, run, Action.UNDEPLOY, pointer.active)
                previous = (pointer.active, *pointer.previous)[:REMEMBERED]
                write_pointer(folder, Pointer(active=None, previous=previous, event=event))
        return self.status(model)

    def settle(self, model: str, who: str, broken: tuple[Canary, str] | None = None) -> Event | None:
        """Promote the canary or take it back, where it is time to; returns what was done.

        ``broken`` says of a canary why it cannot serve at all. Does nothing where somebody else is writing.
        """
        if (pointer := self.pointer(model)) is None or pointer.canary is None:
            return None
        with suppress(Refused), self._writing(model, patience=0) as folder:
            if (pointer := self.pointer(model)) is None or (canary := pointer.canary) is None:
                return None
            found = judge(canary, read_counts(folder, canary).measured, datetime.now(UTC))
            problem = broken[1] if broken and broken[0] == canary else None
            if found.verdict is Verdict.WAIT and problem is None:
                return None
            damaged = problem or self._version(model, canary.version, verify=True).problem
            is_good = found.verdict is Verdict.PROMOTE and damaged is None
            action = Action.PROMOTE if is_good else Action.TAKE_BACK
            event = event_now(who, None, action, canary.version, damaged or found.why)
            after = replace(pointer, canary=None, event=event)
            write_pointer(folder, _activated(pointer, canary.version, event) if is_good else after)
            return event
        return None

    def _folder(self, model: str) -> Path:
        try:
            return self.root / model_name(model)
        except ValueError as problem:
            raise BadInput(Problem(key="model_name", value=model, message=str(problem))) from None

    def _version(self, model: str, number: int, *, verify: bool) -> Version:
        folder, problem = self.folder(model, number), None
        try:
            manifest, digest = read_manifest(folder)
        except BundleRefused as refused:
            return Version(number=number, digest="", source="", model="", metrics={}, problem=refused.message)
        try:
            if verify:
                verified(folder)
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

    def _known(self, model: str) -> Pointer:
        if (pointer := self.pointer(model)) is None:
            raise _none_active(model)
        return pointer

    @contextmanager
    def _changing(self, model: str) -> Iterator[tuple[Path, Pointer]]:
        """The lock of the writers, for a model that was served before: otherwise a folder would be left behind."""
        self._known(model)
        with self._writing(model) as folder:
            yield folder, self._known(model)

    @contextmanager
    def _writing(self, model: str, patience: float = LOCK_SECONDS) -> Iterator[Path]:
        folder = self._folder(model)
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        try:
            with hold(folder / ".lock", patience=patience):
                finish_history(folder)
                yield folder
        except LockHeld:
            raise Refused("model_name", f"another process has been writing '{model}' for {patience:g} s") from None


def _none_active(model: str) -> Unknown:
    return Unknown("model_name", f"no version of '{model}' is active")


def _numbers(versions: Path) -> tuple[int, ...]:
    return tuple(sorted(int(path.name) for path in versions.glob("[0-9]*") if path.name.isdecimal()))


def _activated(before: Pointer | None, version: int, event: Event) -> Pointer:
    served = () if before is None else (before.active, *before.previous)
    previous = tuple(n for n in served if n is not None and n != version)
    return Pointer(active=version, previous=previous[:REMEMBERED], event=event)


def _install(bundle: Path, folder: Path, event: Event) -> None:
    # Nobody else is in here while we hold the lock, so what lies here was left by a killed process.
    incoming = folder / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    for name in (*FILES, MANIFEST):
        shutil.copyfile(bundle / name, incoming / name)
        durable_files.sync(incoming / name)
    verified(incoming)
    write_event(incoming, event)
    incoming.rename(folder / "versions" / str(event.version))
    durable_files.sync(folder / "versions")
