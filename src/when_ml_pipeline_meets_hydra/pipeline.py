"""Run a request: overrides → compose → bind → plan → check → execute → record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.cache.compositions import compose
from when_ml_pipeline_meets_hydra.composing.job import Composed, Request
from when_ml_pipeline_meets_hydra.execution.check import check
from when_ml_pipeline_meets_hydra.execution.execute import execute
from when_ml_pipeline_meets_hydra.execution.pruning import Pruner
from when_ml_pipeline_meets_hydra.planning.plan import Plan, make_plan
from when_ml_pipeline_meets_hydra.recording import Recording
from when_ml_pipeline_meets_hydra.runs import Prepared, Run, RunObserver
from when_ml_pipeline_meets_hydra.storage.store import Store

Folders = Sequence[str | Path]
PartOf = Callable[[Plan], Plan]


@overload
def run_request(request: Request, observer: None = None) -> Prepared: ...
@overload
def run_request(request: Request, observer: RunObserver, pruner: Pruner | None = None) -> Run: ...


def run_request(request: Request, observer: RunObserver | None = None, pruner: Pruner | None = None) -> Prepared | Run:
    """Run a request. Without an observer, stop after the check and return the prepared run; nothing is executed."""
    composed = compose(request)
    bound = bind(composed)
    with Store(bound.settings.home / "store").hold() as hold:
        prepared = plan_and_check(request, composed, bound)
        if observer is None:
            return prepared
        recording = Recording(prepared, observer, pruner)
        hold.keep(step.key for step in prepared.plan.steps)
        try:
            for outcome in execute(prepared.plan, recording.execution_context):
                recording.add(outcome)
        except KeyboardInterrupt:
            return recording.end(interrupted=True)
        return recording.end()


def plan_and_check(
    request: Request, composed: Composed, bound: Bound, *, explains: bool = True, part: PartOf = lambda plan: plan
) -> Prepared:
    """Plan bound jobs, with reasons if it ``explains``, and check the ``part`` that will run. Raises ``BadInput``."""
    store = Store(bound.settings.home / "store")
    plan = make_plan(
        bound.calls,
        is_stored=store.has,
        damage=store.damage,
        last_inputs=store.last_inputs if explains else lambda _: (),
        force=bound.settings.force,
        objective=bound.settings.objective,
    )
    plan = part(plan)
    check(plan, bound, composed)
    return Prepared.of(request, composed, bound, plan)


def prepare(overrides: Sequence[str], *, multirun: bool = False, config_dirs: Folders = ()) -> Prepared:
    """Return the planned and checked run of these arguments, not executed. Raises ``BadInput`` with all problems."""
    return run_request(_request(overrides, multirun, config_dirs))


def run(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    config_dirs: Folders = (),
    observer: RunObserver | None = None,
    pruner: Pruner | None = None,
) -> Run:
    """Run the requested stages and the steps that they depend on; returns the finished ``Run``.

    ``overrides`` follow Hydra's grammar (``["c=modeling", "modeling/param=small"]``); with ``multirun``, lists are
    swept. ``config_dirs`` are additional folders of option files; ``observer`` receives the events, ``pruner`` stops
    combinations by partial scores. Raises ``BadInput`` before anything runs; a failed step is in ``Run.exit_code``.
    """
    return run_request(_request(overrides, multirun, config_dirs), observer or RunObserver(), pruner)


def _request(overrides: Sequence[str], multirun: bool, config_dirs: Folders) -> Request:
    return Request(overrides=tuple(overrides), multirun=multirun, config_dirs=tuple(map(str, config_dirs)))
