"""Tags and the note of a run: ``annotations.json`` in the folder of its record, which may change after the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass
from when_ml_pipeline_meets_hydra.storage import durable_files, locks, seals

ANNOTATIONS = "annotations.json"
LONGEST_TAG, LONGEST_NOTE, MOST_TAGS = 64, 10_000, 100
_LOCK, _PATIENCE = "annotations.lock", 30.0  # seconds to wait for other writers


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The tags of a run, sorted, and its note, which may have several lines."""

    tags: tuple[str, ...] = ()
    note: str = ""

    def with_tags(self, added: Iterable[str] = (), removed: Iterable[str] = ()) -> Annotations:
        """Return a copy with some tags added and others removed."""
        return Annotations(tags=tuple(sorted({*self.tags, *added} - {*removed})), note=self.note)

    def with_note(self, note: str, *, instead_of: str | None = None) -> Annotations:
        """Return a copy with another note. Raises ``BadInput`` if it is not the one that ``instead_of`` says."""
        if instead_of not in (None, self.note):
            message, remedy = f"it was changed meanwhile; it is now: {self.note}", "Write both into one"
            raise BadInput(Problem(key="note", message=message, remedy=remedy))
        return Annotations(tags=self.tags, note=note)


def read_annotations(folder: Path) -> Annotations:
    """Return the annotations of a record. Raises ``BadInput`` if their file is damaged."""
    try:
        content = seals.opened((folder / ANNOTATIONS).read_bytes())
    except FileNotFoundError:
        return Annotations()
    if content is None or not _is_whole(content):
        message, remedy = "the tags and the note of this run are damaged", "Remove this file, and set them again"
        raise BadInput(Problem(key=str(folder / ANNOTATIONS), message=message, remedy=remedy))
    return Annotations(tags=tuple(content["tags"]), note=content["note"])


def change_annotations(folder: Path, change: Callable[[Annotations], Annotations]) -> Annotations:
    """Change the annotations of a record, one writer at a time; returns the new ones.

    Raises ``BadInput`` if nothing can be written there, or if a tag or the note is not allowed.
    """
    try:
        with locks.hold(folder.parent.parent / "cache" / _LOCK, patience=_PATIENCE):
            before = read_annotations(folder)
            after = change(before)
            _check(after, before)
            if after != before:
                content = json.dumps({"tags": after.tags, "note": after.note}, indent=2, ensure_ascii=False)
                durable_files.write(folder / ANNOTATIONS, seals.sealed(content.encode()))
            return after
    except locks.LockHeld:
        message, remedy = "other processes are writing tags and notes", "Try again"
        raise BadInput(Problem(key=folder.name, message=message, remedy=remedy)) from None
    except OSError as error:
        raise BadInput(Problem(key=str(folder), message=f"nothing can be written there ({error.strerror})")) from error


def _is_whole(content: dict[str, Any]) -> bool:
    tags, note = content.get("tags"), content.get("note")
    return isinstance(note, str) and isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)


def _check(after: Annotations, before: Annotations) -> None:
    problems = [
        Problem(key="tag", value=ascii(tag)[1:-1], message=_ALLOWED_TAG)
        for tag in after.tags
        if tag not in before.tags and not _is_tag(tag)
    ]
    if len(after.tags) > MOST_TAGS:
        problems.append(Problem(key="tag", message=f"a run has at most {MOST_TAGS} tags"))
    if len(after.note) > LONGEST_NOTE:
        problems.append(Problem(key="note", message=f"a note has at most {LONGEST_NOTE:,} characters"))
    if not all(character.isprintable() or character in "\n\t" for character in after.note):
        problems.append(Problem(key="note", message="a note has no control characters"))
    if problems:
        raise BadInput(*problems)


_ALLOWED_TAG = f"a tag has 1 to {LONGEST_TAG} characters, no blanks, commas or quotes, and begins with no -"


def _is_tag(tag: str) -> bool:
    fits = 0 < len(tag) <= LONGEST_TAG and tag.isprintable() and not tag.startswith("-")
    return fits and not any(character.isspace() or character in ",\"'`" for character in tag)
