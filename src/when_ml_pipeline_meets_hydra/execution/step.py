"""One step, computed: under its lock, with what it prints in its log, and its result stored. Works in any process."""

from __future__ import annotations

import io
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from when_ml_pipeline_meets_hydra.binding.bind import content_of
from when_ml_pipeline_meets_hydra.binding.call import Call
from when_ml_pipeline_meets_hydra.binding.keys import follows
from when_ml_pipeline_meets_hydra.contracts import Artifact, Fingerprinted
from when_ml_pipeline_meets_hydra.errors import ExitCode, PipelineError, StepFailed
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.planning.plan import Action, Step
from when_ml_pipeline_meets_hydra.storage.locks import Held
from when_ml_pipeline_meets_hydra.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that computing one step needs; it can be pickled.

    ``received`` are the artifacts that the step names, ``out`` is the folder for its files where they are not stored,
    ``context`` is entered around the call of its function, and ``patience`` is how long (in s) it may wait for a run
    that is computing the same step.
    """

    step: Step
    received: Mapping[str, Artifact]
    store: Store
    run_id: str
    log: Path
    out: Path
    redactor: Redactor
    shown_redactor: Redactor
    context: AbstractContextManager[object]
    patience: float = 0


@dataclass(frozen=True, kw_only=True)
class Busy:
    """Another run is computing the step; ``holder`` says which, or is empty where that is not known yet."""

    task: Task
    holder: str


def compute(task: Task, observer: Observer) -> Outcome | Busy:
    """Compute a step, or take its result from the store where another run has put it meanwhile.

    Raises nothing that its function raises, not even ``KeyboardInterrupt``: all that is in the outcome.
    """
    started = time.perf_counter()
    try:
        return _compute(task, observer, started)
    except Held as held:
        return Busy(task=task, holder=held.holder)
    except KeyboardInterrupt:
        return interrupted(task, started)
    except PipelineError as error:
        return failure(task, str(error), Status.FAILED, error.exit_code, started)
    except (Exception, SystemExit) as error:
        append(task, traceback.format_exc())
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        return failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, started)


def failure(task: Task, error: str, status: Status, code: ExitCode, started: float) -> Outcome:
    """The outcome of a task that ended badly; ``error`` is masked, and stands at the end of the step's log."""
    append(task, error + "\n")
    return unfinished(task, error, status, code, started)


def unfinished(task: Task, error: str, status: Status, code: ExitCode, started: float) -> Outcome:
    """The same, where the log says it already."""
    return Outcome(
        step=task.step,
        status=status,
        reason=task.step.reason,
        seconds=time.perf_counter() - started,
        error=task.redactor.text(error),
        exit_code=code,
        log=written(task.log),
    )


def interrupted(task: Task, started: float) -> Outcome:
    """The outcome of a task that was not let to its end."""
    return failure(task, "interrupted", Status.INTERRUPTED, ExitCode.INTERRUPTED, started)


def append(task: Task, text: str) -> None:
    """Append to the log of a task, masked. Where that is not possible, the log is not what matters."""
    with suppress(OSError):
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with task.log.open("a", encoding="utf-8") as stream:
            stream.write(task.redactor.text(text))


def written(log: Path) -> Path | None:
    """The log, where something was written into it."""
    return log if log.exists() else None


def _stored(step: Step, store: Store, reason: str) -> Outcome:
    """The outcome of a step whose result is there. Raises ``StoreError`` where it is damaged."""
    assert step.call.returns is not None
    artifact = store.load(step.key, step.inputs, step.call.returns)
    return Outcome(step=step, status=Status.STORED, reason=reason, metrics=_metrics(artifact), artifact=artifact)


