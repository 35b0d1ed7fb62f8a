"""``config draft``: the open drafts, or one of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import (
    AsJson,
    StoreOption,
    draft_json,
    print_done,
    print_lines,
    store_at,
)

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.config_store.drafts import Draft
    from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore


def draft(
    number: Annotated[int | None, typer.Argument(min=1, help="The draft; a list of all open ones otherwise")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Merge it with what was published since")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Discard it; it is kept in the history")] = False,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """List the open drafts; show, merge or discard one."""
    from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

    if merge and discard:
        raise BadInput(Problem(key="config draft", message="choose --merge or --discard"))
    opened = store_at(store)
    if number is None:
        if merge or discard:
            raise BadInput(Problem(key="draft", message="which one? Give its number"))
        _list(opened.drafts(), as_json=as_json)
    elif discard:
        opened.discard(number)
        print_done(f"draft {number} is discarded", {"draft": number, "status": "discarded"}, as_json=as_json)
    elif merge:
        _merge(opened, number, as_json=as_json)
    else:
        _show(opened.draft(number), as_json=as_json)


def _list(drafts: list[Draft], *, as_json: bool) -> None:
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json, print_rows

    if as_json:
        print_json([draft_json(found) for found in drafts])
        return
    rows = []
    for found in drafts:
        paths = [change.path for change in found.changes]
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        rows.append((str(found.number), found.created, found.author, ", ".join(paths[:3]) + more, found.message))
    print_rows(("draft", "opened", "by", "entries", "message"), rows)


def _show(found: Draft, *, as_json: bool) -> None:
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store.migrating import lines_of_change

    if as_json:
        print_json(draft_json(found))
        return
    print(f"draft {found.number} by {found.author}, {found.status}: {found.message}")
    for change in found.changes:
        if change.is_stale:
            print(f"{change.path}: revision {change.current} was published since it was edited; merge it with --merge")
        print_lines(lines_of_change(change.before, change.after, change.path))


def _merge(store: ConfigStore, number: int, *, as_json: bool) -> None:
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store import workflow
    from when_ml_pipeline_meets_hydra.errors import ExitCode
    from when_ml_pipeline_meets_hydra.execution.outcomes import counted

    merged = workflow.merge_draft(store, store.draft(number))
    if as_json:
        rows: list[dict[str, Any]] = [
            {"entry": m.path, "text": m.text, "onto": m.onto, "conflicts": m.conflicts} for m in merged
        ]
        print_json(rows)
    elif not merged:
        print(f"draft {number} needs no merge")
    for entry in () if as_json else merged:
        if entry.conflicts:
            print(f"{entry.path}: {counted(entry.conflicts, 'conflict')}. Write what is right into a file, and:")
            print(f"  wmh config edit {entry.path} --draft {number} --onto {entry.onto} --file FILE")
            sys.stdout.write(entry.text or "")
        else:
            print(f"{entry.path}: merged with revision {entry.onto}")
    if any(entry.conflicts for entry in merged):
        raise typer.Exit(int(ExitCode.REFUSED))
