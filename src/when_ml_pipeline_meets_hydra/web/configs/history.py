"""Pages of what was published: the revisions, and one of them with its differences."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from when_ml_pipeline_meets_hydra.config_store import workflow
from when_ml_pipeline_meets_hydra.config_store.effective import alike
from when_ml_pipeline_meets_hydra.config_store.migrating import lines_of_change
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.web.configs import composing
from when_ml_pipeline_meets_hydra.web.configs.composing import COMPOSING, apart_of, place_of, store_of
from when_ml_pipeline_meets_hydra.web.pages import redirect, render, settings_of

PAGE = 50


def history_page(request: Request) -> Response:
    """Show the revisions, the newest first; ``?before=`` shows those before one."""
    store = store_of(request)
    before = request.query_params.get("before", "")
    revisions = store.history() if store.exists else []
    if before.isdecimal():
        revisions = [revision for revision in revisions if revision.number < int(before[:9])]
    more = revisions[PAGE - 1].number if len(revisions) > PAGE else None
    return render(request, "configs/history.html", revisions=revisions[:PAGE], more=more)


def revision_page(request: Request) -> Response:
    """Show who published what in a revision, and the differences of texts."""
    store, number = store_of(request), request.path_params["number"]
    revision = next((r for r in (store.history() if store.exists else ()) if r.number == number), None)
    if revision is None:
        raise HTTPException(404, f"There is no revision {number}.")
    before = store.entries(number - 1)
    changes = [
        (path, [*lines_of_change(before[path].text if path in before else None, text, path)])
        for path, text in revision.texts.items()
    ]
    return render(request, "configs/revision.html", revision=revision, changes=changes)


def revision_reach(request: Request) -> Response:
    """Show what a revision changed in effective configs."""
    try:
        found = apart_of(request).run(composing.reach_of, place_of(request), request.path_params["number"])
    except BadInput as wrong:
        return render(request, "configs/reach.html", reach=None, groups=[], found=wrong.problems)
    return render(request, "configs/reach.html", reach=found, groups=alike(found.differences), found=())


def revert(request: Request) -> Response:
    """Propose the texts from before a revision."""
    store, number = store_of(request), request.path_params["number"]
    texts = workflow.texts_before(store, number)
    with COMPOSING:
        draft = workflow.propose(
            store, texts, f"revert of revision {number}", config_dirs=settings_of(request).config_dirs
        )
    return redirect(request, f"/configs/drafts/{draft}", f"Draft {draft} undoes revision {number}. Review it next.")
