"""Stores results in one directory per key, which is written under a temporary name and renamed.

``<root>/<first two digits>/<key>/`` has ``inputs.json`` (the key is its digest), ``artifact.json`` (type, facts, files
with sizes and digests), ``log.txt`` and ``files/``. Locks and the pointers to the latest result only save work: without
them a step is computed again, or its reason is "new", but no result is wrong. ``holds/`` has a file for each running
run, with the keys of its steps, which ``store gc`` spares.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.storage import durable_files, integrity
from when_ml_pipeline_meets_hydra.storage.holds import Hold, held_keys, without_runs
from when_ml_pipeline_meets_hydra.storage.integrity import ARTIFACT, FILES, INPUTS, LOG
from when_ml_pipeline_meets_hydra.storage.locks import LockHeld, hold
from when_ml_pipeline_meets_hydra.storage.results import (
    StoreError,
    artifact_of,
    facts_to_store,
    folder_of,
    inputs_of,
    open_result,
    refuse_damaged,
)

__all__ = ["MOST_LATEST", "Store", "StoreError", "Stored"]
MOST_LATEST = 20  # results of a function with which a new step is compared, for the reason why it runs


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One stored result, as ``store list`` shows it."""

    key: str
    function: str
    type: str
    created: float
    used: float
    size: int


