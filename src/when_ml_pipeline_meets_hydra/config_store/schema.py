"""The tables of a config store. All that was published, proposed or decided is kept; rows are only added.

What composing reads of them is in ``composing.checkouts``.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Text

METADATA = MetaData()

#: A publication: all of its entries appear at once. ``token`` is random, and the name of its checkout.
REVISIONS = Table(
    "revisions",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("token", String(32), nullable=False, unique=True),
    Column("published", String(32), nullable=False),
    Column("author", String(200), nullable=False),
    Column("publisher", String(200), nullable=False),
    Column("reviewers", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("draft", Integer, nullable=False),
)

#: The text of an option file (``customer/acme``) from a revision on; no text: it was removed.
ENTRIES = Table(
    "entries",
    METADATA,
    Column("path", String(500), primary_key=True),
    Column("revision", Integer, ForeignKey("revisions.number"), primary_key=True),
    Column("text", Text),
)

#: A proposed change of entries. ``status`` is open, published or discarded.
DRAFTS = Table(
    "drafts",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("created", String(32), nullable=False),
    Column("author", String(200), nullable=False),
    Column("message", Text, nullable=False),
    Column("status", String(20), nullable=False),
)

#: Each edit of a draft; the last one of an entry counts. ``base`` is the revision of the text that was edited, or 0.
EDITS = Table(
    "edits",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("draft", Integer, ForeignKey("drafts.number"), nullable=False),
    Column("token", String(32), nullable=False, unique=True),
    Column("edited", String(32), nullable=False),
    Column("author", String(200), nullable=False),
    Column("path", String(500), nullable=False),
    Column("text", Text),
    Column("base", Integer, nullable=False),
)

#: A verdict (approved, rejected) on a draft as it was after the edit numbered ``edit``.
REVIEWS = Table(
    "reviews",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("draft", Integer, ForeignKey("drafts.number"), nullable=False),
    Column("edit", Integer, nullable=False),
    Column("reviewed", String(32), nullable=False),
    Column("reviewer", String(200), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("comment", Text, nullable=False),
)

#: Each change of a user's role, and of a rule; the last one counts.
ROLES = Table(
    "roles",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("changed", String(32), nullable=False),
    Column("author", String(200), nullable=False),
    Column("member", String(200), nullable=False),
    Column("role", String(20)),
)
RULES = Table(
    "rules",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("changed", String(32), nullable=False),
    Column("author", String(200), nullable=False),
    Column("name", String(200), nullable=False),
    Column("value", Text, nullable=False),
)
