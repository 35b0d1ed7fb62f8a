"""Runs batches of points as jobs of one run: compose → bind → plan → check → execute → record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.binding.bind_cache import BindCache
from when_ml_pipeline_meets_hydra.binding.call import Bound, Call
from when_ml_pipeline_meets_hydra.binding.settings import Objective, OnError
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job, Request
from when_ml_pipeline_meets_hydra.composing.points import PointComposer
from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem
from when_ml_pipeline_meets_hydra.execution.execute import execute
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status, exit_code_of
from when_ml_pipeline_meets_hydra.execution.pruning import Pruner
from when_ml_pipeline_meets_hydra.execution.runner import Runner
from when_ml_pipeline_meets_hydra.pipeline import plan_and_check
from when_ml_pipeline_meets_hydra.planning.plan import make_plan
from when_ml_pipeline_meets_hydra.recording import Recording
from when_ml_pipeline_meets_hydra.runs import Prepared, Run, RunObserver
from when_ml_pipeline_meets_hydra.searching.study import Trial
from when_ml_pipeline_meets_hydra.storage.holds import Hold
from when_ml_pipeline_meets_hydra.storage.results import open_result
from when_ml_pipeline_meets_hydra.storage.store import Store

Point = Sequence[str]  # overrides


@dataclass(frozen=True, kw_only=True)
class Result:
    """The metrics of a trial, and the key of the step that yields them; if it failed or was pruned, its ``error``.

    ``measured`` are the numbers that constraints limit, with their stages.
    """

    key: str | None = None
    metrics: Mapping[str, float] | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    job: int | None = None
    seconds: float = 0.0
    is_pruned: bool = False

    def end(self, trial: Trial, run: str | None) -> Trial:
        """Return a trial that has ended with it, in a run."""
        return replace(
            trial,
            has_ended=True,
            metrics=self.metrics,
            measured=self.measured,
            error=self.error,
            is_pruned=self.is_pruned,
            key=self.key,
            run=run if self.job is not None else None,
            job=self.job,
            seconds=self.seconds,
        )


class Session:
    """Runs points of a search as jobs of one run.

    ``stage`` is the one whose step yields the score, ``last_stage`` the one up to which trials run, and ``limited`` are
    the names of the numbers that constraints limit, by stage.
    """

    def __init__(self, request: Request, observer: RunObserver) -> None:
        self.composer = PointComposer(request.overrides, request.config_dirs)
        self.observer = observer
        self.search: str | None = None
        self.n_jobs = 1
        self.stage = self.last_stage = ""
        self.limited: Mapping[str, Sequence[str]] = {}
        self.on_error = OnError.CONTINUE
        self._request = request
        self._cache = BindCache()
        self._jobs: list[Job] = []  # the configs by whose identity calls are cached
        self._place: int | None = None
        self._next = 0
        self._recording: Recording | None = None
        self._store: Store
        self._hold: Hold
        self._open = ExitStack()
        self._runner: Runner | None = None
        self.failed: list[Outcome] = []
        self.whole: int | None = None  # the last job of the best trial, once it goes on
        self.objective: Objective | None = None
        self.pruner: Pruner | None = None

    def assume_metric(self, name: str) -> None:
        """Compose further points with the metric of an objective that the command does not name."""
        request = self._request
        self.composer = PointComposer(request.overrides, request.config_dirs, [f"objective.metric={name}"])

    def learn_secrets(self, corners: Bound) -> None:
        """Mask the secrets of all options in all batches: a record has one redactor."""
        self._cache.secrets = corners.secret_keys, corners.redactor

    def bind(self, points: Sequence[Point]) -> Bound:
        """Compose and bind all jobs of points. Raises ``BadInput``; jobs are numbered from 0."""
        return self._bind(self.composer.compose(points))

    def problems(self, points: Sequence[Point]) -> tuple[Bound | None, list[list[Problem]]]:
        """Bind points; returns the calls if all could be bound, and the problems of each point."""
        try:
            return self.bind(points), [[] for _ in points]
        except BadInput as error:
            per_point = self.composer.jobs_per_point
            found: list[list[Problem]] = [[] for _ in points]
            for problem in error.problems:
                for place in dict.fromkeys(n // per_point for n in problem.jobs) or range(len(points)):
                    found[place].append(problem)
            return None, found

    def keys(self, bound: Bound, stage: str | None = None) -> list[str]:
        """Return the keys of the steps that would yield the scores of points, or of another stage."""
        scoring = self._scoring(bound, stage or self.stage)
        plan = make_plan(scoring.calls, is_stored=lambda _: False, last_inputs=lambda _: ())
        return [plan.requested[number] for number in sorted(plan.requested)]

    def check(self, points: Sequence[Point]) -> None:
        """Check the steps up to the scores of points, and all steps of the first one. Raises ``BadInput``."""
        composed = self.composer.compose(points[:1])
        bound = self._bind(composed)
        places = (n for n, (_, call) in enumerate(bound.calls) if scoring_call(call, self.last_stage))
        self._place = next(places, None)
        plan_and_check(self._request, composed, bound, explains=False)
        composed = self.composer.compose(points, place=self._place)
        plan_and_check(self._request, composed, self._scoring(self._bind(composed), self.last_stage), explains=False)

    def run(self, points: Sequence[Point]) -> list[Result]:
        """Run trials up to their scores; those that cannot be run have failed. Raises ``KeyboardInterrupt``."""
        composed = self.composer.compose(points, self._next, self._place)
        try:
            bound = self._scoring(self._bind(composed), self.last_stage)
            prepared = self._prepared(composed, bound)
        except BadInput as error:
            return self._run_valid(points, error)
        self._next += len(points)
        outcomes = list(self._execute(prepared))
        if exit_code_of(outcomes) is ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        keys = {number: c.keys for c in prepared.plan.combinations for number in c.jobs}
        return [self._result(job.number, call, keys[job.number], outcomes) for job, call in bound.calls]

    def run_whole(self, point: Point) -> None:
        """Run all steps of a point. Raises ``KeyboardInterrupt``, or ``BadInput``."""
        self.pruner = None
        composed = self.composer.compose([point], self._next)
        bound = self._bind(composed)
        self._next += len(bound.calls)
        self.whole = self._next - 1
        self.last = list(self._execute(self._prepared(composed, bound)))

    def _bind(self, composed: Composed) -> Bound:
        self._jobs += composed.jobs
        bound = bind(composed, self._cache)
        self.on_error = bound.settings.on_error
        if (orchestrator := bound.settings.orchestrator) is not None:
            message = f"the trials of a search are proposed while it runs, so {orchestrator.title} cannot plan them"
            raise BadInput(Problem(key="hydra/launcher", message=message, remedy="Use hydra/launcher=local"))
        own = bound.settings.n_jobs
        n_jobs = None if own is None else max(own, self.n_jobs)
        return replace(bound, settings=replace(bound.settings, n_jobs=n_jobs, on_error=OnError.CONTINUE))

    def _prepared(self, composed: Composed, bound: Bound) -> Prepared:
        return replace(plan_and_check(self._request, composed, bound, explains=False), search=self.search)

    def _run_valid(self, points: Sequence[Point], error: BadInput) -> list[Result]:
        """Run those of several points that can be run."""
        if len(points) == 1:
            return [Result(error="; ".join(str(replace(p, jobs=())) for p in error.problems))]
        return [result for point in points for result in self.run([point])]

    def _execute(self, prepared: Prepared) -> Iterator[Outcome]:
        if self._recording is None:
            self._store = Store(prepared.home / "store")
            self._hold = self._open.enter_context(self._store.hold())
            self._recording = Recording(prepared, self.observer)
        else:
            self._recording.extend(prepared)
        self._hold.keep(step.key for step in prepared.plan.steps)
        context = self._recording.execution_context
        self._runner = context.runner
        context = replace(context, keeps_runner=True, objective=self.objective, pruner=self.pruner)
        for outcome in execute(prepared.plan, context):
            self._recording.add(outcome)
            yield outcome

    def _scoring(self, bound: Bound, stage: str) -> Bound:
        """Return the jobs with the calls of a stage, one for each point; nothing is chosen among these."""
        calls = ((job, scoring_call(call, stage)) for job, call in bound.calls)
        objective = bound.settings.objective if stage == self.stage else Objective(then="all")
        settings = replace(bound.settings, objective=objective)
        return replace(bound, settings=settings, calls=tuple((job, call) for job, call in calls if call))

    def _measured(self, call: Call, keys: Mapping[str, str]) -> dict[str, float]:
        """The numbers that constraints limit, from the stored results of a trial; those that failed are missing."""
        found: dict[str, float] = {}
        for stage, names in self.limited.items():
            own = scoring_call(call, stage)
            if own is None or own.returns is None or not self._store.has(keys[stage]):
                continue
            found |= limited_numbers(stage, names, open_result(self._store.root, keys[stage], own.returns))
        return found

    def _result(self, job: int, call: Call, keys: Mapping[str, str], outcomes: Sequence[Outcome]) -> Result:
        key = keys[self.stage]
        own = [outcome for outcome in outcomes if job in outcome.step.jobs]
        seconds = round(sum(outcome.seconds for outcome in own), 3)
        end = next(outcome for outcome in own if outcome.step.key == key)
        if end.status in (Status.DONE, Status.STORED):
            measured = self._measured(call, keys) if self.limited else {}
            wrong = next((o for o in own if o.status is Status.FAILED and o.exit_code is not ExitCode.REFUSED), None)
            if wrong is None or not self.limited:
                return Result(key=key, metrics=end.metrics or {}, measured=measured, job=job, seconds=seconds)
            end = wrong
        if end.status is Status.PRUNED:
            return Result(key=key, job=job, seconds=seconds, is_pruned=True, error=end.reason)
        wrong = next((o for o in own if o.status is Status.FAILED), end)
        self.failed.append(wrong)
        error = wrong.error or f"{wrong.step.call.title} {wrong.status}"
        return Result(key=key, error=error, job=job, seconds=seconds)

    @property
    def config_dirs(self) -> tuple[str, ...]:
        """The additional folders of option files."""
        return self._request.config_dirs

    @property
    def recording(self) -> Recording | None:
        """The record of the run; None if nothing has been executed."""
        return self._recording

    def end(self, code: ExitCode | None, **facts: Any) -> Run:
        """Close the record; returns the finished run."""
        self.close()
        assert self._recording is not None
        return self._recording.end(interrupted=code is ExitCode.INTERRUPTED, exit_code=code, **facts)

    def close(self) -> None:
        """End the worker processes, and hold no results any more."""
        self._open.close()
        if self._runner:
            self._runner.close()
            self._runner = None


def scoring_call(call: Call, stage: str) -> Call | None:
    """Return the call of a stage among a call and those that it needs or that precede it; None if there is none."""
    if call.stage == stage and call.element is None:
        return call
    before = (*call.preceding, *(needed for name, needed in call.needs.items() if not name.endswith("]")))
    return next((found for other in before if (found := scoring_call(other, stage))), None)


def score_of(metrics: Mapping[str, float] | None, metric: str) -> float | None:
    """Return a metric; None if it is missing or no finite number."""
    value = (metrics or {}).get(metric)
    return None if value is None or not math.isfinite(value) else float(value)


def limited_numbers(stage: str, names: Sequence[str], artifact: Artifact) -> dict[str, float]:
    """Return the named numbers that an artifact has measured, with its stage: metrics, or more if it says so."""
    measured: Mapping[str, float | None] = getattr(artifact, "measured", None) or getattr(artifact, "metrics", {})
    found = {f"{stage}.{name}": measured.get(name) for name in names}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}
