"""Search: a sampler proposes trials within a budget; the best one goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.binding.settings import OnError
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem, StepFailed, first_line
from when_ml_pipeline_meets_hydra.execution.outcomes import counted, exit_code_of, format_metric
from when_ml_pipeline_meets_hydra.runs import Run, RunObserver, guarded
from when_ml_pipeline_meets_hydra.searching.conditions import find_space, notes_on, refuse_misfits
from when_ml_pipeline_meets_hydra.searching.default_combination import beside_default, default_values
from when_ml_pipeline_meets_hydra.searching.objective import refuse_partial_scores, score_for
from when_ml_pipeline_meets_hydra.searching.progress import SearchProgress, named
from when_ml_pipeline_meets_hydra.searching.pruners import make_pruner
from when_ml_pipeline_meets_hydra.searching.reporting import Reporter
from when_ml_pipeline_meets_hydra.searching.results import Leaders, write_results
from when_ml_pipeline_meets_hydra.searching.samplers import make_sampler
from when_ml_pipeline_meets_hydra.searching.samplers.interface import Proposal, Sampler
from when_ml_pipeline_meets_hydra.searching.session import Result, Session, score_of
from when_ml_pipeline_meets_hydra.searching.settings import settings_of
from when_ml_pipeline_meets_hydra.searching.space import Value
from when_ml_pipeline_meets_hydra.searching.study import Study, Trial
from when_ml_pipeline_meets_hydra.searching.warm_start import known_trials


def search(
    overrides: Sequence[str], *, config_dirs: Sequence[str | Path] = (), observer: RunObserver | None = None
) -> Run:
    """Search for the best combination, and run what was requested with it; returns the finished ``Run``.

    ``overrides`` follow Hydra's grammar: ``["c=modeling", "hydra/sweeper=optuna",
    "m_param.learning_rate=tag(log,interval(0.01,0.3))"]``. Raises ``BadInput`` before anything runs.
    """
    request = Request(overrides=tuple(overrides), multirun=True, config_dirs=tuple(map(str, config_dirs)))
    session = Session(request, guarded(observer or RunObserver()))
    try:
        return _Search(session).run()
    finally:
        session.close()


class _Search:
    """One run of a search. Raises ``BadInput`` when it is made, if it cannot start."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = settings_of(session.composer.hydra["sweeper"])
        self._space, corners = find_space(session.composer.drawn, lambda points: session.problems(points)[1])
        bound = session.bind(corners)
        refuse_misfits(self._space, bound)
        session.learn_secrets(bound)
        self._score = score_for(bound, self._settings)
        if self._score.requested is None:  # with the metric a training is preceded by its validation
            session.assume_metric(self._score.metric)
            bound = session.bind(corners)
            self._score = score_for(bound, self._settings, is_assumed=True)
        session.stage, session.last_stage = self._score.stage, self._score.last_stage
        session.limited = self._score.limited
        session.n_jobs = self._settings.n_jobs
        session.check(corners)
        self._reporter = Reporter(session, self._settings, self._space, self._score, bound)
        self._home = bound.settings.home
        self._study = Study(self._home, self._name, self._identity(bound))
        session.pruner = self._pruner = make_pruner(self._settings.pruner)
        refuse_partial_scores(self._score, self._settings)
        session.objective = self._score.objective
        session.search = f"Searching with {self._settings.library}: {self._settings.budget}, study {self._study.name}"
        self._sampler: Sampler | None = None
        self._known: set[int] = set()  # the trials that the sampler knows
        self._told: set[int] = set()
        self._results: dict[tuple[str, ...], Result] = {}  # of this run, by point
        self._leaders = Leaders(self._score)
        self._since_best = 0
        self._progress = SearchProgress(self._score, self._settings)
        self._started = time.monotonic()

    @property
    def _best(self) -> Trial | None:
        """The best trial so far, which goes on."""
        return self._leaders.best

    @property
    def _name(self) -> str:
        return self._settings.study_name or self._settings.library

    def _identity(self, bound: Bound) -> dict[str, Any]:
        """What makes a study: the space, data, code and options behind the scores, and the sampler."""
        keys = [key for stage in (None, self._score.last_stage) for key in self._session.keys(bound, stage)]
        space = [d.content for d in self._space.dimensions]
        return {"space": space, "keys": keys, **self._score.identity, **self._settings.identity}

    def run(self) -> Run:
        """Run trials until the budget is used, and everything that was requested with the best one."""
        for note in (*self._settings.notes, self._score.note, *notes_on(self._space)):
            if note:
                self._session.observer.note(note)
        if not self._study.folder.is_dir():
            _ = self._ready_sampler  # refuses its options before anything is written
        if self._study.is_another and self._settings.study_name:
            self._session.observer.note(f"Note: the space, data or code of study {self._name} differ: a new one begins")
        with self._study:
            try:
                ended: list[Trial] = []
                while batch := self._next(ended):
                    ended = self._run(batch)
                    if self._fails_too_often(ended):
                        return self._stopped(ended)
                if not ended:
                    text = f"The study has {counted(self._study.count, 'trial')}, and the budget allows no further one"
                    self._session.observer.note(text)
                return self._afterwards()
            except KeyboardInterrupt:
                if self._session.recording is None:
                    raise
                return self._close(ExitCode.INTERRUPTED)
            except Exception as error:
                if self._session.recording:
                    self._session.end(getattr(error, "exit_code", ExitCode.STEP_FAILED), **self._facts())
                raise

    def _next(self, ended: Sequence[Trial]) -> list[Trial]:
        """The next trials to run: those that other processes have left, then new ones; ``ended`` are the last ones."""
        study = self._study
        with study.locked():
            self._end(ended)
            self._warm_start()
            self._session.observer.search_continues(self._progress.state)
            batch = [replace(t, worker=study.worker) for t in study.abandoned][: self._settings.n_jobs]
            for trial in batch:
                study.put(trial)
            if study.count == 0 and len(batch) < self._room(len(batch)) and (values := self._default()):
                batch.append(Trial(number=0, values=values, worker=study.worker))
                study.put(batch[-1])
                if self._sampler:
                    self._inform(batch[-1])
            while len(batch) < self._room(len(batch)) and (proposal := self._proposed(study.count)):
                values = self._space.known(proposal.values)
                batch.append(Trial(number=study.count, values=values, memo=proposal.memo, worker=study.worker))
                study.put(batch[-1])
            study.write()
        return batch

    def _default(self) -> dict[str, Value] | None:
        """The values of the first trial, if it is the default combination."""
        return default_values(self._session, self._space) if self._settings.begins_with_default else None

    def _warm_start(self) -> None:
        """Put results of earlier runs into the study, once."""
        if not self._settings.warm_start or any(number < 0 for number in self._study.trials):
            return
        self._settings = replace(self._settings, warm_start=False)
        known = known_trials(self._home, self._session, self._space)
        for trial in known:
            self._study.put(trial)
        self._learn(known)
        if best := self._best if known else None:
            score = format_metric(score_of(best.metrics, self._score.metric) or 0.0)
            text = f"{len(known)} results of earlier runs are known: the best is {self._score.whole}={score}"
            self._session.observer.note(text)

    def _end(self, ended: Sequence[Trial]) -> None:
        """Learn what other processes have written, then the trials that have ended here."""
        self._learn(self._study.refresh())
        for trial in ended:
            self._study.put(trial)
            self._learn([trial])
            self._progress.own += 1
            self._session.observer.note(self._progress.line(trial))

    def _room(self, begun: int) -> int:
        """How many trials the batch may have."""
        settings, elapsed = self._settings, time.monotonic() - self._started
        most = settings.n_jobs
        if settings.most_trials is not None:
            most = min(most, begun + settings.most_trials - self._study.count)
        is_late = settings.timeout is not None and elapsed >= settings.timeout
        is_patient = settings.patience is None or self._since_best < settings.patience
        return begun if is_late or not is_patient else most

    def _proposed(self, number: int) -> Proposal | None:
        sampler = self._ready_sampler
        try:
            proposal = sampler.ask(number)
        except Exception as error:  # the libraries have errors of their own
            message = f"the sampler {self._settings.library} failed ({type(error).__name__}: {first_line(error)})"
            raise StepFailed(message) from error
        self._known.add(number)
        return proposal

    @property
    def _ready_sampler(self) -> Sampler:
        """The sampler, made when the first trial is to be proposed: a finished study needs none."""
        if self._sampler is None:
            score = self._score
            objectives, constraints = len(score.goals), len(score.constraints)
            self._sampler = make_sampler(
                self._settings, self._space, self._settings.seed or 0, objectives=objectives, constraints=constraints
            )
            for number in sorted(self._study.trials):
                self._inform(self._study.trials[number])
        return self._sampler

    def _learn(self, trials: Sequence[Trial]) -> None:
        """Take over what this process, or another one, has written."""
        for trial in trials:
            if trial.has_ended:
                self._compare(trial)
                if self._pruner and trial.worker != self._study.worker and not trial.is_pruned:
                    self._pruner.add(trial.reports)
            if self._sampler:
                self._inform(trial)

    def _inform(self, trial: Trial) -> None:
        assert self._sampler is not None
        if trial.number not in self._known:
            self._known.add(trial.number)
            self._sampler.add(trial.number, Proposal(values=trial.values, memo=trial.memo))
        if trial.has_ended and trial.number not in self._told:
            self._told.add(trial.number)
            if last := trial.last_report:
                self._sampler.prune(trial.number, *last)
            else:
                self._sampler.tell(trial.number, self._score.scores(trial))

    def _compare(self, trial: Trial) -> None:
        if self._score.settle(trial.metrics):
            self._session.assume_metric(self._score.metric)
        self._session.objective = self._score.objective
        self._progress.count(trial)
        is_better = self._leaders.add(trial)
        self._progress.front = self._leaders.front
        self._since_best = 0 if is_better or trial.number < 0 else self._since_best + 1

    def _run(self, batch: Sequence[Trial]) -> list[Trial]:
        """Run trials; returns them with their results."""
        points = {trial.number: self._space.lines(trial.values) for trial in batch}
        new = [p for p in dict.fromkeys(points.values()) if p not in self._results]
        self._results |= zip(new, self._session.run(new), strict=True) if new else ()
        run = self._session.recording.folder.name if self._session.recording else None
        ended = [self._results[points[trial.number]].end(trial, run) for trial in batch]
        return [self._with_reports(trial) for trial in ended]

    def _with_reports(self, trial: Trial) -> Trial:
        if self._pruner is None or trial.job is None:
            return trial
        return replace(
            trial,
            reports=self._pruner.ended(trial.job, has_score=score_of(trial.metrics, self._score.metric) is not None),
        )

    def _fails_too_often(self, ended: Sequence[Trial]) -> bool:
        if self._best is None and (lacking := self._score.lacking(ended)):
            message = f"The search ends: no trial has {lacking[0]}. They have {', '.join(lacking[1])}"
            self._session.observer.note(message)
            return True
        most = self._settings.max_failure_rate
        if most is None and self._session.on_error is OnError.STOP:
            most = 0.0
        failed = sum(t.metrics is None and not t.is_pruned for t in ended)
        if most is None or failed / len(ended) <= most:
            return False
        share = f"{failed} of {counted(len(ended), 'trial')} of a batch failed"
        is_given = self._settings.max_failure_rate is not None
        limit = f"hydra.sweeper.max_failure_rate={most:g}" if is_given else "on_error=stop"
        self._session.observer.note(f"The search ends: {share} ({limit})")
        return True

    def _stopped(self, ended: Sequence[Trial]) -> Run:
        """End the search because of failed trials; ``ended`` are the last ones. Nothing goes on."""
        with self._study.locked():
            self._end(ended)
            self._study.write()
        if self._session.recording is None:
            raise self._nothing_ran(ended)
        return self._close(exit_code_of(self._session.failed) or ExitCode.STEP_FAILED)

    def _afterwards(self) -> Run:
        """Run everything that was requested with the best trial."""
        with self._study.locked():
            self._learn(self._study.refresh())
            others = self._study.running
        best, session = self._best, self._session
        if best is None:
            return self._without_score()
        if others and session.recording is None:
            message = f"all trials of study {self._study.name} are taken: another process runs {len(others)} of them"
            remedy = "It goes on with the best; run this command again when it has ended"
            raise BadInput(Problem(key="hydra/sweeper", value=self._settings.library, message=message, remedy=remedy))
        if others:
            session.observer.note(f"Another process runs {counted(len(others), 'trial')}, and goes on with the best")
            code: ExitCode | None = ExitCode.DONE
        else:
            self._note_choice(best)
            session.run_whole(self._space.lines(best.values))
            code = exit_code_of(session.last)
        if session.recording:
            folder = session.recording.sweep_folder
            write_results(folder, self._settings.library, self._score, self._leaders.front)
        return self._close(code)

    def _note_choice(self, best: Trial) -> None:
        """Report which of several best trials goes on, and whether it is better than the default combination."""
        score, session, count = self._score, self._session, len(self._leaders.front)
        if score.further:
            names = " and ".join(f"{score.stage}.{name}" for name in score.goals)
            front = f"{counted(count, 'trial')} on the Pareto front of {names}"
            session.observer.note(f"{front}: the best in {score.whole}, {named(best)}, goes on")
        if text := beside_default(session, score, self._home, best):
            session.observer.note(text)

    def _nothing_ran(self, trials: Sequence[Trial]) -> BadInput:
        """The problem of a search that ends without a score and without a step that was executed."""
        errors = list(dict.fromkeys(t.error or f"it has no {self._score.whole}" for t in trials))
        message = f"none of {counted(len(trials), 'trial')} has a score: {errors[0] if errors else 'none ran'}"
        return BadInput(Problem(key="hydra/sweeper", value=self._settings.library, message=message))

    def _without_score(self) -> Run:
        if self._session.recording is None:
            raise self._nothing_ran(self._study.ended)
        count, broken = counted(self._study.count, "trial"), [t for t in self._study.ended if self._score.broken(t)]
        if broken and not self._session.failed:
            self._session.observer.note(f"None of {count} keeps to the constraints, so none goes on")
            return self._close(ExitCode.REFUSED)
        self._session.observer.note(f"None of {count} has a score{' and keeps to the constraints' * bool(broken)}")
        return self._close(exit_code_of(self._session.failed) or ExitCode.STEP_FAILED)

    def _close(self, code: ExitCode | None) -> Run:
        """Write the report, and end the run."""
        recording = self._session.recording
        assert recording is not None
        facts = self._facts()
        try:
            facts["study"]["report"] = str(self._reporter.write(recording, self._study))
        except OSError as error:
            message = f"Note: the report could not be written ({error.strerror}: {error.filename})"
            self._session.observer.note(message)
        return self._session.end(code, **facts)

    def _facts(self) -> dict[str, Any]:
        """What the record says of the search."""
        return self._reporter.facts(self._study, self._leaders, self._session.whole)
