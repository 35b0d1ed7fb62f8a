"""The record of a search, below ``<home>/studies/``: an append-only file, from which the same command goes on.

``<name>-<digest>/`` has ``study.json`` (what it searches) and ``trials.jsonl``: a line for each proposed trial,
and one with its score. Several processes, also on other hosts, may work at a study: each has a locked file in
``workers/`` as long as it lives, so trials of one that was killed are run again by another.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.searching.space import Value
from when_ml_pipeline_meets_hydra.storage import durable_files
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest
from when_ml_pipeline_meets_hydra.storage.home import make_home
from when_ml_pipeline_meets_hydra.storage.locks import LockHeld, hold

FOLDER = "studies"
_HEAD, _TRIALS, _LOCK, _WORKERS = "study.json", "trials.jsonl", "study.lock", "workers"
_MARK = b', "digest": "'


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial: its values, and once it has ended, its metrics or its error, and the ``measured`` numbers with a limit.

    ``is_pruned``: it was stopped because of its partial scores, the ``reports`` (with signs such that larger ones are
    better). Numbers below 0 are those of results that were known before the search. ``worker`` is the process that runs
    it, or did; ``run`` and ``job`` say where its record is.
    """

    number: int
    values: Mapping[str, Value]
    memo: Mapping[str, Any] = field(default_factory=dict)
    worker: str = ""
    has_ended: bool = False
    metrics: Mapping[str, float] | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    is_pruned: bool = False
    reports: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    run: str | None = None
    job: int | None = None
    seconds: float = 0.0

    @property
    def facts(self) -> dict[str, Any]:
        """Number, values and metrics, as JSON values."""
        return {"trial": self.number, "values": dict(self.values), "metrics": dict(self.metrics or {})}

    @property
    def last_report(self) -> tuple[int, float] | None:
        """The last partial score of a pruned trial, (step, value), over which it was pruned."""
        points = [points for points in self.reports.values() if points]
        return tuple(points[-1][-1]) if self.is_pruned and points else None


