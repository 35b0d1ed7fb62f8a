"""Options and output that the ``config`` commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.cli.project import with_project_folders

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.config_store.drafts import Draft
    from when_ml_pipeline_meets_hydra.config_store.effective import Difference
    from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore

StoreOption = Annotated[
    str, typer.Option("--store", help="The store's file or URL; $WMH_CONFIG_STORE or configs.db otherwise")
]
Message = Annotated[str, typer.Option("--message", "-m", help="What the change is for")]
Publish = Annotated[bool, typer.Option("--publish", help="Publish the draft at once")]
ConfigDir = Annotated[
    list[str] | None,
    typer.Option(
        "--config-dir", callback=with_project_folders, help="A folder of your option files, which entries name"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines")]


def store_at(location: str) -> ConfigStore:
    """Return the store at a location."""
    from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore

    return ConfigStore(location)


def finish_draft(
    store: ConfigStore,
    number: int,
    *,
    publish: bool,
    as_json: bool,
    config_dirs: Sequence[str] | None = None,
) -> None:
    """Publish a draft if that is wanted, and print what there is now."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store import workflow

    if not publish:
        if as_json:
            print_json({"draft": number, "revision": None})
        else:
            print(f"draft {number} is open: wmh config review {number}, then wmh config publish {number}")
        return
    if not as_json:
        print(f"draft {number} is open", file=sys.stderr)
    revision = workflow.publish(store, number, config_dirs=config_dirs or ())
    if as_json:
        print_json({"draft": number, "revision": revision})
    else:
        print(f"revision {revision} is published")


def print_done(text: str, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what was done, for people or for machines."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json

    if as_json:
        print_json(facts)
    else:
        print(text, file=sys.stderr)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of a diff, coloured on a terminal."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import console

    out = console(soft_wrap=True)
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        out.print(line, style=styles.get(line[:1], "none"), markup=False, highlight=False)


def difference_line(difference: Difference) -> str:
    """``m_param.n_estimators 5 → 9``."""
    from when_ml_pipeline_meets_hydra.config_store.effective import shown

    before = shown(difference.before) if difference.has_before else "(not set)"
    after = shown(difference.after) if difference.has_after else "(not set)"
    return f"{difference.key} {before} → {after}"


def difference_json(difference: Difference) -> dict[str, Any]:
    """A difference as plain values; a key that is not set has no value."""
    before = {"before": difference.before} if difference.has_before else {}
    after = {"after": difference.after} if difference.has_after else {}
    return {"key": difference.key, **before, **after}


def draft_json(draft: Draft) -> dict[str, Any]:
    """A draft as plain values."""
    changes = [
        {"entry": c.path, "text": c.after, "author": c.author, "base": c.base, "stale": c.is_stale}
        for c in draft.changes
    ]
    reviews = [{"reviewer": r.reviewer, "verdict": r.verdict, "comment": r.comment} for r in draft.valid_reviews]
    return {
        "draft": draft.number,
        "created": draft.created,
        "author": draft.author,
        "message": draft.message,
        "status": draft.status,
        "changes": changes,
        "reviews": reviews,
    }
