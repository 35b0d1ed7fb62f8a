"""Where results are kept: one directory per key, written under a temporary name and renamed.

``<root>/<first two digits>/<key>/`` holds ``inputs.json`` (what the key is the digest of), ``artifact.json`` (type,
facts, files with sizes and digests), ``log.txt`` and ``files/``. Locks and the pointers to the latest result only save
work: without them a step is computed again or its reason reads "new", never is an answer wrong.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

from pydantic import TypeAdapter
from pydantic_core import to_json

from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import PipelineError
from when_ml_pipeline_meets_hydra.storage import durable_files
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest
from when_ml_pipeline_meets_hydra.storage.locks import LockHeld, hold

ARTIFACT, INPUTS, FILES, LOG = "artifact.json", "inputs.json", "files", "log.txt"


class StoreError(PipelineError):
    """The store holds something that it should not."""


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
        """Whether the result is there, whole."""
        return os.path.isfile(f"{self.root}/{key[:2]}/{key}/{ARTIFACT}")  # noqa: PTH113 - asked for every step

    def inputs(self, key: str) -> Mapping[str, Any] | None:
        """What a stored result was made from."""
        return _read_json(self._dir(key) / INPUTS)

    def last_inputs(self, function: str) -> Mapping[str, Any] | None:
        """What the latest stored result of ``function`` was made from; None where there is none."""
        latest = self.root / "latest" / function
        found = self.inputs(latest.read_text().strip()) if latest.is_file() else None
        return found if found and {"arguments", "artifacts", "code"} <= found.keys() else None

    def load(self, key: str, inputs: Mapping[str, Any], kind: type[Artifact]) -> Artifact:
        """The stored artifact. Raises ``StoreError`` where what it was made from differs from ``inputs``."""
        folder = self._dir(key)
        if _read(folder / INPUTS) != (wanted := _json(inputs)):
            stored = _read_json(folder / INPUTS)
            if stored != json.loads(wanted):
                message = f"{folder / INPUTS} is not what this step is made from{_REMOVE.format(folder)}"
                raise StoreError(f"{message}:\n{_difference(stored, inputs)}")
        manifest = _read_json(folder / ARTIFACT)
        if not _is_whole(manifest):
            raise StoreError(f"{folder / ARTIFACT} is damaged{_REMOVE.format(folder)}")
        with suppress(OSError):  # a store that can only be read serves all the same
            os.utime(folder / ARTIFACT)
        return _artifact(kind, manifest["facts"], folder)

    def put(
        self, key: str, inputs: Mapping[str, Any], kind: type[Artifact], compute: Callable[[Path], Any], log: Path
    ) -> Artifact:
        """Compute a result into an empty directory and store it; on any error nothing is kept. Needs its lock."""
        temporary = self.root / "tmp" / f"{key}.{uuid4().hex}"
        self.remove_unfinished(key)
        files = temporary / FILES
        _to_place(temporary, temporary.mkdir)
        files.mkdir()
        try:
            facts = _facts(compute(files), kind, files)
            artifact = _artifact(kind, facts, self._dir(key))  # what cannot be loaded is not stored
            _write(temporary / ARTIFACT, _json(_manifest(kind, facts, files)))
            _write(temporary / INPUTS, _json(inputs))
            if log.is_file():
                _write(temporary / LOG, log.read_bytes())
            self._publish(temporary, key)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self.forget_checkpoints(key)
        self._point(self.root / "latest" / str(inputs["function"]), key)
        return artifact

    def lock(self, key: str, run: str, *, patience: float = 0) -> AbstractContextManager[None]:
        """Hold the lock for computing ``key``. Raises ``LockHeld`` if another run holds it for ``patience`` seconds."""
        holder = f"run {run} (process {os.getpid()} on {_HOST})"
        return hold(self.root / "locks" / f"{key}.lock", holder, patience=patience)

    def checkpoints(self, key: str) -> Path:
        """Where computations of ``key`` leave what the next one can go on from, until there is a result."""
        return self.root / "checkpoints" / key

    def forget_checkpoints(self, key: str) -> None:
        """Let the next computation of ``key`` begin at the start. Needs its lock."""
        shutil.rmtree(self.checkpoints(key), ignore_errors=True)

    def results(self) -> Iterator[Stored]:
        """All stored results, the oldest first."""
        found = []
        for folder in self._folders():
            manifest, inputs = _read_json(folder / ARTIFACT), _read_json(folder / INPUTS)
            if _is_whole(manifest) and inputs:
                found.append(
                    Stored(
                        key=folder.name,
                        function=inputs["function"],
                        type=manifest["type"],
                        created=manifest["created"],
                        used=(folder / ARTIFACT).stat().st_mtime,
                        size=sum(f["size"] for f in manifest["files"].values()),
                    )
                )
        yield from sorted(found, key=lambda s: s.created)

    def verify(self) -> Iterator[str]:
        """Everything that is wrong with the stored results; reads every file."""
        for folder in self._folders():
            manifest, inputs = _read_json(folder / ARTIFACT), _read_json(folder / INPUTS)
            if not _is_whole(manifest):
                yield f"{folder / ARTIFACT}: missing or damaged"
            else:
                yield from _wrong_files(folder, manifest["files"])
            if digest(inputs) != folder.name:
                yield f"{folder / INPUTS}: not what the key was made from"

    def unfinished(self, *, remove: bool = False) -> list[Path]:
        """What runs that failed or were killed left behind; no other process is working on it."""
        left = []
        for folder in sorted([*(self.root / "tmp").glob("*"), *(self.root / "checkpoints").glob("*")]):
            with suppress(LockHeld, OSError), self.lock(folder.name.partition(".")[0], "store gc"):
                left.append(folder)
                if remove:
                    shutil.rmtree(folder, ignore_errors=True)
        return left

    def remove(self, key: str) -> None:
        """Remove one result; it is computed again when it is needed."""
        with self.lock(key, "store gc", patience=float("inf")):
            self._retire(self._dir(key))

    def remove_unfinished(self, key: str) -> None:
        """Remove what a computation left behind that was killed, but not its checkpoints. Needs its lock."""
        with suppress(FileNotFoundError), os.scandir(self.root / "tmp") as found:
            for folder in [f.path for f in found if f.name.startswith(f"{key}.")]:
                shutil.rmtree(folder, ignore_errors=True)

    def _dir(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _folders(self) -> Iterator[Path]:
        yield from sorted(f for f in self.root.glob("[0-9a-f][0-9a-f]/*") if f.is_dir())

    def _publish(self, temporary: Path, key: str) -> None:
        """Let a whole result appear under its key. All of it is on the disk before it has its name.

        That the name is on the disk, too, is not waited for: without it the result is computed again.
        """
        final = self._dir(key)
        durable_files.sync(temporary)
        self._retire(final)
        _to_place(final, lambda: temporary.rename(final))

    def _point(self, latest: Path, key: str) -> None:
        """Note the latest result of a function. Only the reason of a later step reads it, so it may be lost."""
        with suppress(OSError):
            _to_place(latest, lambda: latest.write_text(key))

    def _retire(self, folder: Path) -> None:
        """Make a result vanish as a whole."""
        if folder.exists():
            away = self.root / "tmp" / f"{folder.name}.{uuid4().hex}"
            _to_place(away, lambda: folder.rename(away))
            shutil.rmtree(away, ignore_errors=True)


_REMOVE = ". Remove {} to compute it again"
_HOST = os.uname().nodename


def _to_place(path: Path, make: Callable[[], object]) -> None:
    """Make ``path``, and the folder that it lies in where there is none yet."""
    try:
        make()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        make()


@lru_cache(maxsize=1024)
def _adapter(kind: Any) -> TypeAdapter[Artifact]:
    return TypeAdapter(kind)


def _facts(artifact: Any, kind: Any, files: Path) -> dict[str, Any]:
    """What an artifact says besides its path, as JSON. Raises ``StoreError`` where it is not what was announced."""
    if not isinstance(artifact, kind) or artifact.path != files:
        raise StoreError(f"the step has to return a {kind.__name__} with path=out, but returned {artifact!r}"[:300])
    facts: dict[str, Any] = _adapter(kind).dump_python(artifact, mode="json")
    del facts["path"]
    return facts


def _artifact(kind: Any, facts: Mapping[str, Any], folder: Path) -> Artifact:
    return _adapter(kind).validate_json(to_json({**facts, "path": str(folder / FILES)}))


def _manifest(kind: type[Artifact], facts: Mapping[str, Any], files: Path) -> dict[str, Any]:
    """What is noted about a result; its files are on the disk afterwards."""
    manifest = {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "created": time.time(),
        "facts": facts,
        "files": dict(sorted(_synced(files))),
    }
    return {**manifest, "sha256": digest(manifest)}


def _synced(folder: Path, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The name, size and digest of each file below a folder, once it is on the disk."""
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _synced(Path(entry.path), f"{place}{entry.name}/")
        elif entry.is_file():
            with Path(entry.path).open("rb") as stream:
                found_digest = hashlib.file_digest(stream, "sha256").hexdigest()
                os.fsync(stream.fileno())
                yield f"{place}{entry.name}", {"size": stream.tell(), "sha256": found_digest}
    if entries:
        durable_files.sync(folder)


def _is_whole(manifest: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Whether a manifest says what it said when it was written."""
    return manifest is not None and manifest.get("sha256") == digest(
        {k: v for k, v in manifest.items() if k != "sha256"}
    )


def _wrong_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, said in files.items():
        file = folder / FILES / name
        if not file.is_file():
            yield f"{file}: missing"
        elif file.stat().st_size != said["size"] or durable_files.sha256(file) != said["sha256"]:
            yield f"{file}: changed since it was stored"
    for file in sorted((folder / FILES).rglob("*")):
        if file.is_file() and file.relative_to(folder / FILES).as_posix() not in files:
            yield f"{file}: was not there when the result was stored"


def _difference(stored: Any, wanted: Any) -> str:
    one, two = (json.dumps(v, indent=1, sort_keys=True, ensure_ascii=False).splitlines() for v in (stored, wanted))
    changes = list(difflib.unified_diff(one, two, n=0, lineterm=""))
    return "\n".join(line for line in changes[2:] if not line.startswith("@@"))


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(_read(file) or b"")
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _json(content: Any) -> bytes:
    return to_json(content, indent=2)


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
