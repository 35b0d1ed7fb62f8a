"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    name, moment, token = sa.String(200), sa.String(32), sa.String(32)
    op.create_table(
        "revisions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("token", token, nullable=False, unique=True),
        sa.Column("published", moment, nullable=False),
        sa.Column("author", name, nullable=False),
        sa.Column("publisher", name, nullable=False),
        sa.Column("reviewers", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("draft", sa.Integer, nullable=False),
    )
    op.create_table(
        "entries",
        sa.Column("path", sa.String(500), primary_key=True),
        sa.Column("revision", sa.Integer, sa.ForeignKey("revisions.number"), primary_key=True),
        sa.Column("text", sa.Text),
    )
    op.create_table(
        "drafts",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("author", name, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
    )
    op.create_table(
        "edits",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("draft", sa.Integer, sa.ForeignKey("drafts.number"), nullable=False),
        sa.Column("token", token, nullable=False, unique=True),
        sa.Column("edited", moment, nullable=False),
        sa.Column("author", name, nullable=False),
        sa.Column("path", sa.String(500), nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("base", sa.Integer, nullable=False),
    )
    op.create_table(
        "reviews",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("draft", sa.Integer, sa.ForeignKey("drafts.number"), nullable=False),
        sa.Column("edit", sa.Integer, nullable=False),
        sa.Column("reviewed", moment, nullable=False),
        sa.Column("reviewer", name, nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
    )
    op.create_table(
        "roles",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("changed", moment, nullable=False),
        sa.Column("author", name, nullable=False),
        sa.Column("member", name, nullable=False),
        sa.Column("role", sa.String(20)),
    )
    op.create_table(
        "rules",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("changed", moment, nullable=False),
        sa.Column("author", name, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
    )
