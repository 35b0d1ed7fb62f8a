"""``config review``: the evidence of a draft, and the verdict on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import (
    AsJson,
    ConfigDir,
    StoreOption,
    difference_json,
    difference_line,
    draft_json,
    print_done,
    print_lines,
    store_at,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.config_store.drafts import Draft
    from when_ml_pipeline_meets_hydra.config_store.workflow import Evidence

_SHOWN = 8  # entries in a line


def review(
    draft: Annotated[int, typer.Argument(min=1, help="The number of the draft")],
    approve: Annotated[bool, typer.Option("--approve", help="Approve it as it is now")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Reject it as it is now")] = False,
    comment: Annotated[str, typer.Option("--message", "-m", help="Why")] = "",
    plan: Annotated[str, typer.Option("--plan", help="Also plan these stages for what it changes, as c=modeling")] = "",
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Show what a draft changes, and whom it reaches; or approve or reject it.

    Exit code 2 if it could not be published, with all problems.
    """
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store import workflow

    opened = store_at(store)
    found = opened.draft(draft)
    if approve and reject:
        raise BadInput(Problem(key="config review", message="choose --approve or --reject"))
    if approve or reject:
        verdict = opened.review(draft, comment, found.last_edit, approves=approve)
        done = {"draft": draft, "reviewer": opened.user, "verdict": verdict, "comment": comment}
        print_done(f"draft {draft} is {verdict} by {opened.user}", done, as_json=as_json)
        return
    evidence = workflow.evidence_of(opened, found, config_dir or (), plan)
    if as_json:
        print_json({**draft_json(found), **_json(evidence)})
    else:
        print_lines(_lines(found, evidence))
    if evidence.problems:
        raise typer.Exit(int(ExitCode.BAD_INPUT))


def _json(evidence: Evidence) -> dict[str, Any]:
    reached = {path: [*map(difference_json, diffs)] for path, diffs in evidence.reach.differences.items()}
    problems = [{"key": p.key, "message": p.message, "origin": p.origin, "remedy": p.remedy} for p in evidence.problems]
    return {
        "reached": reached,
        "unreached": list(evidence.reach.unreached),
        "problems": problems,
        "plan": dict(evidence.actions) if evidence.actions is not None else None,
    }


def _lines(draft: Draft, evidence: Evidence) -> Iterator[str]:
    from when_ml_pipeline_meets_hydra.config_store.migrating import lines_of_change

    yield f"draft {draft.number} by {draft.author}, {draft.status}: {draft.message}"
    for change in draft.changes:
        yield from lines_of_change(change.before, change.after, change.path)
        if change.is_stale:
            merge = f"wmh config draft {draft.number} --merge"
            yield f"{change.path}: revision {change.current} was published since it was edited; {merge}"
    reached, unreached = evidence.reach.differences, evidence.reach.unreached
    yield ""
    yield f"it reaches {len(reached)} of {len(reached) + len(unreached)} entries that use what it changes"
    yield from _reached(reached)
    if unreached:
        yield f"unchanged: {_some(list(unreached))}"
    if evidence.actions is not None:
        yield f"plan: {', '.join(f'{count} {action}' for action, count in evidence.actions.items())}"
    for reviewer in draft.valid_reviews:
        yield f"{reviewer.verdict} by {reviewer.reviewer}" + (f": {reviewer.comment}" if reviewer.comment else "")
    for problem in evidence.problems:
        yield f"problem: {problem}"


def _reached(reached: Mapping[str, Any]) -> Iterator[str]:
    """Equal differences of several entries are one line."""
    from when_ml_pipeline_meets_hydra.config_store.effective import alike

    for diffs, paths in alike(reached):
        yield f"{_some(paths)}:"
        yield from (f"  {difference_line(diff)}" for diff in diffs)


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more
