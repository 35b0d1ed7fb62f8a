"""A model repository on disk.

::

    <root>/<model>/versions/<n>/   a bundle, immutable
    <root>/<model>/active.json     the active version, previous ones, a canary, the event that set them
    <root>/<model>/history.jsonl   one line per event, appended

Versions and the pointer are written under a temporary name and renamed, so readers need no lock. Writers take one
lock per model.
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

MAX_PREVIOUS = 20  # versions that can be rolled back to
LOCK_SECONDS = 120
SPACE_BESIDE = 1 << 16  # bytes that a version needs besides its bundle


class NotFound(Refused):
    """No such model or version in the repository."""


class Repository:
    """Model repository in the directory ``root``, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._pointer_file = lru_cache(1000)(lambda model: str(self._folder(model) / POINTER))

    def models(self) -> tuple[str, ...]:
        """Return the names of all models that have a version."""
        return tuple(sorted(path.parent.name for path in self.root.glob("*/versions") if _numbers(path)))

    def folder(self, model: str, version: int) -> Path:
        """Return the directory of a version's bundle.

        Raises:
            NotFound: there is no such version.
        """
        path = self._folder(model) / "versions" / str(version)
        if not path.is_dir():
            raise NotFound("model_name", f"'{model}' has no version {version}")
        return path

    def active(self, model: str) -> int:
        """Return the active version.

        Raises:
            NotFound: no version of the model is active.
        """
        if (active := self._existing_pointer(model).active) is None:
            raise _none_active(model)
        return active

    def pointer(self, model: str) -> Pointer | None:
        """Return the pointer to the versions that serve; None if no version was ever active."""
        return read_pointer(self._folder(model))

    def stamp(self, model: str) -> tuple[int, int] | None:
        """Return a value that changes whenever the pointer does; costs one call of ``stat``."""
        return durable_files.stamp(self._pointer_file(model))

    def numbers(self, model: str) -> tuple[int, ...]:
        """Return the numbers of a model's versions."""
        return _numbers(self._folder(model) / "versions")

    def status(self, model: str) -> Status:
        """Return the status of a model; the checksums of the versions that serve are verified."""
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
        """Return training data and observed requests of the last ``days`` of a version, by default the active one.

        Raises:
            NotFound: there is no such version, or none is active.
            BundleRefused: its files are damaged.
        """
        number = self.active(model) if version is None else version
        folder = self.folder(model, number)
        training, _ = read_training(folder, read_manifest(folder)[0])
        observed = daily.read(self._folder(model), number, days)
        return Observation(model=model, version=number, training=training, observed=observed)

    def add(self, model: str, bundle: Path, who: str, run: str | None = None, *, number: int | None = None) -> int:
        """Add a copy of the bundle in the directory ``bundle``, and return its version; it is not activated.

        Adding a bundle again returns its existing version. ``who`` is the user and ``run`` the id of the run, if any,
        for the history, here and below. ``number`` is the version's number in the repository it is copied from.

        Raises:
            BundleRefused: the bundle is damaged.
            Refused: another bundle has that number.
        """
        _, digest = read_manifest(bundle)
        if not self._folder(model).exists():
            durable_files.check_space(self.root, _size(bundle) + SPACE_BESIDE)
        with self._writing(model) as folder:
            numbers = self.numbers(model)
            for version in (self._version(model, n, verify=True) for n in reversed(numbers)):
                if version.digest == digest and version.problem is None and number in (None, version.number):
                    return version.number
            if number in numbers:
                raise Refused("model_name", f"another version {number} of '{model}' is in {self.root} already")
            event = event_now(who, run, Action.PUSH, number or max(numbers, default=0) + 1)
            _install(bundle, folder, event)
            with suppress(OSError):  # a full disk: the next writer appends it from the version
                append(folder, event)
        return event.version

    def activate(self, model: str, version: int, who: str, run: str | None = None) -> Status:
        """Activate a version; the previously active one is kept for rollbacks, and a canary ends.

        Nothing changes if it is active already and there is no canary.

        Raises:
            NotFound: there is no such version.
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
        """Route a share of the requests to a version; this replaces an earlier canary.

        Nothing changes if the version is active, or a canary with these terms already.

        Raises:
            NotFound: there is no such version, or none is active.
            BundleRefused: its files are damaged.
        """
        self.folder(model, version)
        with self._changing(model) as (folder, pointer):
            if pointer.active is None:
                raise _none_active(model)
            verified(self.folder(model, version))
            current = pointer.canary
            if pointer.active != version and (current is None or (current.version, current.terms) != (version, terms)):
                event = event_now(who, run, Action.CANARY, version)
                canary = Canary(version=version, since=event.when, terms=terms)
                write_pointer(folder, replace(pointer, canary=canary, event=event))
        return self.status(model)

    def rollback(self, model: str, who: str, run: str | None = None) -> Status:
        """Take the canary back or, without one, activate the previously active version.

        Raises:
            NotFound: no version was ever active.
            Refused: there is no previous version.
            BundleRefused: the files of the previous version are damaged.
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
        """Deactivate the active version, which is kept for rollbacks; no change if none is active.

        Raises:
            NotFound: no version was ever active.
        """
        with self._changing(model) as (folder, pointer):
            if pointer.active is not None:
                event = event_now(who, run, Action.UNDEPLOY, pointer.active)
                previous = (pointer.active, *pointer.previous)[:MAX_PREVIOUS]
                write_pointer(folder, Pointer(active=None, previous=previous, event=event))
        return self.status(model)

    def judge_canary(self, model: str, who: str, broken: tuple[Canary, str] | None = None) -> Event | None:
        """Promote the canary or take it back, if it is due, and return the event.

        ``broken`` is a canary that cannot be loaded, and the reason. Does nothing while another process is writing.
        """
        if (pointer := self.pointer(model)) is None or pointer.canary is None:
            return None
        with suppress(Refused), self._writing(model, patience=0) as folder:
            if (pointer := self.pointer(model)) is None or (canary := pointer.canary) is None:
                return None
            judgement = judge(canary, read_counts(folder, canary).measured, datetime.now(UTC))
            problem = broken[1] if broken and broken[0] == canary else None
            if judgement.verdict is Verdict.WAIT and problem is None:
                return None
            damaged = problem or self._version(model, canary.version, verify=True).problem
            is_good = judgement.verdict is Verdict.PROMOTE and damaged is None
            action = Action.PROMOTE if is_good else Action.TAKE_BACK
            event = event_now(who, None, action, canary.version, damaged or judgement.why)
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

    def _existing_pointer(self, model: str) -> Pointer:
        if (pointer := self.pointer(model)) is None:
            raise _none_active(model)
        return pointer

    @contextmanager
    def _changing(self, model: str) -> Iterator[tuple[Path, Pointer]]:
        """Take the write lock of a model that has a pointer; without one, the lock would leave a folder behind."""
        self._existing_pointer(model)
        with self._writing(model) as folder:
            yield folder, self._existing_pointer(model)

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


def _none_active(model: str) -> NotFound:
    return NotFound("model_name", f"no version of '{model}' is active")


def _numbers(versions: Path) -> tuple[int, ...]:
    return tuple(sorted(int(path.name) for path in versions.glob("[0-9]*") if path.name.isdecimal()))


def _activated(before: Pointer | None, version: int, event: Event) -> Pointer:
    served = () if before is None else (before.active, *before.previous)
    previous = tuple(n for n in served if n is not None and n != version)
    return Pointer(active=version, previous=previous[:MAX_PREVIOUS], event=event)


def _size(bundle: Path) -> int:
    return sum((bundle / name).stat().st_size for name in (*FILES, MANIFEST))


def _install(bundle: Path, folder: Path, event: Event) -> None:
    # The caller holds the lock, so files in this folder were left by a killed process.
    incoming = folder / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    try:
        incoming.mkdir()
        for name in (*FILES, MANIFEST):
            shutil.copyfile(bundle / name, incoming / name)
            durable_files.sync(incoming / name)
        verified(incoming)
        write_event(incoming, event)
        incoming.rename(folder / "versions" / str(event.version))
    except BaseException:
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    durable_files.sync(folder / "versions")
