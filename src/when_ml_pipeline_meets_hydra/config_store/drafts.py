"""Drafts: proposed changes of entries, with the revisions that they were made from, and their reviews."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from when_ml_pipeline_meets_hydra.config_store.entries import Entry
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

OPEN, PUBLISHED, DISCARDED = "open", "published", "discarded"
APPROVED, REJECTED = "approved", "rejected"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A proposed text of an entry (``after``; None removes it).

    It was edited from the text ``edited``, of the revision ``base``; ``before`` is the published text, of the revision
    ``current``. ``edit`` is the number of the last edit, and ``author`` made it.
    """

    path: str
    after: str | None
    edited: str | None
    base: int
    before: str | None
    current: int
    edit: int
    author: str

    @property
    def is_stale(self) -> bool:
        """Whether another text was published since."""
        return self.base != self.current and self.before not in (self.edited, self.after)


@dataclass(frozen=True, kw_only=True)
class Review:
    """The verdict of a reviewer on a draft after the edit numbered ``edit``."""

    reviewer: str
    verdict: str
    comment: str
    edit: int


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A proposed change of entries."""

    number: int
    created: str
    author: str
    message: str
    status: str
    changes: tuple[Change, ...]
    editors: frozenset[str]
    reviews: tuple[Review, ...]

    @property
    def last_edit(self) -> int:
        """The number of its last edit."""
        return max((change.edit for change in self.changes), default=0)

    @property
    def real_changes(self) -> tuple[Change, ...]:
        """The changes whose text differs from the published one."""
        return tuple(change for change in self.changes if change.after != change.before)

    @property
    def valid_reviews(self) -> tuple[Review, ...]:
        """The last verdict of each reviewer on the draft as it is now; an edit makes earlier ones void."""
        last = {review.reviewer: review for review in self.reviews if review.edit == self.last_edit}
        return tuple(last.values())


def draft_from(
    head: Any,
    edits: Sequence[Any],
    entries: Mapping[str, Entry],
    old: Mapping[int, Mapping[str, Entry]],
    removed: Mapping[str, int],
    reviews: Iterable[Review],
) -> Draft:
    """Return a draft from its rows.

    ``entries`` are the published ones, ``old`` those of the revisions that were edited, ``removed`` the revisions that
    removed others.
    """
    changes = []
    for path, edit in {edit.path: edit for edit in edits}.items():
        published, edited = entries.get(path), old.get(edit.base, {}).get(path)
        changes.append(
            Change(
                path=path,
                after=edit.text,
                edited=edited.text if edited else None,
                base=edit.base,
                before=published.text if published else None,
                current=published.revision if published else removed.get(path, 0),
                edit=edit.number,
                author=edit.author,
            )
        )
    return Draft(
        number=head.number,
        created=head.created,
        author=head.author,
        message=head.message,
        status=head.status,
        editors=frozenset(edit.author for edit in edits),
        changes=tuple(sorted(changes, key=lambda change: change.path)),
        reviews=tuple(reviews),
    )