class Store:
    """The results of steps below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def has(self, key: str) -> bool:
        """Whether the result of ``key`` is stored."""
        return os.path.isfile(f"{self.root}/{key[:2]}/{key}/{ARTIFACT}")  # noqa: PTH113 - called for every step

    def damage(self, key: str) -> str | None:
        """The first defect of a stored result (``files/model.onnx: changed since it was stored``); None: it is whole.

        Reads all of its files, once per process unless they change.
        """
        return integrity.first_defect(self._dir(key))

    def inputs(self, key: str) -> Mapping[str, Any] | None:
        """The inputs of a stored result, of which its key is the digest; None if it is not stored, or damaged."""
        return inputs_of(self.root, key)

    def last_inputs(self, function: str) -> tuple[Mapping[str, Any], ...]:
        """The inputs of the latest stored results of ``function``, or of another name, the newest first."""
        found = map(self.inputs, self._latest(self.root / "latest" / function))
        return tuple(inputs for inputs in found if inputs and {"arguments", "artifacts", "code"} <= inputs.keys())

    def _latest(self, file: Path) -> list[str]:
        keys = file.read_text(encoding="ascii", errors="replace").split() if file.is_file() else []
        return [key for key in keys if _KEY.fullmatch(key)]

    def load(self, key: str, inputs: Mapping[str, Any], kind: type[Artifact]) -> Artifact:
        """Load a stored artifact. Raises ``StoreError`` if it is damaged or was made from other ``inputs``."""
        folder = self._dir(key)
        artifact = open_result(self.root, key, kind)
        stored = inputs_of(self.root, key)
        if stored != json.loads(_json(inputs)):
            message = f"{folder / INPUTS} differs from the inputs of this step. Remove {folder} to compute it again"
            raise StoreError(f"{message}:\n{_difference(stored, inputs)}")
        with suppress(OSError):  # the store may be read-only
            os.utime(folder / ARTIFACT)
        return artifact

    def confirm(self, artifact: Artifact) -> None:
        """Check the files of a stored artifact before it is used. Raises ``StoreError`` if one has changed."""
        if artifact.path == self._dir(artifact.key) / FILES:  # not that of an effect
            refuse_damaged(self._dir(artifact.key))

    def put(
        self,
        key: str,
        inputs: Mapping[str, Any],
        kind: type[Artifact],
        compute: Callable[[Path], Any],
        log: Path,
        *,
        latest: str | None = None,
    ) -> Artifact:
        """Compute a result in an empty directory and store it, or nothing on any error. The caller holds its lock.

        ``latest`` is the name for ``last_inputs``, if not that of the function.
        """
        temporary = self.root / "tmp" / f"{key}.{uuid4().hex}"
        self.remove_unfinished(key)
        files = temporary / FILES
        _with_parents(temporary, temporary.mkdir)
        files.mkdir()
        try:
            facts = _facts(compute(files), kind, files)
            artifact = artifact_of(kind, facts, self._dir(key))  # raises if it cannot be loaded
            text = _json(inputs)
            _write(temporary / ARTIFACT, _manifest(kind, facts, files, text))
            _write(temporary / INPUTS, text)
            if log.is_file():
                _write(temporary / LOG, log.read_bytes())
            self._publish(temporary, key)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        integrity.found_whole(self._dir(key))
        self.forget_checkpoints(key)
        self._set_latest(self.root / "latest" / (latest or str(inputs["function"])), key)
        return artifact

    def lock(self, key: str, run: str, *, patience: float = 0) -> AbstractContextManager[None]:
        """Hold the lock for computing ``key``. Raises ``LockHeld`` if another run holds it for ``patience`` seconds."""
        holder = f"run {run} (process {os.getpid()} on {_HOST})"
        return hold(self.root / "locks" / f"{key}.lock", holder, patience=patience)

    def checkpoints(self, key: str) -> Path:
        """The folder of checkpoints, from which the next computation of ``key`` resumes; removed after success."""
        return self.root / "checkpoints" / key

    def forget_checkpoints(self, key: str) -> None:
        """Remove the checkpoints of ``key``. The caller holds its lock."""
        shutil.rmtree(self.checkpoints(key), ignore_errors=True)

    def results(self) -> Iterator[Stored]:
        """All stored results, the oldest first."""
        stored = []
        for folder in self._folders():
            manifest = integrity.read_manifest(folder)
            inputs = manifest and integrity.read_inputs(folder, manifest)
            if manifest and inputs:
                stored.append(
                    Stored(
                        key=folder.name,
                        function=inputs["function"],
                        type=manifest["type"],
                        created=manifest["created"],
                        used=(folder / ARTIFACT).stat().st_mtime,
                        size=sum(f["size"] for f in manifest["files"].values()),
                    )
                )
        yield from sorted(stored, key=lambda s: s.created)

    def verify(self) -> Iterator[str]:
        """A message for each defect of the stored results; reads every file."""
        for folder in self._folders():
            yield from (f"{folder / name}: {wrong}" for name, wrong in integrity.defects(folder))

    def unfinished(self, *, remove: bool = False) -> list[Path]:
        """The folders that failed or killed runs left behind, and that no run is working on or about to."""
        left, held = [], self._held()
        for folder in sorted([*(self.root / "tmp").glob("*"), *(self.root / "checkpoints").glob("*")]):
            key = folder.name.partition(".")[0]
            if key in held:
                continue
            with suppress(LockHeld, OSError), self.lock(key, "store gc"):
                left.append(folder)
                if remove:
                    shutil.rmtree(folder, ignore_errors=True)
        return left

    def hold(self) -> Hold:
        """Return the context manager of a run, during which ``remove`` spares the results that the run names."""
        return Hold(self.root)

    def remove(self, key: str) -> bool:
        """Remove a result, unless a running run holds it; returns whether it was removed."""
        try:
            with self.lock(key, "store gc"), without_runs(self.root):
                if key in held_keys(self.root):
                    return False
                self._remove_atomically(self._dir(key))
        except LockHeld:  # it is being computed
            return False
        return True

    def _held(self) -> set[str]:
        """The keys that running runs hold; none in a store that cannot be written."""
        with suppress(OSError):
            if self.root.is_dir():
                with without_runs(self.root):
                    return held_keys(self.root)
        return set()

    def remove_unfinished(self, key: str) -> None:
        """Remove the files of a killed computation, but not its checkpoints. The caller holds its lock."""
        with suppress(FileNotFoundError), os.scandir(self.root / "tmp") as found:
            for folder in [f.path for f in found if f.name.startswith(f"{key}.")]:
                shutil.rmtree(folder, ignore_errors=True)

    def _dir(self, key: str) -> Path:
        return folder_of(self.root, key)

    def _folders(self) -> Iterator[Path]:
        yield from sorted(f for f in self.root.glob("[0-9a-f][0-9a-f]/*") if f.is_dir())

    def _publish(self, temporary: Path, key: str) -> None:
        """Rename a complete result to its key, after syncing all of its files.

        The new name itself is not synced: if it is lost, the result is computed again.
        """
        final = self._dir(key)
        durable_files.sync(temporary)
        self._remove_atomically(final)
        _with_parents(final, lambda: temporary.rename(final))

    def _set_latest(self, latest: Path, key: str) -> None:
        """Write the latest keys of a function. It may fail, since only the reason of a later step depends on it."""
        with suppress(OSError):
            keys = [key, *(k for k in self._latest(latest) if k != key)][:MOST_LATEST]
            _with_parents(latest, lambda: latest.write_bytes("\n".join(keys).encode()))

    def _remove_atomically(self, folder: Path) -> None:
        """Move a result out of the store, then delete it."""
        if folder.exists():
            away = self.root / "tmp" / f"{folder.name}.{uuid4().hex}"
            _with_parents(away, lambda: folder.rename(away))
            shutil.rmtree(away, ignore_errors=True)


_KEY = re.compile("[0-9a-f]+")
_HOST = os.uname().nodename


def _with_parents(path: Path, make: Callable[[], object]) -> None:
    """Call ``make`` to create ``path``, after creating its parent folders if they are missing."""
    try:
        make()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        make()


def _facts(artifact: Any, kind: Any, files: Path) -> dict[str, Any]:
    """The fields of an artifact without its path. Raises ``StoreError`` if it is not a ``kind`` in ``files``."""
    if not isinstance(artifact, kind) or artifact.path != files:
        raise StoreError(f"the step has to return a {kind.__name__} with path=out, but returned {artifact!r}"[:300])
    return facts_to_store(artifact, kind)


def _manifest(kind: type[Artifact], facts: Mapping[str, Any], files: Path, inputs: bytes) -> bytes:
    """The manifest of a result; syncs its files to the disk."""
    return integrity.sealed(
        {
            "type": f"{kind.__module__}.{kind.__qualname__}",
            "created": time.time(),
            "facts": facts,
            "files": dict(sorted(_synced(files))),
            "inputs": integrity.sha256_of(inputs),
        }
    )


def _synced(folder: Path, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The name, size and digest of each file below a folder, after syncing it to the disk."""
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _synced(Path(entry.path), f"{place}{entry.name}/")
        elif entry.is_file():
            with Path(entry.path).open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
                os.fsync(stream.fileno())
                yield f"{place}{entry.name}", {"size": stream.tell(), "sha256": sha256}
    if entries:
        durable_files.sync(folder)


def _difference(stored: Any, wanted: Any) -> str:
    one, two = (json.dumps(v, indent=1, sort_keys=True, ensure_ascii=False).splitlines() for v in (stored, wanted))
    changes = list(difflib.unified_diff(one, two, n=0, lineterm=""))
    return "\n".join(line for line in changes[2:] if not line.startswith("@@"))


def _json(content: Any) -> bytes:
    return to_json(content, indent=2)


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