def _compute(task: Task, observer: Observer, started: float) -> Outcome | Busy:
    step, store = task.step, task.store
    if step.action is Action.STORED:
        return _stored(step, store, step.reason)
    if not step.is_storable:
        if "checkpoints" in step.call.specials:
            raise StepFailed("its parameter 'checkpoints' is for steps whose result is stored")
        if "out" in step.call.specials:
            task.out.mkdir(parents=True, exist_ok=True)
        return _done(task, started, _call(task, observer, task.out))
    assert step.call.returns is not None
    if "run_id" in step.call.specials:
        raise StepFailed("its parameter 'run_id' is for effects: what is stored belongs to no run")
    with store.lock(step.key, task.run_id, patience=task.patience):
        if store.has(step.key) and not step.is_forced:
            return _stored(step, store, "another run computed it meanwhile")
        artifact = store.put(
            step.key, step.inputs, step.call.returns, lambda out: _call_on_same_data(task, observer, out), task.log
        )
    return _done(task, started, artifact)


def _done(task: Task, started: float, artifact: Any) -> Outcome:
    return Outcome(
        step=task.step,
        status=Status.DONE,
        reason=task.step.reason,
        seconds=time.perf_counter() - started,
        metrics=_metrics(artifact),
        log=written(task.log),
        artifact=artifact if isinstance(artifact, Artifact) else None,
    )


def _call_on_same_data(task: Task, observer: Observer, out: Path) -> Any:
    """Call the function; of other data than the key tells neither a result nor checkpoints are kept."""
    try:
        artifact = _call(task, observer, out)
    except BaseException:
        if _changed_data(task.step.call):
            task.store.forget_checkpoints(task.step.key)
        raise
    if name := _changed_data(task.step.call):
        task.store.forget_checkpoints(task.step.key)
        raise StepFailed(f"{name}: its data changed while they were read. The same command goes on with the new ones")
    return artifact


def _changed_data(call: Call) -> str | None:
    """The name of an option whose data are others than the key tells."""
    for name, value in call.arguments.items():
        if follows(value, Fingerprinted):
            with suppress(PipelineError, OSError):
                if call.keyed.get(content_of(name)) == value.fingerprint():
                    continue
            return name
    return None


def _call(task: Task, observer: Observer, out: Path) -> Any:
    """Call the function with exactly what it names; what it prints goes to its log and to the observer."""
    call = task.step.call

    def progress(done: float, total: float | None = None, message: str = "") -> None:
        observer.step_progress(task.step, done, total, message)

    checkpoints = task.store.checkpoints(task.step.key)
    special = {"out": out, "progress": progress, "checkpoints": checkpoints, "run_id": task.run_id}
    named = {name: special[name] for name in call.specials}
    if "checkpoints" in named:
        checkpoints.mkdir(parents=True, exist_ok=True)
    printed = Printing(task, observer)
    with printed, redirect_stdout(printed), redirect_stderr(printed), task.context:
        return call.function(**call.arguments, **task.received, **named)


class Printing(io.TextIOBase):
    """Takes what a step prints, line by line so that a secret is seen whole, to the log and to the observer."""

    def __init__(self, task: Task, observer: Observer) -> None:
        self._task, self._observer, self._rest = task, observer, ""
        self._log: TextIO | None = None

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take some text; it is passed on when its line is whole."""
        if self.closed:  # somebody kept it beyond the step: a log handler, a thread
            return sys.stderr.write(text) if sys.stderr is not self else len(text)
        self._rest += text
        lines, newline, self._rest = self._rest.rpartition("\n")
        if newline:
            self._pass_on(lines + newline)
        return len(text)

    def flush(self) -> None:
        """Every line is passed on as soon as it is whole."""

    def close(self) -> None:
        """Pass on what is left."""
        if not self.closed:
            with ExitStack() as ends:
                ends.callback(super().close)
                if self._rest:
                    self._pass_on(self._rest + "\n")
                    self._rest = ""
                if self._log:
                    self._log.close()

    def _pass_on(self, text: str) -> None:
        if self._log is None:
            self._task.log.parent.mkdir(parents=True, exist_ok=True)
            self._log = self._task.log.open("a", encoding="utf-8")
        self._log.write(self._task.redactor.text(text))
        self._log.flush()
        self._observer.step_printed(self._task.step, self._task.shown_redactor.text(text))


def _metrics(artifact: Any) -> Mapping[str, float] | None:
    found = getattr(artifact, "metrics", None)
    return dict(found) if isinstance(found, Mapping) else None
