"""Compute one step of a plan, in any process that has the same code, data and store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.cache.compositions import compose
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.execution.execute import ExecutionContext, execute
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.surroundings import remember_children
from when_ml_pipeline_meets_hydra.execution.verdicts import Verdicts
from when_ml_pipeline_meets_hydra.hydra_jobs.jobs import Jobs
from when_ml_pipeline_meets_hydra.pipeline import plan_and_check
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step
from when_ml_pipeline_meets_hydra.recording import Recording
from when_ml_pipeline_meets_hydra.records.partial_scores import as_json
from when_ml_pipeline_meets_hydra.records.promise import SHORT, promised_step
from when_ml_pipeline_meets_hydra.runs import Prepared, RunObserver, guarded
from when_ml_pipeline_meets_hydra.storage.store import Store

_LAUNCHER = ("hydra/launcher=", "hydra.launcher.", "hydra.launcher=")


class StepFacts(TypedDict):
    """The outcome of a step as plain data (JSON). Secrets are masked.

    ``status`` is one of ``Status``; ``seconds`` the wall time; ``log`` the path of its log, ``artifact`` of the folder
    with its files (None: there is none); ``run`` the id of the record.
    """

    key: str
    name: str
    status: str
    reason: str
    seconds: float
    metrics: dict[str, float] | None
    deviations: dict[str, float] | None
    partial_scores: dict[str, Any] | None
    error: str | None
    exit_code: int
    log: str | None
    artifact: str | None
    run: str


def run_step(
    overrides: Sequence[str],
    key: str,
    *,
    multirun: bool = False,
    config_dirs: Sequence[str | Path] = (),
    promise: Mapping[str, Any] | None = None,
    record: Path | None = None,
    observer: RunObserver | None = None,
) -> StepFacts:
    """Compose, bind and plan, then compute the one step that has ``key``, as in an ordinary run; returns the facts.

    The overrides are those of the whole run, since a step may depend on what else is requested. Raises ``BadInput`` if
    no step has the key here, and says what differs: code, data, versions or config; ``promise`` (``promise_of``) are
    the inputs of the steps where they were planned, to compare with. Also if a step before it, whose result is stored,
    has not been computed. Whether a step of the best combination alone runs, the stored results of all decide: one that
    is missing counts as failed. A failed step is in ``exit_code``. ``record`` is the folder of the record of the run to
    which the step belongs; without one, it gets a record of its own.
    """
    own = tuple(line for line in overrides if not line.lstrip("+~").startswith(_LAUNCHER))
    request = Request(overrides=own, multirun=multirun, config_dirs=tuple(map(str, config_dirs)))
    remember_children()
    composed = compose(request)
    bound = bind(composed)
    bound = replace(bound, settings=replace(bound.settings, n_jobs=1, orchestrator=None, show_secrets=False))
    part = _Part(key, promise or {}, Store(bound.settings.home / "store"))
    with part.store.hold() as hold:
        prepared = plan_and_check(request, composed, bound, part=part.of)
        if part.outcome is not None:
            return facts_of(part.outcome, record.name if record else "")
        hold.keep(step.key for step in prepared.plan.steps)
        return _computed(prepared, record, observer or RunObserver())


class _Part:
    """The part of a plan that computes one step, or its ``outcome`` if it is not to run."""

    def __init__(self, key: str, promise: Mapping[str, Any], store: Store) -> None:
        self.key, self.promise, self.store = key, promise, store
        self.outcome: Outcome | None = None

    def of(self, plan: Plan) -> Plan:
        """Return the stored results before the step, and the step itself as the last one; none if there is an outcome.

        Raises ``BadInput``.
        """
        steps = {step.key: step for step in plan.steps}
        decided = self._decided(promised_step(plan, self.key, self.promise, self.store.inputs(self.key)), steps)
        if isinstance(decided, Outcome):
            self.outcome = decided
            return Plan(steps=(), requested={})
        before = [steps[k] for k in dict.fromkeys((*decided.needs.values(), *decided.after)) if steps[k].is_storable]
        for other in before:
            if not self.store.has(other.key):
                message = f"it needs the result of {other.call.title} ({other.key[:SHORT]}), which is not stored"
                raise BadInput(Problem(key=decided.call.title, message=message, remedy="Run that step first"))
        loaded = [replace(s, action=Action.STORED, after=(), needs={}, follows=None, candidacies=()) for s in before]
        own = replace(decided, after=tuple(other.key for other in before), follows=None)
        requested = {n: key for n, key in plan.requested.items() if n in own.jobs}
        return Plan(steps=(*loaded, own), requested=requested)

    def _decided(self, step: Step, steps: Mapping[str, Step]) -> Step | Outcome:
        """Return the step as one that is loaded or that runs; its outcome if it is not chosen."""
        has, damage = self.store.has, self.store.damage
        if step.is_storable and not step.is_forced and has(step.key) and not damage(step.key):
            return replace(step, action=Action.STORED, reason="nothing changed", candidacies=())
        if not step.candidacies:
            return replace(step, action=Action.RUN)
        verdicts = Verdicts([step])
        for key in dict.fromkeys(key for choice, _ in step.candidacies for key in choice.candidates):
            for _ in verdicts.ended(_stored_outcome(steps[key], self.store)):
                pass  # the keys of the steps that depend on the choice: this one
        return verdicts.decided(step)


def _computed(prepared: Prepared, record: Path | None, observer: RunObserver) -> StepFacts:
    *_, step = prepared.plan.steps
    if record is not None:
        return facts_of(_outcome(prepared, _context(prepared, record, guarded(observer))), record.name)
    calls = tuple((job, call) for job, call in prepared.bound.calls if job.number in step.jobs)
    recording = Recording(replace(prepared, bound=replace(prepared.bound, calls=calls)), observer)
    outcome = _outcome(prepared, recording.execution_context)
    recording.add(outcome)
    return facts_of(outcome, recording.end(interrupted=outcome.status is Status.INTERRUPTED).record.id)


def _stored_outcome(step: Step, store: Store) -> Outcome:
    if step.call.returns is None or not store.has(step.key):
        return Outcome(step=step, status=Status.FAILED, reason="it has no stored result")
    metrics = getattr(store.load(step.key, step.inputs, step.call.returns), "metrics", None)
    return Outcome(step=step, status=Status.STORED, reason=step.reason, metrics=metrics)


def _context(prepared: Prepared, record: Path, observer: RunObserver) -> ExecutionContext:
    """The context of a step of a run whose record, with its jobs and their folders, another process writes."""
    bound, is_multirun = prepared.bound, prepared.request.multirun
    jobs = Jobs(bound, prepared.plan, prepared.hydra, record, is_multirun=is_multirun)
    return ExecutionContext(
        store=prepared.store,
        run_id=record.name,
        folder=record,
        observer=observer,
        redactor=bound.redactor,
        shown_redactor=bound.redactor,
        step_context=jobs.job_context,
    )


def _outcome(prepared: Prepared, context: ExecutionContext) -> Outcome:
    """Load what the step needs, compute it, and return its outcome."""
    *_, step = prepared.plan.steps
    outcomes = {outcome.step.key: outcome for outcome in execute(prepared.plan, context)}
    return outcomes[step.key]


def facts_of(outcome: Outcome, run: str) -> StepFacts:
    """Return an outcome as plain data."""
    artifact, scores = outcome.artifact, outcome.partial_scores
    return StepFacts(
        key=outcome.step.key,
        name=outcome.step.call.title,
        status=str(outcome.status),
        reason=outcome.reason,
        seconds=round(outcome.seconds, 3),
        metrics=dict(outcome.metrics) if outcome.metrics else None,
        deviations=dict(outcome.deviations) if outcome.deviations else None,
        partial_scores=as_json(scores) if scores else None,
        error=outcome.error,
        exit_code=int(outcome.exit_code),
        log=str(outcome.log) if outcome.log else None,
        artifact=str(artifact.path) if artifact else None,
        run=run,
    )
