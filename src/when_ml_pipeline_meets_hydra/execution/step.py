"""Compute one step, in any process: under its lock, with its output in a log, and its result in the store."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from when_ml_pipeline_meets_hydra.binding.call import Call, content_of, gathered
from when_ml_pipeline_meets_hydra.binding.keys import implements
from when_ml_pipeline_meets_hydra.contracts import Approval, Artifact, Fingerprinted
from when_ml_pipeline_meets_hydra.errors import ExitCode, PipelineError, Pruned, Refused, StepFailed, shortened
from when_ml_pipeline_meets_hydra.execution.anchoring import anchored
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.output import StepOutput
from when_ml_pipeline_meets_hydra.execution.progress import Answer, StepProgress
from when_ml_pipeline_meets_hydra.execution.results import without_secrets
from when_ml_pipeline_meets_hydra.execution.surroundings import restored
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.planning.plan import Action, Step, comparable
from when_ml_pipeline_meets_hydra.storage.approvals import refusal_of, write_verdict
from when_ml_pipeline_meets_hydra.storage.locks import LockHeld
from when_ml_pipeline_meets_hydra.storage.results import facts_to_store, wrong_fields
from when_ml_pipeline_meets_hydra.storage.shared_files import share
from when_ml_pipeline_meets_hydra.storage.store import Store

MOST_OF_ERROR, MOST_OF_LOG = 2_000, 100_000  # characters of an error message, and of a traceback in a log


@dataclass(frozen=True, kw_only=True)
class Task:
    """The input of ``compute``; it can be pickled, without ``answer``.

    ``received`` are the artifacts that the step needs, by parameter; ``out`` is the folder for the files of a step that
    is not stored; ``context`` is entered around the call of the function; ``patience`` is the time (s) to wait for
    another run that is computing the same step; relative paths of arguments start at ``started_in``; ``captures``: also
    what file descriptors 1 and 2 receive is the step's output (the parent of a worker reads these); ``answer`` decides
    about partial scores (None: nobody does).
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
    captures: bool = True
    started_in: str = field(default_factory=os.getcwd)
    answer: Answer | None = None

    @property
    def written_log(self) -> Path | None:
        """The log; None if nothing was written."""
        return self.log if self.log.exists() else None


@dataclass(frozen=True, kw_only=True)
class Locked:
    """Result of ``compute`` if another run holds the step's lock; ``holder`` is its id, empty if not known yet."""

    task: Task
    holder: str


def compute(task: Task, observer: Observer) -> Outcome | Locked:
    """Compute a step, or load its result if another run has stored it meanwhile.

    Exceptions of its function, even ``KeyboardInterrupt``, are not raised but returned as the outcome.
    """
    progress = StepProgress(task.step, observer, task.answer)
    found = _outcome(task, observer, progress)
    if isinstance(found, Outcome) and (scores := progress.partial_scores):
        return replace(found, partial_scores=scores)
    return found


def _outcome(task: Task, observer: Observer, progress: StepProgress) -> Outcome | Locked:
    started = time.perf_counter()
    try:
        return _compute(task, observer, progress, started)
    except LockHeld as held:
        return Locked(task=task, holder=held.holder)
    except KeyboardInterrupt:
        return log_interruption(task, started)
    except _Stopped as stopped:
        seconds = time.perf_counter() - started
        status, log = Status.PRUNED, task.written_log
        return Outcome(step=task.step, status=status, reason=str(stopped), seconds=seconds, log=log)
    except Pruned:
        text = "it raised Pruned, although progress.report has not returned True"
        return log_failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, started)
    except PipelineError as error:
        return log_failure(task, str(error), Status.FAILED, error.exit_code, started)
    except BaseException as error:  # a panic of a library in Rust, too
        append_to_log(task, traceback.format_exc())
        return log_failure(task, _described(error), Status.FAILED, ExitCode.STEP_FAILED, started)


