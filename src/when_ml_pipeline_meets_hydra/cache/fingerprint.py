"""Whether what a command depends on is still the very same: option files, code, data, variables, installed packages."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY, folder_of

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.job import Job

_CODE = (".py", ".html")
MOST_ENTRIES = 5_000  # of a folder of option files or of code, with all that lies in it
_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:\s*([A-Za-z_]\w*)\s*[,}]")


def file_of(folder: Path, *said: object) -> Path:
    """The file in ``folder`` of what was said. Raises ``OSError`` where the folder has no key yet."""
    return folder / f"{_hasher(folder, json.dumps([sys.version, str(Path.cwd()), *said])).hexdigest()[:32]}.json"


def make_key(folder: Path) -> None:
    """Give a folder a key of its own: there may be passwords in what its digests are made from."""
    if (folder / "key").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".key.{os.getpid()}"
    made.touch(mode=0o600)
    made.write_bytes(os.urandom(32))
    with suppress(FileExistsError):
        os.link(made, folder / "key")  # the first one counts
    made.unlink()


def variables(jobs: Iterable[Job], hydra: Mapping[str, Any], search_path: Sequence[str]) -> set[str] | None:
    """The environment variables that configs name, and the option files that they may be made from.

    None where a name is worked out itself, or it is too much. Raises ``OSError`` where a file cannot be read.
    """
    parts: dict[int, Any] = {}
    for job in jobs:
        parts |= {id(part): part for part in job.raw.values()}
    folders = (folder for entry in search_path if (folder := folder_of(entry)) and folder != PRIMARY)
    files = (Path(file) for folder in folders for file, _ in _tree(folder, ".yaml"))
    texts = [json.dumps([*parts.values(), hydra], default=str)]
    try:
        texts += (file.read_text(errors="replace") for file in files)
    except _TooMuch:
        return None
    found = [name for text in texts for name in _VARIABLE.findall(text)]
    return set(found) if len(found) == sum(text.count("oc.env") for text in texts) else None


def option_folders(search_path: Iterable[str]) -> list[str]:
    """The folders of a search path. Raises ``OSError`` where an entry is none: a plugin reads it from elsewhere."""
    folders = {entry: folder_of(entry) for entry in search_path}
    if elsewhere := [entry for entry, folder in folders.items() if folder is None]:
        raise FileNotFoundError(", ".join(elsewhere))
    return [str(folder) for folder in folders.values()]


def state(looked_at: Mapping[str, list[str]], folder: Path) -> dict[str, Any] | None:
    """A digest of all that was looked at, and when (s) the newest of it changed; None where it is too much.

    ``looked_at`` are ``variables`` of the environment, folders of ``options``, ``packages`` of code, and files of
    ``data``; the digest is made with the key of ``folder``. Raises ``OSError`` where something is not there.
    """
    digest = _hasher(folder)
    newest = 0.0
    for name in looked_at["variables"]:
        digest.update(f"{name} {os.environ.get(name)!r}\n".encode())
    found: list[Iterable[tuple[str, os.stat_result]]] = [_tree(Path(o), ".yaml") for o in looked_at["options"]]
    found += [_tree(place, _CODE) for package in looked_at["packages"] for place in _places(package)]
    found += [((path, os.stat(path)) for path in looked_at["data"])]  # noqa: PTH116 - of what a link leads to
    try:
        for path, at in chain.from_iterable(found):
            digest.update(f"{path} {at.st_ino} {at.st_size} {at.st_mtime_ns} {at.st_ctime_ns}\n".encode())
            newest = max(newest, at.st_mtime, at.st_ctime)
    except _TooMuch:
        return None
    for place in sys.path:
        digest.update(f"{place}\n".encode())
        if place.endswith(("site-packages", "dist-packages")):
            with suppress(OSError):
                digest.update(f"{os.stat(place).st_mtime_ns}\n".encode())  # noqa: PTH116
    return {"digest": digest.hexdigest(), "newest": newest}


def _hasher(folder: Path, said: str = "") -> hashlib.blake2b:
    return hashlib.blake2b(said.encode(), key=(folder / "key").read_bytes())


class _TooMuch(Exception):
    """A folder has so much in it that looking at all of it takes longer than it spares."""


def _tree(folder: Path, ending: str | tuple[str, ...]) -> Iterator[tuple[str, os.stat_result]]:
    """The files below a folder, each with its state. Raises ``_TooMuch``."""
    todo, count = [str(folder)], 0
    while todo:
        with os.scandir(todo.pop()) as found:
            entries = sorted(islice(found, MOST_ENTRIES), key=lambda e: e.name)
        if (count := count + len(entries)) >= MOST_ENTRIES:
            raise _TooMuch
        for entry in entries:
            if entry.is_dir():
                todo += [] if entry.name.startswith((".", "__pycache__")) else [entry.path]
            elif entry.name.endswith(ending):
                yield entry.path, entry.stat()


def _places(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package.partition(".")[0])
    if spec is None:
        return []
    return [Path(p) for p in spec.submodule_search_locations or ()] or [Path(spec.origin or ".").parent]