class Study:
    """The trials of a study, as far as this process has read them."""

    def __init__(self, home: Path, name: str, identity: Mapping[str, Any]) -> None:
        self.name = f"{name}-{digest(identity)[:10]}"
        self.folder = home / FOLDER / self.name
        self.is_another = not self.folder.is_dir() and any((home / FOLDER).glob(f"{name}-??????????"))
        self.trials: dict[int, Trial] = {}
        self.count = 0  # of the trials that a sampler has proposed
        self.worker = uuid4().hex
        self._identity = identity
        self._open: dict[int, Trial] = {}
        self._lines: list[bytes] = []
        self._read = 0
        self._held = ExitStack()

    def __enter__(self) -> Study:
        home = self.folder.parent.parent
        try:
            self._begin()
        except OSError as error:
            message = f"nothing can be written there ({error.strerror}: {error.filename})"
            raise BadInput(Problem(key="home", value=str(home), message=message)) from error
        return self

    def _begin(self) -> None:
        make_home(self.folder.parent.parent)
        head = self.folder / _HEAD
        with self.locked():
            content = f"{json.dumps(self._identity, indent=1)}\n".encode()
            if not head.is_file():
                durable_files.write(head, content)
            elif head.read_bytes() != content:
                raise self._damaged(head)
            for file in head.parent.glob(f"{_WORKERS}/*"):
                _is_free(file)  # then it is removed: its process was killed
            self._held.enter_context(hold(self._worker_file(self.worker), self.worker))

    def __exit__(self, *error: object) -> None:
        self._worker_file(self.worker).unlink(missing_ok=True)
        self._held.close()

    def locked(self) -> AbstractContextManager[None]:
        """Return the context manager during which no other process changes the study."""
        return hold(self.folder / _LOCK, self.worker, patience=float("inf"))

    def refresh(self) -> list[Trial]:
        """Read what was written since the last time; returns the trials that have changed. Requires ``locked``."""
        file = self.folder / _TRIALS
        if not file.is_file() or file.stat().st_size <= self._read:
            return []
        with file.open("rb") as stream:
            stream.seek(self._read)
            content = stream.read()
        content = content[: content.rfind(b"\n") + 1]
        self._read += len(content)
        return [self._learn(line) for line in content.splitlines()]

    def _learn(self, line: bytes) -> Trial:
        try:
            event = _read(line)
            known = self.trials.get(event["number"])
            trial = replace(known, **event) if known else Trial(**event)
            for value in (*(trial.metrics or {}).values(), *trial.measured.values()):
                math.isfinite(value)
            return self._keep(trial)
        except (ValueError, TypeError, LookupError, AttributeError):
            raise self._damaged(self.folder / _TRIALS) from None

    def _damaged(self, file: Path) -> BadInput:
        remedy = f"Remove the folder {self.folder} to begin the study again; stored results are not in it"
        return BadInput(Problem(key=str(file), message="this study is damaged", remedy=remedy))

    def _keep(self, trial: Trial) -> Trial:
        self.count += trial.number >= 0 and trial.number not in self.trials
        self.trials[trial.number] = trial
        if trial.has_ended:
            self._open.pop(trial.number, None)
        else:
            self._open[trial.number] = trial
        return trial

    def put(self, trial: Trial) -> None:
        """Keep a trial that was proposed, or has ended; ``write`` writes it."""
        known = self.trials.get(trial.number)
        old = vars(known) if known else vars(_NONE)
        event = {n: _plain(v) for n, v in vars(trial).items() if n == "number" or v != old[n]}
        self._lines.append(_written(event if known else {"values": dict(trial.values), **event}))
        self._keep(trial)

    def write(self) -> None:
        """Write the trials that were put. Requires ``locked``, and ``refresh`` before the first of them."""
        if self._lines:
            content = b"\n".join(self._lines)
            durable_files.append_line(self.folder / _TRIALS, content)
            self._read += len(content) + 1
            self._lines.clear()

    @property
    def ended(self) -> list[Trial]:
        """All trials with a result, by number, and what was known before."""
        return [self.trials[n] for n in sorted(self.trials) if self.trials[n].has_ended]

    @property
    def running(self) -> Sequence[Trial]:
        """The trials that other living processes run. Requires ``locked``."""
        alive: dict[str, bool] = {}
        return [t for t in self._of_others() if self._is_alive(t.worker, alive)]

    @property
    def abandoned(self) -> Sequence[Trial]:
        """The trials of processes that have gone. Requires ``locked``."""
        alive: dict[str, bool] = {}
        return [t for t in self._of_others() if not self._is_alive(t.worker, alive)]

    def _of_others(self) -> Iterator[Trial]:
        return (t for t in self._open.values() if t.worker != self.worker)

    def _is_alive(self, worker: str, known: dict[str, bool]) -> bool:
        if worker not in known:
            file = self._worker_file(worker)
            known[worker] = file.is_file() and not _is_free(file)
        return known[worker]

    def _worker_file(self, worker: str) -> Path:
        return self.folder / _WORKERS / worker


def _is_free(file: Path) -> bool:
    try:
        with hold(file):
            file.unlink(missing_ok=True)
            return True
    except LockHeld:
        return False


_NONE = Trial(number=0, values={})


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _written(event: Mapping[str, Any]) -> bytes:
    """Return a line that ends with the digest of its other content: a digit that has changed is valid JSON, too."""
    content = json.dumps(event)[:-1].encode()
    return content + _end(content)


def _read(line: bytes) -> dict[str, Any]:
    """Return the content of a line. Raises ``ValueError`` if it has changed."""
    content, mark, _ = line.rpartition(_MARK)
    if not mark or line != content + _end(content):
        raise ValueError("the line has changed since it was written")
    return dict(json.loads(content + b"}"))


def _end(content: bytes) -> bytes:
    return _MARK + hashlib.sha256(content).hexdigest()[:16].encode() + b'"}'