class _Stopped(Exception):
    """A step has ended after it was told to stop; its message is the reason."""


def _described(error: BaseException) -> str:
    try:
        if isinstance(error, ValidationError):  # of an artifact, or another class of pydantic's
            return f"{error.title}: {wrong_fields(error)}"
        return f"{type(error).__name__}: {error}".rstrip(": ")
    except Exception:  # the exception of a user may raise another one when it is shown
        return f"{type(error).__name__}, which cannot be shown"


def log_failure(task: Task, error: str, status: Status, code: ExitCode, started: float) -> Outcome:
    """Append an error to the step's log (masked), and return the outcome of the failed task."""
    append_to_log(task, error + "\n")
    return failed(task, error, status, code, started)


def failed(task: Task, error: str, status: Status, code: ExitCode, started: float) -> Outcome:
    """Return the outcome of a failed task, whose log has the error already."""
    return Outcome(
        step=task.step,
        status=status,
        reason=task.step.reason,
        seconds=time.perf_counter() - started,
        error=shortened(task.redactor.text(error), MOST_OF_ERROR),
        exit_code=code,
        log=task.written_log,
    )


def log_interruption(task: Task, started: float) -> Outcome:
    """Append the interrupt to the step's log, and return the outcome of the interrupted task."""
    return log_failure(task, "interrupted", Status.INTERRUPTED, ExitCode.INTERRUPTED, started)


def append_to_log(task: Task, text: str) -> None:
    """Append masked text, at most 100,000 characters, to the log of a task; errors of the file system are ignored."""
    with suppress(OSError):
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with task.log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(shortened(task.redactor.text(text), MOST_OF_LOG))


def _stored(task: Task, reason: str, started: float) -> Outcome:
    """Load a stored result and return its outcome. Raises ``StoreError`` if it is damaged."""
    step = task.step
    assert step.call.returns is not None
    return _ended(task, Status.STORED, reason, started, task.store.load(step.key, step.inputs, step.call.returns))


def _compute(task: Task, observer: Observer, progress: StepProgress, started: float) -> Outcome | Locked:
    step, store = task.step, task.store
    if step.action is Action.STORED:
        return _stored(task, step.reason, started)
    if not step.is_storable:
        if "checkpoints" in step.call.specials:
            raise StepFailed("its parameter 'checkpoints' is for steps whose result is stored")
        if step.call.is_effect and (refusal := refusal_of(store.root, step.needs.values())):
            stage = refusal.by.partition(" ")[0]
            remedy = f"Change the model or the gates, and run c={stage} again"
            raise Refused(stage, f"the newest verdict on this model is a refusal: {refusal.why}. {remedy}")
        if "out" in step.call.specials:
            task.out.mkdir(parents=True, exist_ok=True)
        try:
            result = without_secrets(_call(task, observer, progress, task.out), task.out, task.redactor)
            if isinstance(result, Artifact):
                facts_to_store(result, type(result))  # raises if a field has a wrong value
        finally:
            share(task.out, store.root)  # equal bundles of several deployments take the room of one
        return _ended(task, Status.DONE, step.reason, started, result)
    assert step.call.returns is not None
    if "run_id" in step.call.specials:
        raise StepFailed("its parameter 'run_id' is for effects: what is stored belongs to no run")
    with store.lock(step.key, task.run_id, patience=task.patience):
        if store.has(step.key) and not step.is_forced and not store.damage(step.key):
            return _stored(task, "another run computed it meanwhile", started)
        artifact = store.put(
            step.key,
            step.inputs,
            step.call.returns,
            lambda out: _call_on_same_data(task, observer, progress, out),
            task.log,
            latest=comparable(step.call),
        )
    return _ended(task, Status.DONE, step.reason, started, artifact)


