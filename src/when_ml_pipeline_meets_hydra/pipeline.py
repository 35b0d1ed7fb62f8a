"""The whole way of a run, in order; the command line is its first user."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.bind import Bound, bind, check
from when_ml_pipeline_meets_hydra.comparison import Objective
from when_ml_pipeline_meets_hydra.compose import Composed, compose_as_far_as_it_goes
from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, PipelineError, Problem
from when_ml_pipeline_meets_hydra.execute import Observer, Outcome, Surroundings, execute
from when_ml_pipeline_meets_hydra.masking import Redactor, Unmasked
from when_ml_pipeline_meets_hydra.plan import Plan, make_plan
from when_ml_pipeline_meets_hydra.record import Record, Recorder, Request, exit_code_of
from when_ml_pipeline_meets_hydra.store import Store
from when_ml_pipeline_meets_hydra.validation import validate


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that is known before anything runs."""

    request: Request
    home: Path
    bound: Bound
    plan: Plan
    show_secrets: bool

    @property
    def store(self) -> Store:
        """Where its results are kept."""
        return Store(self.home / "store")

    @property
    def unused(self) -> tuple[str, ...]:
        """The overrides that change nothing here, because no step of any job receives their key."""
        received = set(_SETTINGS)
        todo = [call for _, call in self.bound.calls]
        while todo:
            call = todo.pop()
            received |= call.received
            todo += call.needs.values()
        lines = dict.fromkeys(line for job, _ in self.bound.calls for line in job.values)
        return tuple(o for o in lines if re.split(r"[.=]", o.lstrip("+~"), maxsplit=1)[0] not in received)

    @property
    def shown_redactor(self) -> Redactor:
        """What masks secrets on the terminal; in files they are always masked."""
        return Unmasked() if self.show_secrets else self.bound.redactor


@dataclass(frozen=True, kw_only=True)
class Run:
    """One invocation: what became of each step, and its record."""

    record: Record
    outcomes: tuple[Outcome, ...]
    exit_code: ExitCode

    @property
    def metrics(self) -> dict[str, float]:
        """``<stage>.<metric>`` → value."""
        return self.record.metrics

    def artifact(self, stage: str) -> Artifact:
        """What the (last) step of ``stage`` returned. Raises ``KeyError`` where it returned nothing."""
        for outcome in reversed(self.outcomes):
            if outcome.step.call.stage == stage and outcome.artifact:
                return outcome.artifact
        raise KeyError(stage)


class RunObserver(Observer):
    """Is also told when a run begins and ends."""

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """All is planned and checked; nothing has run yet."""

    def run_ended(self, run: Run) -> None:
        """All that could run has run."""


def run(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    config_dirs: Sequence[str | Path] = (),
    observer: RunObserver | None = None,
) -> Run:
    """Run what the overrides ask for, and all that it needs.

    ``overrides`` follow Hydra's grammar (``["c=modeling", "modeling/param=small"]``); with ``multirun`` a list of
    values makes a job of each. A step that fails is in the ``Run`` (and its ``exit_code``); what a person can put
    right raises ``BadInput`` before anything runs.
    """
    observer = observer or RunObserver()
    prepared = prepare(overrides, multirun=multirun, config_dirs=config_dirs)
    recorder = _recorder(prepared)
    outcomes: list[Outcome] = []

    def end(code: ExitCode, running: Sequence[Outcome] = ()) -> Run:
        for outcome in running:
            recorder.add(outcome)
        recorder.close(code)
        done = Run(record=Record(recorder.folder), outcomes=(*outcomes, *running), exit_code=code)
        observer.run_ended(done)
        return done

    around = Surroundings(
        store=prepared.store,
        run_id=recorder.folder.name,
        folder=recorder.folder,
        observer=observer,
        redactor=prepared.bound.redactor,
        shown_redactor=prepared.shown_redactor,
        at_the_end=lambda running: end(ExitCode.INTERRUPTED, running),
    )
    observer.run_started(prepared, recorder.folder)
    try:
        for outcome in execute(prepared.plan, around):
            recorder.add(outcome)
            outcomes.append(outcome)
        code = exit_code_of(outcomes)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    return end(code)


def _recorder(prepared: Prepared) -> Recorder:
    try:
        return Recorder(prepared.home, prepared.request, prepared.bound, prepared.plan.asked)
    except OSError as error:
        message = f"nothing can be written there ({error.strerror}: {error.filename})"
        raise BadInput(Problem(key="home", value=str(prepared.home), message=message)) from error


def prepare(overrides: Sequence[str], *, multirun: bool = False, config_dirs: Sequence[str | Path] = ()) -> Prepared:
    """Compose, bind, plan and check; runs nothing. Raises ``BadInput`` with all that is wrong."""
    request = Request(overrides=tuple(overrides), multirun=multirun, config_dirs=tuple(map(str, config_dirs)))
    composed = compose_as_far_as_it_goes(request.overrides, multirun=multirun, config_dirs=request.config_dirs)
    problems = list(composed.problems)
    settings = {key: _setting(composed, key, hint, problems) for key, hint in _SETTINGS.items()}
    force = _stages(settings["force"], composed, problems)
    bound = bind(replace(composed, problems=tuple(problems)))
    home = Path(settings["home"]).absolute()
    store = Store(home / "store")
    plan = make_plan(bound.calls, is_stored=store.has, last_inputs=store.last_inputs, force=force)
    jobs = {job.number: job for job, _ in bound.calls}
    check(((jobs[step.jobs[0]], step.call) for step in plan.to_run), bound.redactor)
    return Prepared(request=request, home=home, bound=bound, plan=plan, show_secrets=settings["show_secrets"])


# The keys that are for the whole run.
_SETTINGS: Mapping[str, Any] = {
    "home": Annotated[str, Field(min_length=1)],
    "force": list[str] | str,
    "packages": list[str] | str,
    "show_secrets": bool,
    "objective": Objective,
}


def _setting(composed: Composed, key: str, hint: Any, problems: list[Problem]) -> Any:
    """A setting of the whole run; notes where the jobs differ in it, or it is not as it should be."""
    if not composed.jobs:
        return None
    first, *others = composed.jobs
    if any(job.config.get(key) != first.config.get(key) for job in others):
        problems.append(Problem(key=key, message="has to be the same for all jobs of a run"))
    elif fault := first.faults.get(key):
        problems.append(Problem(key=key, message=fault, origin=first.origins.of(key), remedy=f"Give it: {key}=…"))
    else:
        try:
            return validate(hint, first.config.get(key), key=key, origin=first.origins.of)
        except BadInput as error:
            problems += error.problems
    return None


def _stages(force: list[str] | str | None, composed: Composed, problems: list[Problem]) -> list[str]:
    named = force if isinstance(force, list) else [force] if force else []
    if unknown := [stage for stage in named if stage not in composed.stages]:
        message = f"expected a list of stages ({', '.join(composed.stages)})"
        problems.append(Problem(key="force", value=",".join(unknown), message=message))
    return named


__all__ = ["BadInput", "PipelineError", "Run", "RunObserver", "prepare", "run"]
