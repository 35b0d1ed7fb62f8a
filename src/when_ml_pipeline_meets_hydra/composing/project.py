"""The project in whose folder a command is run: ``[tool.wmh]`` in the nearest ``pyproject.toml``, here or above.

Only that one file counts, and no config can name another one, since it decides which code a config may name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE, HOME, PACKAGES, PROJECT
from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY, STAGES
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean, local_path
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

FILE = "pyproject.toml"
TABLE = "tool.wmh"
DEFAULT_HOME = ".pipeline"
DEFAULT_SOURCE = "src"
MOST_BYTES = 1_000_000

_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
_DATABASE = re.compile(r"[A-Za-z][A-Za-z0-9+.]*://")
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(.+)")


@dataclass(frozen=True, kw_only=True)
class Project:
    """The settings of a project: ``file`` has them; paths are absolute.

    ``config_dirs`` are folders of option files, ``packages`` may be named by a ``_target_``, ``source`` is the folder
    in which they are, ``aliases`` are short names of arguments.
    """

    file: Path
    config_dirs: tuple[str, ...]
    packages: tuple[str, ...]
    source: str | None
    home: str
    config_store: str | None
    aliases: Mapping[str, tuple[str, ...]]

    @property
    def root(self) -> Path:
        """The folder of the project."""
        return self.file.parent

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which the rest of the program knows the project."""
        given = {HOME: self.home, PACKAGES: " ".join(self.packages), CONFIG_STORE: self.config_store}
        return {PROJECT: str(self.root), **{name: value for name, value in given.items() if value}}


def find_project(folder: str, commands: Collection[str] = ()) -> Project | None:
    """The project of a folder: the nearest ``pyproject.toml`` has the table; None if it has not, or if there is none.

    ``commands`` are names that no alias may have. Raises ``BadInput`` with everything that is wrong in the table.
    """
    for parent in _parents(folder):
        file = f"{parent}/{FILE}"
        try:
            found = os.stat(file)  # noqa: PTH116 - on each command, as fast as possible
        except OSError:
            continue
        return _read(file, found.st_mtime_ns, found.st_size, tuple(commands))
    return None


def _parents(folder: str) -> Iterator[str]:
    while True:
        yield folder.rstrip("/")
        above = folder.rpartition("/")[0] or "/"
        if above == folder:
            return
        folder = above


@lru_cache(maxsize=8)
def _read(file: str, changed: int, size: int, commands: tuple[str, ...]) -> Project | None:
    """Read the file; ``changed`` and ``size`` are its state."""
    path = Path(file)
    if not path.is_file() or size > MOST_BYTES:
        return None
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    if "wmh" not in text or "tool" not in text:  # most files, without the parser
        return None
    import tomllib

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = Problem(key=TABLE, message=f"the file cannot be read: {error}", origin=file)
        raise BadInput(problem) from error
    tools = content.get("tool")
    table = tools.get("wmh") if isinstance(tools, dict) else None
    return None if table is None else _Table(path, text, table, commands).project()


