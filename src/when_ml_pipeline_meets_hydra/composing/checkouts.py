"""Checkouts of config stores: each revision as a folder of option files, so that it is read as any other folder.

They are in the user's cache folder, each written once and never changed; losing them only costs time. A checkout is
named by a token that no other publication or edit has, also not one of another database.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE, cache_folder
from when_ml_pipeline_meets_hydra.composing.store_entry import VERSIONS, StoreEntry
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

_MOST, _KEPT = 20, 86_400  # checkouts; those that were used within a day (s) are kept besides
_INDEX = ".checkout.json"
_FOLDER = "configs"
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*"
ENTRY_NAME = re.compile(rf"(?!hydra/){_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_NONE = "0" * 32
_TOKEN = re.compile(r"[0-9a-f]{32}")


def checkout(entry: str) -> Path:
    """The folder with the option files of a config store (``configs://…``), as they are now. Raises ``BadInput``.

    Revision 0 is that of any store, also of one that is not there yet: it has none.
    """
    store = StoreEntry.parse(entry)
    with nullcontext(_no_rows) if store.revision == 0 else store.connected() as rows:
        state = _state(store, rows)
        folder = checkouts_folder() / _name(state)
        if (folder / _INDEX).is_file():
            with suppress(OSError):
                os.utime(folder)
            return folder
        texts = _texts(state, rows)
    _write(folder, {"store": store.shown, **{k: state[k] for k in ("revision", "draft")}}, texts)
    return folder


def _no_rows(_: str) -> list[Any]:
    return []


def checkouts_folder() -> Path:
    """The folder of all checkouts, in the user's cache folder; one of this process alone if that cannot be used."""
    try:
        folder = cache_folder(_FOLDER)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (RuntimeError, OSError):
        return _own_folder() / _FOLDER
    return folder if os.access(folder, os.W_OK) else _own_folder() / _FOLDER


@lru_cache(maxsize=1)
def _own_folder() -> Path:
    """A temporary folder with a name that nobody can know before, since its option files are trusted."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, process: int) -> None:
    """Remove a folder, unless this is a process that the one which uses it has forked."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def facts_of(folder: Path) -> Mapping[str, Any]:
    """The store of a checkout without its password, and its revision and draft."""
    found: dict[str, Any] = _index(str(folder))
    return {k: found[k] for k in ("store", "revision", "draft") if found.get(k) is not None}


def shown_entry(file: Path) -> str | None:
    """``config store: customer/acme, revision 12`` for a file of a checkout; None for any other file."""
    root = next((folder for folder in file.parents if folder.parent.name == _FOLDER), None)
    if root is None or not (root / _INDEX).is_file():
        return None
    path = file.relative_to(root).with_suffix("").as_posix()
    return f"config store: {path}, {_index(str(root))['entries'].get(path, 'removed')}"


def place_of(file: Path) -> str:
    """Where an option file is, for people: its entry in a config store, or its path."""
    return shown_entry(file) or str(file)


@lru_cache(maxsize=64)
def _index(folder: str) -> Any:
    return json.loads((Path(folder) / _INDEX).read_text(encoding="utf-8"))


def _state(store: StoreEntry, rows: Any) -> dict[str, Any]:
    """The revision that an entry names, with its token, and the token of the last edit of a draft."""
    if store.revision == 0:
        return {"revision": 0, "token": _NONE, "draft": None, "edit": None}
    _check_tables(store, rows)
    pinned = "" if store.revision is None else f" WHERE number = {store.revision}"
    if not (newest := rows(f"SELECT number, token FROM revisions{pinned} ORDER BY number DESC LIMIT 1")):
        if store.revision is not None:
            raise BadInput(_missing(store, f"it has no revision {store.revision}"))
        newest = [(0, _NONE)]
    revision, token = newest[0]
    edit = None
    if store.draft is not None:
        if not rows(f"SELECT number FROM drafts WHERE number = {store.draft}"):
            raise BadInput(_missing(store, f"it has no draft {store.draft}"))
        last = rows(f"SELECT token FROM edits WHERE draft = {store.draft} ORDER BY number DESC LIMIT 1")
        edit = last[0][0] if last else _NONE
    if not all(_TOKEN.fullmatch(str(t)) for t in (token, edit or token)):
        raise BadInput(_missing(store, "it is damaged: a token is none"))
    return {"revision": int(revision), "token": token, "draft": store.draft, "edit": edit}


def _check_tables(store: StoreEntry, rows: Any) -> None:
    """Raise ``BadInput`` if the tables are not those of a config store that this program knows."""
    named = f"SELECT to_regclass('{VERSIONS}')"
    if not store.is_postgres:
        named = f"SELECT name FROM sqlite_master WHERE name = '{VERSIONS}'"
    if not any(name for (name,) in rows(named)):
        raise store.missing()
    version = rows(f"SELECT version_num FROM {VERSIONS}")
    store.check_version(version[0][0] if version else None)


def _missing(store: StoreEntry, message: str) -> Problem:
    return Problem(key=CONFIG_STORE, value=store.shown, message=message, remedy="See wmh config history")


def _name(state: Mapping[str, Any]) -> str:
    name = f"{state['revision']}-{state['token']}"
    return name if state["edit"] is None else f"{name}-draft-{state['draft']}-{state['edit']}"


def _texts(state: Mapping[str, Any], rows: Any) -> dict[str, tuple[str, str]]:
    """Each entry of a revision, with its text and where that is from: ``revision 12`` or ``draft 3``."""
    number = state["revision"]
    found = rows(
        "SELECT e.path, e.text, e.revision FROM entries e JOIN (SELECT path, MAX(revision) AS newest FROM entries "
        f"WHERE revision <= {number} GROUP BY path) n ON n.path = e.path AND n.newest = e.revision"
    )
    texts = {path: (text, f"revision {revision}") for path, text, revision in found}
    if state["draft"] is not None:
        edits = rows(f"SELECT path, text FROM edits WHERE draft = {state['draft']} ORDER BY number")
        for path, text in dict(edits).items():
            if texts.get(path, (None, ""))[0] != text:
                texts[path] = (text, f"draft {state['draft']}")
    return {path: (text, origin) for path, (text, origin) in texts.items() if text is not None}


def _write(folder: Path, facts: Mapping[str, Any], texts: Mapping[str, tuple[str, str]]) -> None:
    """Write a checkout under a temporary name, and rename it; another process may have been faster."""
    parent = folder.parent
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".", dir=parent))
    try:
        for path, (text, _) in texts.items():
            if ENTRY_NAME.fullmatch(path):  # a name that leads elsewhere was not written by this program
                file = temporary / f"{path}.yaml"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text.encode())
        index = {**facts, "entries": {path: origin for path, (_, origin) in texts.items()}}
        (temporary / _INDEX).write_text(json.dumps(index), encoding="utf-8")
        with suppress(OSError):
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _evict(sorted(parent.glob("[0-9]*"), key=_used, reverse=True)[_MOST:])


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _evict(folders: Sequence[Path]) -> None:
    for folder in folders:
        if _used(folder) < time.time() - _KEPT:
            shutil.rmtree(folder, ignore_errors=True)
