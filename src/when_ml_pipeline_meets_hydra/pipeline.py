"""The way of a run: overrides → compose → bind → plan → check → execute → record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.cache.compositions import compose
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.execution.check import check
from when_ml_pipeline_meets_hydra.execution.execute import execute
from when_ml_pipeline_meets_hydra.planning.plan import make_plan
from when_ml_pipeline_meets_hydra.recording import Recording
from when_ml_pipeline_meets_hydra.runs import Prepared, Run, RunObserver
from when_ml_pipeline_meets_hydra.storage.store import Store

Folders = Sequence[str | Path]


@overload
def go(request: Request, observer: None = None) -> Prepared: ...
@overload
def go(request: Request, observer: RunObserver) -> Run: ...


def go(request: Request, observer: RunObserver | None = None) -> Prepared | Run:
    """Go the way of a run. Without an observer it ends before anything runs, with what was prepared."""
    composed = compose(request)
    bound = bind(composed)
    store = Store(bound.settings.home / "store")
    plan = make_plan(
        bound.calls, is_stored=store.has, last_inputs=store.last_inputs, force=bound.settings.force
    )
    check(plan, bound, composed)
    prepared = Prepared(
        request=request,
        bound=bound,
        plan=plan,
        hydra=composed.hydra,
        search_path=composed.search_path,
        is_constant=composed.is_constant,
        unused=bound.unused,
    )
    if observer is None:
        return prepared
    recording = Recording(prepared, observer)
    try:
        for outcome in execute(plan, recording.surroundings):
            recording.add(outcome)
    except KeyboardInterrupt:
        return recording.end(interrupted=True)
    return recording.end()


def prepare(overrides: Sequence[str], *, multirun: bool = False, config_dirs: Folders = ()) -> Prepared:
    """Compose, bind, plan and check; nothing runs. Raises ``BadInput`` with everything that is wrong."""
    return go(_request(overrides, multirun, config_dirs))


def run(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    config_dirs: Folders = (),
    observer: RunObserver | None = None,
) -> Run:
    """Run the requested stages, and all that they need.

    ``overrides`` follow Hydra's grammar (``["c=modeling", "modeling/param=small"]``); with ``multirun`` a list of
    values makes a job of each. A step that fails is in the ``Run`` (and its ``exit_code``); what a person can put
    right raises ``BadInput`` before anything runs.
    """
    return go(_request(overrides, multirun, config_dirs), observer or RunObserver())


def _request(overrides: Sequence[str], multirun: bool, config_dirs: Folders) -> Request:
    return Request(overrides=tuple(overrides), multirun=multirun, config_dirs=tuple(map(str, config_dirs)))