class _Table:
    """The table, whose values are checked one by one."""

    def __init__(self, file: Path, text: str, content: Any, commands: tuple[str, ...]) -> None:
        self._file, self._text, self._commands = file, text, commands
        self._problems: list[Problem] = []
        if not isinstance(content, dict):
            raise BadInput(Problem(key=TABLE, message="expected a table", origin=str(file)))
        self._content: dict[str, Any] = content

    def project(self) -> Project:
        """The settings. Raises ``BadInput`` with all problems."""
        known = ("config_dirs", "packages", "src", "home", "config_store", "aliases")
        for key in self._content:
            if key not in known:
                self._wrong(key, "there is no such key", remedy=did_you_mean(key, known))
        config_dirs = tuple(self._folders(self._texts("config_dirs")))
        found = Project(
            file=self._file,
            config_dirs=config_dirs,
            packages=tuple(self._packages()),
            source=self._source(),
            home=str(self._path("home", self._text_of("home") or DEFAULT_HOME)),
            config_store=self._store(),
            aliases=dict(self._aliases(config_dirs)),
        )
        if self._problems:
            raise BadInput(*self._problems)
        return found

    def _wrong(self, key: str, message: str, value: Any = None, remedy: str | None = None) -> None:
        name = key.rpartition(".")[2]
        line = _line_of(self._text, name)
        origin = f"{self._file}, line {line}" if line else str(self._file)
        shown = None if value is None else str(value)
        self._problems.append(Problem(key=f"{TABLE}.{key}", value=shown, message=message, origin=origin, remedy=remedy))

    def _texts(self, key: str) -> list[str]:
        value = self._content.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return value
        self._wrong(key, f"expected a list of texts, such as {_EXAMPLES[key]}", value)
        return []

    def _text_of(self, key: str) -> str | None:
        value = self._content.get(key)
        if value is None or (isinstance(value, str) and value):
            return value
        self._wrong(key, f"expected a text, such as {_EXAMPLES[key]}", value)
        return None

    def _path(self, key: str, text: str) -> Path:
        try:
            return Path(os.path.normpath(self._file.parent / local_path(text)))
        except (ValueError, RuntimeError) as error:
            self._wrong(key, str(error), text)
            return self._file.parent

    def _folders(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            if "://" in text:
                yield text
            elif (folder := self._path("config_dirs", text)).is_dir():
                yield str(folder)
            else:
                self._wrong("config_dirs", f"there is no folder {folder}", text)

    def _packages(self) -> Iterator[str]:
        for name in self._texts("packages"):
            if _PACKAGE.fullmatch(name):
                yield name
            else:
                self._wrong("packages", "is not the name of a package", name)

    def _source(self) -> str | None:
        text = self._text_of("src")
        folder = self._path("src", text or DEFAULT_SOURCE)
        if folder.is_dir():
            return str(folder)
        if text:
            self._wrong("src", f"there is no folder {folder}", text)
        return None

    def _store(self) -> str | None:
        text = self._text_of("config_store")
        if text is None:
            return None
        from when_ml_pipeline_meets_hydra.masking import is_url_with_password  # here, for projects with a store alone

        if is_url_with_password(text):
            self._wrong("config_store", "a password is never kept in a file", remedy=f"Set ${CONFIG_STORE}")
        elif sqlite := _SQLITE.fullmatch(text):
            return f"{sqlite[1]}{self._path('config_store', sqlite[2])}"
        elif not _DATABASE.match(text):
            return str(self._path("config_store", text))
        return text

    def _aliases(self, config_dirs: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        table = self._content.get("aliases", {})
        if not isinstance(table, dict):
            self._wrong("aliases", f"expected a table, such as {_EXAMPLES['aliases']}", table)
            return
        folders = [PRIMARY, *(Path(entry) for entry in config_dirs if "://" not in entry)]
        for name, words in table.items():
            key = f"aliases.{name}"
            if not _ALIAS.fullmatch(name):
                self._wrong(key, "expected a name in letters, digits, _ and -")
            elif not (isinstance(words, list) and words and all(isinstance(word, str) for word in words)):
                self._wrong(key, 'expected a list of arguments, such as ["c=modeling", "--multirun"]', words)
            elif name in self._commands:
                self._wrong(key, "there is a command of this name", remedy="Give the alias another name")
            elif any((folder / STAGES / f"{name}.yaml").is_file() for folder in folders):
                self._wrong(key, "there is a stage of this name", remedy="Give the alias another name")
            else:
                yield name, tuple(words)


_EXAMPLES = {
    "config_dirs": '["conf"]',
    "packages": '["acme"]',
    "src": '"src"',
    "home": '".pipeline"',
    "config_store": '"configs.db"',
    "aliases": 'nightly = ["c=modeling"]',
}


def _line_of(text: str, key: str) -> int | None:
    """The line of a key in the table or in a table below it."""
    header = re.compile(r"\[\s*tool\s*\.\s*wmh\b")
    pattern = re.compile(rf"(?:tool\.wmh\.)?(?:aliases\.)?[\"']?{re.escape(key)}[\"']?\s*(?:[=.]|\])")
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            inside = header.match(stripped) is not None
            if inside and re.search(rf"\.\s*{re.escape(key)}\s*\]", stripped):
                return number
        elif (inside or stripped.startswith("tool.wmh")) and pattern.match(stripped):
            return number
    return None
