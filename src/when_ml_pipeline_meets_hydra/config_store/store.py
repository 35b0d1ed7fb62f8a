"""A config store: published entries with their history, and the drafts that become the next revision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE
from when_ml_pipeline_meets_hydra.composing.store_entry import StoreEntry
from when_ml_pipeline_meets_hydra.config_store import people
from when_ml_pipeline_meets_hydra.config_store.database import Database, new_token, next_number, now
from when_ml_pipeline_meets_hydra.config_store.drafts import (
    APPROVED,
    DISCARDED,
    OPEN,
    PUBLISHED,
    REJECTED,
    Draft,
    Review,
    draft_from,
)
from when_ml_pipeline_meets_hydra.config_store.entries import Entry, checked_path, checked_text
from when_ml_pipeline_meets_hydra.config_store.people import Role
from when_ml_pipeline_meets_hydra.config_store.schema import DRAFTS, EDITS, ENTRIES, REVIEWS, REVISIONS
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

Check = Callable[[Draft], None]


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A publication; ``texts`` maps each entry that it changed to its text, or None where it was removed."""

    number: int
    published: str
    author: str
    publisher: str
    reviewers: tuple[str, ...]
    message: str
    draft: int
    texts: Mapping[str, str | None]


class ConfigStore:
    """Reads and writes a store as one user. Raises ``BadInput`` for what cannot be, ``Refused`` for what may not be."""

    def __init__(self, location: str = "", user: str | None = None) -> None:
        self.entry = StoreEntry.parse(location)
        if self.entry.revision is not None or self.entry.draft is not None:
            message, remedy = "expected a store, not one revision of it", "Leave @… out"
            raise BadInput(Problem(key=CONFIG_STORE, value=self.entry.shown, message=message, remedy=remedy))
        self.location = self.entry.location
        self.user = people.checked_name(user) if user else people.current_user()
        self._database = Database(self.entry)

    @property
    def exists(self) -> bool:
        """Whether anything was ever written to it."""
        return self._database.exists

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that reads one state."""
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes; all of it is kept, or nothing."""
        with self._database.writing() as connection:
            yield connection

    def entries(self, revision: int | None = None) -> dict[str, Entry]:
        """The entries of the newest revision, or of another one, by their paths."""
        with self.reading() as connection:
            return _entries(connection, self._checked(connection, revision))

    def bases(self) -> dict[str, int]:
        """The revision that each entry is from, or that removed it: what an edit of it now is based on."""
        with self.reading() as connection:
            removed, entries = _removed(connection), _entries(connection, _newest(connection))
            return {**removed, **{path: entry.revision for path, entry in entries.items()}}

    def newest(self) -> int:
        """The number of the newest revision; 0 if nothing was published yet."""
        with self.reading() as connection:
            return _newest(connection)

    def history(self, path: str | None = None) -> list[Revision]:
        """The revisions, or those that changed an entry, the newest first."""
        with self.reading() as connection:
            changed: dict[int, dict[str, str | None]] = {}
            wanted = sa.select(ENTRIES) if path is None else sa.select(ENTRIES).where(ENTRIES.c.path == path)
            for row in connection.execute(wanted.order_by(ENTRIES.c.path)):
                changed.setdefault(row.revision, {})[row.path] = row.text
            rows = connection.execute(sa.select(REVISIONS).order_by(REVISIONS.c.number.desc()))
            return [
                _revision(row, changed.get(row.number, {})) for row in rows if path is None or row.number in changed
            ]

    def _checked(self, connection: sa.Connection, revision: int | None) -> int:
        newest = _newest(connection)
        if revision is not None and not 0 <= revision <= newest:
            message = f"there is no such revision; the newest is {newest}"
            raise BadInput(Problem(key="revision", value=str(revision), message=message))
        return newest if revision is None else revision

    def edit(
        self,
        texts: Mapping[str, str | None],
        bases: Mapping[str, int],
        message: str,
        draft: int | None = None,
        seen: int | None = None,
    ) -> int:
        """Set the texts of entries in a draft, or in a new one, and return its number; None removes an entry.

        ``bases`` are the revisions of the texts that were edited (0: there was none). Raises ``Refused`` if somebody
        has edited one of the entries in this draft after the edit numbered ``seen``.
        """
        checked = {checked_path(p): t if t is None else checked_text(p, t) for p, t in texts.items()}
        with self.writing() as connection:
            people.require(connection, self.user, Role.PROPOSE, "propose changes")
            number = self._open(connection, message) if draft is None else draft
            found = _draft(connection, number)
            _require_open(found)
            for change in found.changes:
                if seen is not None and change.path in checked and change.edit > seen:
                    reason = f"'{change.author}' has edited {change.path} in draft {number} meanwhile"
                    raise Refused(change.path, f"{reason}. See it with wmh config draft {number}, and edit it again")
            for path in checked:
                self._checked(connection, bases.get(path, 0))
            first = next_number(connection, EDITS)
            shared = {"draft": number, "edited": now(), "author": self.user}
            for offset, (path, text) in enumerate(checked.items()):
                values = {"number": first + offset, "token": new_token(), "path": path, "text": text}
                connection.execute(EDITS.insert().values(**shared, **values, base=bases.get(path, 0)))
            return number

    def _open(self, connection: sa.Connection, message: str) -> int:
        number = next_number(connection, DRAFTS)
        values = {
            "number": number,
            "created": now(),
            "author": self.user,
            "message": people.checked_message(message),
            "status": OPEN,
        }
        connection.execute(DRAFTS.insert().values(**values))
        return number

    def draft(self, number: int) -> Draft:
        """A draft with its changes and reviews."""
        with self.reading() as connection:
            return _draft(connection, number)

    def drafts(self, *, only_open: bool = True) -> list[Draft]:
        """The drafts, the oldest first."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(DRAFTS.c.number, DRAFTS.c.status).order_by(DRAFTS.c.number))
            return [_draft(connection, n) for n, status in rows if status == OPEN or not only_open]

    def discard(self, draft: int) -> None:
        """Discard a draft; what it proposed is kept in the history."""
        with self.writing() as connection:
            people.require(connection, self.user, Role.PROPOSE, "discard a draft")
            _require_open(_draft(connection, draft))
            connection.execute(DRAFTS.update().where(DRAFTS.c.number == draft).values(status=DISCARDED))

    def review(self, draft: int, comment: str, edit: int, *, approves: bool) -> str:
        """Approve or reject a draft, as it was after its edit numbered ``edit``; returns the verdict."""
        verdict = APPROVED if approves else REJECTED
        with self.writing() as connection:
            people.require(connection, self.user, Role.APPROVE, "review a draft")
            found = _draft(connection, draft)
            _require_open(found)
            if edit != found.last_edit:
                message = f"draft {draft} has been edited meanwhile"
                raise Refused("draft", f"{message}. Look at it again: wmh config review {draft}")
            values = {"draft": draft, "edit": edit, "reviewed": now(), "reviewer": self.user}
            number = next_number(connection, REVIEWS)
            connection.execute(
                REVIEWS.insert().values(
                    number=number, verdict=verdict, comment=people.checked_message(comment), **values
                )
            )
            return verdict

    def publish(self, draft: int, check: Check, message: str | None = None) -> int:
        """Publish a draft as the next revision, all of it or nothing; returns the revision's number.

        ``check`` raises ``BadInput`` for what must not be published. It is called before the store is locked, and once
        more under the lock if somebody else has published meanwhile.
        """
        with self.reading() as connection:
            before = self._publishable(connection, draft)
            newest = _newest(connection)
        check(before)
        with self.writing() as connection:
            found = self._publishable(connection, draft)
            if _newest(connection) != newest or found.last_edit != before.last_edit:
                check(found)
            number = _newest(connection) + 1
            reviewers = sorted({review.reviewer for review in found.valid_reviews})
            values = {"author": found.author, "publisher": self.user, "reviewers": "\n".join(reviewers)}
            values |= {
                "token": new_token(),
                "published": now(),
                "message": people.checked_message(message) if message else found.message,
            }
            connection.execute(REVISIONS.insert().values(number=number, draft=draft, **values))
            for change in found.real_changes:
                connection.execute(ENTRIES.insert().values(path=change.path, revision=number, text=change.after))
            connection.execute(DRAFTS.update().where(DRAFTS.c.number == draft).values(status=PUBLISHED))
            return number

    def _publishable(self, connection: sa.Connection, number: int) -> Draft:
        """A draft that this user may publish. Raises ``Refused`` with the reason if they may not."""
        people.require(connection, self.user, Role.PUBLISH, "publish")
        draft = _draft(connection, number)
        _require_open(draft)
        if not draft.real_changes:
            raise BadInput(Problem(key="draft", value=str(number), message="it changes nothing"))
        if stale := [change for change in draft.changes if change.is_stale]:
            shown = "; ".join(f"{c.path} (edited from revision {c.base or 'none'}, now {c.current})" for c in stale)
            message = f"entries were published since they were edited in draft {number}: {shown}"
            raise Refused("draft", f"{message}. Nothing is lost: wmh config draft {number} --merge")
        if rejected := [r for r in draft.valid_reviews if r.verdict != APPROVED]:
            raise Refused("draft", f"'{rejected[-1].reviewer}' has rejected draft {number}: {rejected[-1].comment}")
        guarded = [c.path for c in draft.real_changes if people.rules_of(connection).guards(c.path)]
        if guarded and not any(r.reviewer not in draft.editors for r in draft.valid_reviews):
            message = f"{', '.join(guarded)} may only be published after somebody who has not edited it approved"
            raise Refused("draft", f"{message}: wmh config review {number} --approve")
        return draft


def _newest(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(REVISIONS.c.number), 0))).scalar_one())


def _entries(connection: sa.Connection, revision: int) -> dict[str, Entry]:
    newest = (
        sa.select(ENTRIES.c.path, sa.func.max(ENTRIES.c.revision).label("revision"))
        .where(ENTRIES.c.revision <= revision)
        .group_by(ENTRIES.c.path)
        .subquery()
    )
    same = sa.and_(newest.c.path == ENTRIES.c.path, newest.c.revision == ENTRIES.c.revision)
    rows = connection.execute(sa.select(ENTRIES).join(newest, same).order_by(ENTRIES.c.path))
    return {r.path: Entry(path=r.path, text=r.text, revision=r.revision) for r in rows if r.text is not None}


def _revision(row: Any, texts: Mapping[str, str | None]) -> Revision:
    return Revision(
        number=row.number,
        published=row.published,
        author=row.author,
        publisher=row.publisher,
        reviewers=tuple(row.reviewers.split("\n")) if row.reviewers else (),
        message=row.message,
        draft=row.draft,
        texts=texts,
    )


def _draft(connection: sa.Connection, number: int) -> Draft:
    head = connection.execute(sa.select(DRAFTS).where(DRAFTS.c.number == number)).first()
    if head is None:
        remedy = "See wmh config draft"
        raise BadInput(Problem(key="draft", value=str(number), message="there is no such draft", remedy=remedy))
    edits = connection.execute(sa.select(EDITS).where(EDITS.c.draft == number).order_by(EDITS.c.number)).all()
    entries: dict[str, Entry] = _entries(connection, _newest(connection))
    bases = {edit.base for edit in edits if edit.base}
    old = {base: _entries(connection, base) for base in bases}
    rows = connection.execute(sa.select(REVIEWS).where(REVIEWS.c.draft == number).order_by(REVIEWS.c.number))
    reviews = [Review(reviewer=r.reviewer, verdict=r.verdict, comment=r.comment, edit=r.edit) for r in rows]
    return draft_from(head, edits, entries, old, _removed(connection), reviews)


def _removed(connection: sa.Connection) -> dict[str, int]:
    """The revision that removed each entry that is not there any more."""
    rows = connection.execute(
        sa.select(ENTRIES.c.path, ENTRIES.c.revision, ENTRIES.c.text).order_by(ENTRIES.c.revision)
    )
    last = {path: (revision, text) for path, revision, text in rows}
    return {path: revision for path, (revision, text) in last.items() if text is None}


def _require_open(draft: Draft) -> None:
    if draft.status != OPEN:
        message, remedy = f"it is {draft.status} already", "Open another one: wmh config edit …"
        raise BadInput(Problem(key="draft", value=str(draft.number), message=message, remedy=remedy))
