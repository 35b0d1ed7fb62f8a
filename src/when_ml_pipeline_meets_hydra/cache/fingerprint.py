"""Fingerprints what a command depends on: option files, code, data, environment variables, installed packages."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.composing.dotenv_file import variable
from when_ml_pipeline_meets_hydra.composing.limits import MOST_BYTES
from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY, TooManyFiles, files_below, folder_of
from when_ml_pipeline_meets_hydra.masking import is_url_with_password

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.job import Job

_KEY_BYTES = 32
_CODE = (".py", ".pyc", ".so", ".html")
_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:\s*([A-Za-z_]\w*)\s*[,}]")


def file_of(folder: Path, *command: object) -> Path:
    """The cache file of a command in ``folder``. Raises ``OSError`` if the folder has no key yet."""
    return folder / f"{_hasher(folder, json.dumps([sys.version, str(Path.cwd()), *command])).hexdigest()[:32]}.json"


def make_key(folder: Path) -> None:
    """Create the folder's key for digests, since these are computed from data that may include passwords."""
    if (file := folder / "key").exists():
        if file.stat().st_size == _KEY_BYTES:
            return
        file.unlink()  # damaged; what was cached with it is not found any more
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".key.{os.getpid()}"
    temporary.touch(mode=0o600)
    temporary.write_bytes(os.urandom(_KEY_BYTES))
    with suppress(FileExistsError):
        os.link(temporary, folder / "key")  # the first process wins
    temporary.unlink()


def variables(jobs: Iterable[Job], hydra: Mapping[str, Any], search_path: Sequence[str]) -> set[str] | None:
    """The environment variables named in configs and in the option files on the search path.

    None if a name is itself an interpolation, or if there are too many files. Raises ``OSError`` if one is unreadable.
    """
    parts: dict[int, Any] = {}
    for job in jobs:
        parts |= {id(part): part for part in job.raw.values()}
    folders = (folder for entry in search_path if (folder := folder_of(entry)) and folder != PRIMARY)
    entries = (entry for folder in folders for entry in files_below(folder, ".yaml"))
    files = (Path(file) for file, at in entries if at.st_size <= MOST_BYTES)
    texts = [json.dumps([*parts.values(), hydra], default=str)]
    try:
        texts += (file.read_text(errors="replace") for file in files)
    except TooManyFiles:
        return None
    found = [name for text in texts for name in _VARIABLE.findall(text)]
    return set(found) if len(found) == sum(text.count("oc.env") for text in texts) else None


def option_folders(search_path: Iterable[str], checkouts: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """The folders of a search path, without checkouts of config stores, which never change.

    Raises ``OSError`` for an entry that is not a folder but read by a plugin.
    """
    unchanging = {f"file://{folder}" for folder in checkouts.values()}
    folders = {entry: folder_of(entry) for entry in search_path if entry not in unchanging}
    if elsewhere := [entry for entry, folder in folders.items() if folder is None]:
        raise FileNotFoundError(", ".join(elsewhere))
    return [str(folder) for folder in folders.values()]


def checkouts_without_password(checkouts: Mapping[str, str]) -> list[list[str]]:
    """Entries and folders of config stores. Raises ``ValueError`` if an entry has a password, which is never cached."""
    if any(map(is_url_with_password, checkouts)):
        raise ValueError("a URL with a password")
    return [[entry, folder] for entry, folder in checkouts.items()]


def state(dependencies: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """A digest of all dependencies, and the time (s) of the newest change.

    None if there are too many files, or if a config store has other entries than those that were read. ``dependencies``
    are environment ``variables``, folders of ``options``, ``checkouts`` of config stores (entry and folder),
    ``packages`` of code, and files of ``data``; the digest is keyed with the key of ``folder``. Raises ``OSError`` if
    one of them does not exist, ``BadInput`` if a config store cannot be read.
    """
    if any(str(folder_of(entry)) != read for entry, read in dependencies["checkouts"]):
        return None
    digest = _hasher(folder)
    newest = 0.0
    for name in dependencies["variables"]:
        digest.update(f"{name} {variable(name)!r}\n".encode())
    found: list[Iterable[tuple[str, os.stat_result]]] = [files_below(Path(o), ".yaml") for o in dependencies["options"]]
    found += [files_below(place, _CODE) for package in dependencies["packages"] for place in _places(package)]
    found += [((path, os.stat(path)) for path in dependencies["data"])]  # noqa: PTH116 - follows links
    try:
        for path, at in chain.from_iterable(found):
            digest.update(
                f"{path} {at.st_ino} {at.st_size} {at.st_mtime_ns} {at.st_ctime_ns}\n".encode(errors="surrogateescape")
            )
            newest = max(newest, at.st_mtime, at.st_ctime)
    except TooManyFiles:
        return None
    for place in sys.path:
        digest.update(f"{place}\n".encode(errors="surrogateescape"))
        if place.endswith(("site-packages", "dist-packages")):
            with suppress(OSError):
                digest.update(f"{os.stat(place).st_mtime_ns}\n".encode())  # noqa: PTH116
    return {"digest": digest.hexdigest(), "newest": newest}


def _hasher(folder: Path, text: str = "") -> hashlib.blake2b:
    return hashlib.blake2b(text.encode(), key=(folder / "key").read_bytes())


def _places(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package.partition(".")[0])
    if spec is None:
        return []
    return [Path(p) for p in spec.submodule_search_locations or ()] or [Path(spec.origin or ".").parent]
