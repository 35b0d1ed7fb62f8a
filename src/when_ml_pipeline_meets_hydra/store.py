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
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from when_ml_pipeline_meets_hydra import durable
from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import PipelineError

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
        return (self._dir(key) / ARTIFACT).is_file()

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
        stored = _read_json(folder / INPUTS)
        if stored != json.loads(json.dumps(inputs)):
            message = f"{folder / INPUTS} is not what this step is made from{_REMOVE.format(folder)}"
            raise StoreError(f"{message}:\n{_difference(stored, inputs)}")
        manifest = _read_json(folder / ARTIFACT)
        if not _is_whole(manifest):
            raise StoreError(f"{folder / ARTIFACT} is damaged{_REMOVE.format(folder)}")
        with suppress(OSError):  # a store that can only be read serves all the same
            os.utime(folder / ARTIFACT)
        facts = json.dumps({**manifest["facts"], "path": str(folder / FILES)})
        return TypeAdapter(kind).validate_json(facts)

    def put(
        self, key: str, inputs: Mapping[str, Any], kind: type[Artifact], compute: Callable[[Path], Any], log: Path
    ) -> None:
        """Compute a result into an empty directory and store it; on any error nothing is kept."""
        temporary = self.root / "tmp" / f"{key}.{uuid4().hex}"
        self._remove_unfinished(key)
        (temporary / FILES).mkdir(parents=True)
        try:
            artifact = compute(temporary / FILES)
            _write_json(temporary / ARTIFACT, _manifest(artifact, kind, temporary / FILES))
            _write_json(temporary / INPUTS, inputs)
            if log.is_file():
                shutil.copyfile(log, temporary / LOG)
            self._publish(temporary, key)
            self.forget_checkpoints(key)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        durable.write(self.root / "latest" / str(inputs["function"]), key.encode())

    @contextmanager
    def lock(self, key: str, holder: Mapping[str, Any], waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold the right to compute ``key``; ``waiting`` is told for whom, once, where another one holds it.

        The lock is the operating system's, so that of a process that died is free at once.
        """
        file = self.root / "locks" / f"{key}.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            other = _read_json(file.with_suffix(".holder")) or {}
            waiting("run {run} (process {pid} on {host})".format_map({**_UNKNOWN, **other}))
            lock.acquire(poll_interval=0.1)
        try:
            durable.write(file.with_suffix(".holder"), json.dumps({**_me(), **holder}).encode())
            yield
        finally:
            lock.release()

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
            if _digest(inputs) != folder.name:
                yield f"{folder / INPUTS}: not what the key was made from"

    def unfinished(self, *, remove: bool = False) -> list[Path]:
        """What runs that failed or were killed left behind; no other process is working on it."""
        left = []
        for folder in sorted([*(self.root / "tmp").glob("*"), *(self.root / "checkpoints").glob("*")]):
            lock = FileLock(self.root / "locks" / f"{folder.name.partition('.')[0]}.lock")
            try:
                with lock.acquire(timeout=0):
                    left.append(folder)
                    if remove:
                        shutil.rmtree(folder, ignore_errors=True)
            except Timeout:
                continue
        return left

    def remove(self, key: str) -> None:
        """Remove one result; it is computed again when it is needed."""
        with self.lock(key, {"run": "store gc"}, lambda _: None):
            self._retire(self._dir(key))

    def _dir(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _folders(self) -> Iterator[Path]:
        yield from sorted(f for f in self.root.glob("[0-9a-f][0-9a-f]/*") if f.is_dir())

    def _publish(self, temporary: Path, key: str) -> None:
        final = self._dir(key)
        final.parent.mkdir(parents=True, exist_ok=True)
        for path in temporary.rglob("*"):
            durable.sync(path)
        self._retire(final)
        temporary.rename(final)
        durable.sync(final.parent)

    def _retire(self, folder: Path) -> None:
        """Make a result vanish as a whole."""
        if folder.exists():
            away = self.root / "tmp" / f"{folder.name}.{uuid4().hex}"
            away.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(away)
            shutil.rmtree(away, ignore_errors=True)

    def _remove_unfinished(self, key: str) -> None:
        for folder in (self.root / "tmp").glob(f"{key}.*"):
            shutil.rmtree(folder, ignore_errors=True)


_REMOVE = ". Remove {} to compute it again"
_UNKNOWN = {"run": "?", "pid": "?", "host": "?"}


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _manifest(artifact: Any, kind: type[Artifact], folder: Path) -> dict[str, Any]:
    if not isinstance(artifact, kind) or artifact.path != folder:
        raise StoreError(f"the step has to return a {kind.__name__} with path=out, but returned {artifact!r}"[:300])
    facts = TypeAdapter(kind).dump_python(artifact, mode="json")
    del facts["path"]
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    manifest = {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "created": time.time(),
        "facts": facts,
        "files": {n: {"size": (folder / n).stat().st_size, "sha256": _sha256(folder / n)} for n in names},
    }
    return {**manifest, "sha256": _digest(manifest)}


def _is_whole(manifest: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Whether a manifest says what it said when it was written."""
    return manifest is not None and manifest.get("sha256") == _digest(
        {k: v for k, v in manifest.items() if k != "sha256"}
    )


def _digest(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _wrong_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, said in files.items():
        file = folder / FILES / name
        if not file.is_file():
            yield f"{file}: missing"
        elif file.stat().st_size != said["size"] or _sha256(file) != said["sha256"]:
            yield f"{file}: changed since it was stored"
    for file in sorted((folder / FILES).rglob("*")):
        if file.is_file() and file.relative_to(folder / FILES).as_posix() not in files:
            yield f"{file}: was not there when the result was stored"


def _difference(stored: Any, wanted: Any) -> str:
    one, two = (json.dumps(v, indent=1, sort_keys=True, ensure_ascii=False).splitlines() for v in (stored, wanted))
    changes = list(difflib.unified_diff(one, two, n=0, lineterm=""))
    return "\n".join(line for line in changes[2:] if not line.startswith("@@"))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")

