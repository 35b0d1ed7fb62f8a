"""``runs tag`` and ``runs note``: tags and a note in the record of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.records.lookup import find_record

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.annotations import Annotations

RunId = Annotated[str, typer.Argument(help="The run's id, a part of it that is unique, or 'last'")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines")]


def tag(
    run: RunId,
    tags: Annotated[list[str], typer.Argument(help="Tags, such as baseline")],
    remove: Annotated[bool, typer.Option("--remove", help="Remove them")] = False,
    as_json: AsJson = False,
) -> None:
    """Add tags to a run, or remove them; shows its tags."""
    _annotate(run, lambda before: before.with_tags(() if remove else tags, tags if remove else ()), as_json=as_json)


def note(
    run: RunId,
    text: Annotated[str, typer.Argument(help="The note; an empty one removes it")],
    as_json: AsJson = False,
) -> None:
    """Write a note on a run, in place of the one that it has."""
    _annotate(run, lambda before: before.with_note(text), as_json=as_json)


def _annotate(run: str, change: Callable[[Annotations], Annotations], *, as_json: bool) -> None:
    record = find_record(home(), run)
    after = record.annotate(change)
    if as_json:
        print_json({"id": record.id, "tags": list(after.tags), "note": after.note})
        return
    tags = f"tags {', '.join(after.tags)}" if after.tags else "no tags"
    print(f"{record.id}: {tags}{f'; note: {after.note}' if after.note else ''}")
