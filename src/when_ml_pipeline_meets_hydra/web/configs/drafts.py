"""Pages of drafts: their differences and evidence, and what people decide about them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
from when_ml_pipeline_meets_hydra.composing.tree import STAGES
from when_ml_pipeline_meets_hydra.config_store import workflow
from when_ml_pipeline_meets_hydra.config_store.drafts import OPEN, Draft
from when_ml_pipeline_meets_hydra.config_store.effective import alike
from when_ml_pipeline_meets_hydra.config_store.migrating import lines_of_change
from when_ml_pipeline_meets_hydra.config_store.people import Role, roles_of, rules_of
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.web.configs import composing
from when_ml_pipeline_meets_hydra.web.configs.composing import COMPOSING, apart_of, place_of, store_of
from when_ml_pipeline_meets_hydra.web.pages import field, redirect, render, settings_of


def drafts_page(request: Request) -> Response:
    """Show the open drafts, and with ``?all=yes`` also the others, the newest first."""
    store, shows_all = store_of(request), "all" in request.query_params
    drafts = store.drafts(only_open=not shows_all) if store.exists else []
    return render(request, "configs/drafts.html", drafts=drafts[::-1], shows_all=shows_all)


def draft_page(request: Request) -> Response:
    """Show a draft, and what the person who looks at it may do with it; the evidence is loaded afterwards."""
    store, number = store_of(request), request.path_params["number"]
    draft = store.draft(number)
    changes = [(change, [*lines_of_change(change.before, change.after, change.path)]) for change in draft.changes]
    role, guarded = _rights(store, draft)
    with COMPOSING:
        stages = [stage.name for stage in Loader(settings_of(request).config_dirs).stages]
    return render(
        request,
        "configs/draft.html",
        draft=draft,
        changes=changes,
        stages=stages,
        is_open=draft.status == OPEN,
        is_stale=any(change.is_stale for change in draft.changes),
        guarded=guarded,
        may={kind.name.lower(): role >= kind for kind in Role},
    )


def _rights(store: ConfigStore, draft: Draft) -> tuple[Role, list[str]]:
    """The role of the store's user, and the entries of a draft that need a second person."""
    with store.reading() as connection:
        roles, rules = roles_of(connection), rules_of(connection)
    role = roles.get(store.user, Role.READ) if roles else Role.ADMIN
    return role, [change.path for change in draft.real_changes if rules.guards(change.path)]


def draft_evidence(request: Request) -> Response:
    """Show what a draft changes; with ``?plan=modeling`` also what runs of the entries that it reaches would do."""
    number, stage = request.path_params["number"], request.query_params.get("plan", "")
    plan = f"{STAGES}={stage}" if stage else ""
    try:
        evidence = apart_of(request).run(composing.evidence, place_of(request), number, plan)
    except BadInput as wrong:
        return render(request, "configs/evidence.html", evidence=None, groups=[], stage=stage, found=wrong.problems)
    groups = alike(evidence.reach.differences)
    return render(
        request, "configs/evidence.html", evidence=evidence, groups=groups, stage=stage, found=evidence.problems
    )


def review(request: Request) -> Response:
    """Approve or reject a draft as it was when the page was loaded."""
    number, edit = request.path_params["number"], field(request, "edit")
    approves = field(request, "verdict") == "approve"
    seen = int(edit) if edit.isdecimal() else 0
    verdict = store_of(request).review(number, field(request, "comment").strip(), seen, approves=approves)
    return redirect(request, f"/configs/drafts/{number}", f"Draft {number} is {verdict}.")


def publish(request: Request) -> Response:
    """Check a draft in every combination, and publish it."""
    number = request.path_params["number"]
    revision = apart_of(request).run(composing.publish, place_of(request), number)
    return redirect(request, f"/configs/history/{revision}", f"Revision {revision} is published.")


def discard(request: Request) -> Response:
    """Discard a draft."""
    number = request.path_params["number"]
    store_of(request).discard(number)
    return redirect(request, "/configs/drafts", f"Draft {number} is discarded; the history keeps it.")


def merge(request: Request) -> Response:
    """Merge a draft with what was published since; conflicts are shown for a person to decide."""
    store, number = store_of(request), request.path_params["number"]
    merged = workflow.merge_draft(store, store.draft(number))
    if conflicts := [entry for entry in merged if entry.conflicts]:
        draft = store.draft(number)
        return render(request, "configs/merge.html", draft=draft, conflicts=conflicts)
    return redirect(request, f"/configs/drafts/{number}", f"Draft {number} is merged with what was published since.")
