"""Migrations: one change of a key over all entries, with every conflict found beforehand."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from when_ml_pipeline_meets_hydra.composing.tree import package_of
from when_ml_pipeline_meets_hydra.config_store import yaml_edits
from when_ml_pipeline_meets_hydra.config_store.yaml_edits import NotEditable
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, briefly
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

_KEY = re.compile(r"\w[\w/$@-]*(?:\.\w[\w/$@-]*)*")
Function = Callable[[str, dict[str, Any]], dict[str, Any] | None]
# (path, text) → the new text, or None where nothing is to be changed. Raises ``NotEditable``.
Change = Callable[[str, str], str | None]


@dataclass(frozen=True, kw_only=True)
class Migration:
    """The new texts of the entries that it changes, and the conflicts, for which it must not be applied."""

    texts: Mapping[str, str]
    conflicts: tuple[Problem, ...]

    def without_conflicts(self) -> Migration:
        """Return self. Raises ``BadInput`` with every conflict."""
        if self.conflicts:
            raise BadInput(*self.conflicts)
        return self


def migrate(texts: Mapping[str, str], change: Change, only: str = "*") -> Migration:
    """Return what a change does to the entries whose paths match ``only``; nothing is written."""
    found, conflicts = {}, []
    for path, text in sorted(texts.items()):
        if not fnmatchcase(path, only):
            continue
        try:
            after = change(path, text)
        except NotEditable as error:
            conflicts.append(Problem(key=path, message=str(error), remedy=f"Mend it: wmh config edit {path}"))
            continue
        if after is not None and after != text:
            found[path] = after
    return Migration(texts=found, conflicts=tuple(conflicts))


def checked_key(key: str) -> None:
    """Check a key. Raises ``BadInput`` if it is none, such as ``+a.b`` of an override, ``a[0]``, or ``a..b``."""
    if not _KEY.fullmatch(key):
        remedy = "Write it without +, ++ and ~; a list is set as a whole"
        raise BadInput(Problem(key=key, message="expected a key, such as m_param.learning_rate", remedy=remedy))


def renaming(old: str, new: str) -> Change:
    """A change that gives a key another name, or moves it: ``m_param.depth`` → ``m_param.max_depth``."""
    for key in (old, new):
        checked_key(key)

    def change(path: str, text: str) -> str | None:
        _check_references(text, old)
        key, target = _inside(path, text, old), _inside(path, text, new)
        if key is None or not yaml_edits.has_key(text, key):
            return None
        if target is None:
            raise NotEditable(f"its keys are in the package {_package(path, text)}, which cannot have {new}")
        if yaml_edits.has_key(text, target):
            raise NotEditable(f"it has both {old} and {new}")
        return yaml_edits.move_key(text, key, target)

    return change


def deleting(old: str) -> Change:
    """A change that deletes a key."""
    checked_key(old)

    def change(path: str, text: str) -> str | None:
        _check_references(text, old)
        key = _inside(path, text, old)
        return yaml_edits.delete_key(text, key) if key and yaml_edits.has_key(text, key) else None

    return change


def setting(name: str, value: str, *, add: bool) -> Change:
    """A change that sets a key to a value in YAML; with ``add`` also where an entry does not have it."""
    checked_key(name)

    def change(path: str, text: str) -> str | None:
        key = _inside(path, text, name)
        if key is None and add:
            raise NotEditable(f"its keys are in the package {_package(path, text)}, which cannot have {name}")
        if key is None or not (add or yaml_edits.has_key(text, key)):
            return None
        return yaml_edits.set_key(text, key, value)

    return change


def with_keys(path: str, text: str, values: Sequence[tuple[str, str]], unset: Sequence[str]) -> str:
    """Return the text of an entry with some keys set to values in YAML, and others deleted. Raises ``BadInput``."""
    try:
        for key, value in values:
            text = setting(key, value, add=True)(path, text) or text
        for key in unset:
            after = deleting(key)(path, text)
            if after is None:
                raise BadInput(Problem(key=key, message=f"{path} does not set it"))
            text = after
    except NotEditable as error:
        raise BadInput(Problem(key=path, message=str(error), remedy="Edit its text: --file FILE")) from error
    return text


def calling(function: Function) -> Change:
    """A change by a function: (path, content) → the new content, or None to leave the entry as it is."""

    def change(path: str, text: str) -> str | None:
        content = yaml_edits.content_of(text)
        try:
            after = function(path, copy.deepcopy(content))
        except Exception as error:
            raise NotEditable(f"the function fails: {briefly(error)}") from error
        if after is None:
            return None
        if not isinstance(after, dict):
            raise NotEditable("the function returned no dict, and not None")
        return yaml_edits.changed(text, after)

    return change


def _check_references(text: str, key: str) -> None:
    """Refuse to take a key away that the text refers to."""
    if re.search(rf"\$\{{\s*{re.escape(key)}(?![\w])", text):
        raise NotEditable(f"it refers to ${{{key}}}")


def _package(path: str, text: str) -> str:
    package = package_of(text) or path.rpartition("/")[0].replace("/", ".") or "_global_"
    return package.replace("_group_", path.rpartition("/")[0].replace("/", "."))


def _inside(path: str, text: str, key: str) -> list[str] | None:
    """The parts of a config's key as an entry has it below its package; None if it cannot have it."""
    package = _package(path, text)
    if package == "_global_":
        return key.split(".")
    rest = key.removeprefix(f"{package}.")
    return rest.split(".") if rest != key else None


def lines_of_change(before: str | None, after: str | None, path: str) -> Iterator[str]:
    """The unified diff of an entry's texts."""
    from difflib import unified_diff

    def lines(text: str | None) -> Sequence[str]:
        return (text or "").splitlines()

    names = (f"{path}" if before is not None else "/dev/null", f"{path}" if after is not None else "/dev/null")
    yield from unified_diff(lines(before), lines(after), *names, lineterm="")
