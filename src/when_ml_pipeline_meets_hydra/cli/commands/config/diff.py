"""``config diff``: what has changed between two revisions, or in a draft."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import (
    AsJson,
    ConfigDir,
    StoreOption,
    difference_json,
    difference_line,
    print_lines,
    store_at,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore


def diff(
    before: Annotated[str, typer.Argument(help="A revision, as 11")],
    after: Annotated[
        str | None, typer.Argument(help="Another one, or a draft, as draft-3; the newest revision otherwise")
    ] = None,
    pattern: Annotated[str, typer.Option("--entry", help="Only these entries, as customer/*")] = "*",
    effective: Annotated[
        bool, typer.Option("--effective", help="What changes in the config of each entry that uses a changed one")
    ] = False,
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Show the differences of texts, or of effective configs."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store.effective import reach
    from when_ml_pipeline_meets_hydra.config_store.migrating import lines_of_change

    opened = store_at(store)
    old, old_path = _side(opened, before, config_dir or [])
    new, new_path = _side(opened, after or str(opened.newest()), config_dir or [])
    changed = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
    if effective:
        found = reach(changed, (old, old_path), (new, new_path)).differences
        shown = {path: diffs for path, diffs in found.items() if fnmatchcase(path, pattern)}
        if as_json:
            print_json({path: [*map(difference_json, diffs)] for path, diffs in shown.items()})
        else:
            print_lines(f"{path}: {difference_line(d)}" for path, diffs in shown.items() for d in diffs)
        return
    changed = [path for path in changed if fnmatchcase(path, pattern)]
    if as_json:
        print_json([{"entry": path, "before": old.get(path), "after": new.get(path)} for path in changed])
    for path in () if as_json else changed:
        print_lines(lines_of_change(old.get(path), new.get(path), path))


def _side(store: ConfigStore, text: str, config_dirs: list[str]) -> tuple[dict[str, str], list[str]]:
    """The texts of a revision or draft, and the search path on which they are."""
    from when_ml_pipeline_meets_hydra.config_store import workflow
    from when_ml_pipeline_meets_hydra.config_store.effective import search_path

    named = re.fullmatch(r"(draft-)?(\d{1,9})", text)
    if named is None:
        remedy = "Write 11 for a revision, draft-3 for a draft"
        raise BadInput(Problem(key="config diff", value=text, message="neither a revision nor a draft", remedy=remedy))
    number = int(named[2])
    if named[1]:
        texts = workflow.texts_after(store, store.draft(number))
        return texts, search_path(store.location, config_dirs, draft=number)
    texts = {path: entry.text for path, entry in store.entries(number).items()}
    return texts, search_path(store.location, config_dirs, revision=number)