def _ended(task: Task, status: Status, reason: str, started: float, artifact: Any) -> Outcome:
    """Return the outcome of a step that returned; one that refuses the artifacts that it received has failed."""
    refusal = None
    if isinstance(artifact, Approval):
        refusal, judged = artifact.refusal, {*task.step.needs.values(), task.step.key}
        write_verdict(task.store.root, judged, task.step.call.name, refusal)
    return Outcome(
        step=task.step,
        status=Status.FAILED if refusal else status,
        reason=reason,
        seconds=0.0 if status is Status.STORED else time.perf_counter() - started,
        metrics=_numbers(artifact, "metrics"),
        deviations=_numbers(artifact, "deviations"),
        error=task.redactor.text(refusal) if refusal else None,
        exit_code=ExitCode.REFUSED if refusal else ExitCode.DONE,
        log=task.written_log,
        artifact=artifact if isinstance(artifact, Artifact) else None,
    )


def _call_on_same_data(task: Task, observer: Observer, progress: StepProgress, out: Path) -> Any:
    """Call the function; if its data change meanwhile, discard result and checkpoints, which do not match the key."""
    try:
        artifact = _call(task, observer, progress, out)
    except BaseException as error:
        if isinstance(error, _Stopped) or _changed_data(task.step.call):
            task.store.forget_checkpoints(task.step.key)
        raise
    if name := _changed_data(task.step.call):
        task.store.forget_checkpoints(task.step.key)
        raise StepFailed(f"{name}: its data changed while they were read. The same command goes on with the new ones")
    return without_secrets(artifact, out, task.redactor)


def _changed_data(call: Call) -> str | None:
    """Return the name of an option whose fingerprint is not that of the key any more."""
    for name, value in call.arguments.items():
        if implements(value, Fingerprinted):
            with suppress(PipelineError, OSError):
                if call.keyed.get(content_of(name)) == value.fingerprint():
                    continue
            return name
    return None


def _call(task: Task, observer: Observer, progress: StepProgress, out: Path) -> Any:
    """Call the function with the parameters that it has; its output goes to the log and to the observer.

    Raises ``StoreError`` if a file of an artifact that it receives is not the one that was stored, and ``_Stopped``,
    whatever the function returns or raises, if it was told to stop.
    """
    call = task.step.call
    for artifact in task.received.values():
        task.store.confirm(artifact)

    checkpoints = task.store.checkpoints(task.step.key)
    special = {"out": out, "progress": progress, "checkpoints": checkpoints, "run_id": task.run_id}
    named = {name: special[name] for name in call.specials}
    if "checkpoints" in named:
        checkpoints.mkdir(parents=True, exist_ok=True)
    printed = StepOutput(task, observer)
    with printed.redirected(), restored(printed.write), task.context:
        is_there = os.getcwd() == task.started_in  # noqa: PTH109 - of every step
        arguments = call.arguments if is_there else anchored(call.arguments, task.started_in)
        try:
            result = _called_here(call.function, {**arguments, **gathered(call.function, task.received), **named})
        except Exception as error:
            if progress.stopped is None:
                raise
            raise _Stopped(progress.stopped) from error
    if progress.stopped is not None:
        raise _Stopped(progress.stopped)
    return result


def _called_here(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function; a process that it forks, and that comes back from it as well, ends here."""
    process, error, result = os.getpid(), None, None
    try:
        result = function(**arguments)
    except BaseException as found:
        if os.getpid() == process:
            raise
        error = found
    if os.getpid() != process:
        _end_copy(error)
    return result


def _end_copy(error: BaseException | None) -> NoReturn:
    """End a forked copy of this process, which would otherwise store a result and write the record a second time."""
    code = int(error is not None)
    with suppress(BaseException):
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            traceback.print_exception(error)
        else:
            sys.stderr.write("A process that this step forked came back from its function as well: it ends\n")
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _numbers(artifact: Any, name: str) -> Mapping[str, float] | None:
    found = getattr(artifact, name, None)
    return dict(found) if isinstance(found, Mapping) else None
