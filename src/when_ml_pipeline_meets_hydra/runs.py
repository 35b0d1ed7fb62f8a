"""A run: prepared, finished, and observed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.binding.objective import notes_on
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.errors import ExitCode, first_line
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, counted
from when_ml_pipeline_meets_hydra.masking import Redactor, Unmasked
from when_ml_pipeline_meets_hydra.planning.plan import Plan
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.job import Composed
    from when_ml_pipeline_meets_hydra.contracts import Artifact
    from when_ml_pipeline_meets_hydra.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A composed, bound, planned and checked run; nothing has been executed.

    ``hydra`` is Hydra's own config, unresolved; ``search_path`` the folders and packages of the option files,
    ``checkouts`` the folders that were read of config stores, by their entries.
    ``is_constant``: the same request composes the same configs as long as files and environment variables do not
    change. ``unused`` are the overrides, and keys of a user's option files, without effect: no step of
    any job receives them; ``notes`` are sentences for the user. ``search`` describes the search of which these are the
    first jobs.
    """

    request: Request
    bound: Bound
    plan: Plan
    hydra: Mapping[str, Any]
    search_path: tuple[str, ...]
    checkouts: Mapping[str, str]
    is_constant: bool
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()
    search: str | None = None

    @classmethod
    def of(cls, request: Request, composed: Composed, bound: Bound, plan: Plan) -> Prepared:
        """Return the run that was composed, bound and planned."""
        return cls(
            request=request,
            bound=bound,
            plan=plan,
            hydra=composed.hydra,
            search_path=composed.search_path,
            checkouts=composed.checkouts,
            is_constant=composed.is_constant,
            unused=bound.unused,
            notes=(
                *composed.notes,
                *request.repeated(),
                *notes_on(bound),
                *filter(None, [bound.settings.note_on_prefixes]),
            ),
        )

    def joined(self, others: Sequence[Prepared]) -> Prepared:
        """Return it with the jobs and the steps of ``others``."""
        if not others:
            return self
        from dataclasses import replace

        everything = (self, *others)
        calls = tuple(call for prepared in everything for call in prepared.bound.calls)
        steps = {step.key: step for prepared in everything for step in prepared.plan.steps}
        requested = {n: key for prepared in everything for n, key in prepared.plan.requested.items()}
        plan = Plan(steps=tuple(steps.values()), requested=requested)
        return replace(self, bound=replace(self.bound, calls=calls), plan=plan)

    @property
    def home(self) -> Path:
        """The folder of the store and of the records."""
        return self.bound.settings.home

    @property
    def store(self) -> Store:
        """The store of its results."""
        from when_ml_pipeline_meets_hydra.storage.store import Store

        return Store(self.home / "store")

    @property
    def shown_redactor(self) -> Redactor:
        """The redactor of terminal output; in files, secrets are always masked."""
        return Unmasked() if self.bound.settings.show_secrets else self.bound.redactor


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: the outcome of each step, the record, and the exit code of the process."""

    prepared: Prepared
    record: Record
    outcomes: tuple[Outcome, ...]
    exit_code: ExitCode

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics, ``<stage>.<metric>`` → value."""
        return self.record.metrics

    def artifact(self, stage: str) -> Artifact:
        """Return the artifact of the last step of ``stage``. Raises ``KeyError`` if there is none."""
        for outcome in reversed(self.outcomes):
            call = outcome.step.call
            if call.stage == stage and call.element is None and outcome.artifact:
                return outcome.artifact
        raise KeyError(stage)


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """Where a search stands: ``ended`` and ``failed`` trials, and of how many (None: another budget ends it).

    ``best`` is the best score so far as text, ``validation.r2=0.87 of trial 3``; ``deadline`` the ``time.monotonic()``
    after which no further trial starts, and ``pace`` the mean seconds of this run per trial.
    """

    ended: int
    failed: int
    most: int | None
    best: str | None
    deadline: float | None
    pace: float | None

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds that the search still takes at most; None if only trials without a better one end it."""
        by_time = None if self.deadline is None else max(self.deadline - now, 0.0)
        by_count = None if self.most is None or self.pace is None else max(self.most - self.ended, 0) * self.pace
        return min((left for left in (by_time, by_count) if left is not None), default=None)

    @property
    def count(self) -> str:
        """The number of ended trials: ``12 of 25 trials``."""
        if self.most is None:
            return counted(self.ended, "trial")
        return f"{self.ended} of {counted(self.most, 'trial')}"


class RunObserver(Observer):
    """Receives the events of a run and of its steps. Override the methods of interest; by default they do nothing."""

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """Planned and checked, nothing has been executed yet. ``folder`` is that of the run's record."""

    def jobs_added(self, prepared: Prepared) -> None:
        """Further jobs of a search have been planned and checked."""

    def search_continues(self, state: SearchState) -> None:
        """A search has begun, or trials have ended."""

    def run_ended(self, run: Run) -> None:
        """All steps have ended and the record is closed."""


class ProgramObserver(RunObserver):
    """An observer of the program itself, such as its output: it is waited for, and what it raises ends the run."""


class GuardedObserver(RunObserver):
    """Passes events on to another observer, whose errors and whose slowness do not reach the run.

    The observer is called in a thread of its own, and waited for: a second for each event, two seconds and a twentieth
    of the run's time in all. After that it gets its events as it takes them. The first error, or the end of the
    waiting, is one line on stderr. ``KeyboardInterrupt`` alone is passed on: it interrupts the run.
    """

    def __init__(self, observer: RunObserver) -> None:
        from when_ml_pipeline_meets_hydra.execution.event_thread import EventThread

        self._observer, self._thread = observer, EventThread()
        self._warning: str | None = None
        self._has_warned = False

    def _pass_on(self, event: str, *arguments: Any) -> None:
        was_late = self._thread.is_late
        try:
            self._thread.call(getattr(self._observer, event), *arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            self._warning = self._warning or f"{event} raised {reason}. The run goes on"
        if self._thread.is_late and not was_late:
            self._warning = self._warning or f"{event} takes too long. The run does not wait for it any more"
        if event not in _INSIDE:
            self._warn()
        if event == "run_ended":
            self._thread.close()

    def _warn(self) -> None:
        if self._warning and not self._has_warned:
            self._has_warned = True
            kind = type(self._observer)
            with suppress(OSError, ValueError, AttributeError):  # closed, or none
                sys.stderr.write(f"The observer {kind.__module__}.{kind.__qualname__} fails: {self._warning}\n")


_INSIDE = {"step_progress", "step_reported", "step_printed"}  # while they come, stderr is the output of the step


def _passed_on(event: str) -> Callable[..., None]:
    def method(self: GuardedObserver, *arguments: Any) -> None:
        self._pass_on(event, *arguments)

    return method


for _event in [name for kind in (Observer, RunObserver) for name in vars(kind) if not name.startswith("_")]:
    setattr(GuardedObserver, _event, _passed_on(_event))


def guarded(observer: RunObserver) -> RunObserver:
    """Return an observer that cannot break a run: the program's own are as they are, others are guarded."""
    is_safe = type(observer) is RunObserver or isinstance(observer, ProgramObserver | GuardedObserver)
    return observer if is_safe else GuardedObserver(observer)
