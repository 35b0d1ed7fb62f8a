"""Steps → outcomes, one after the other in this process: stored, or computed under a lock."""

from __future__ import annotations

import io
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from when_ml_pipeline_meets_hydra.bind import Call, content_of
from when_ml_pipeline_meets_hydra.contracts import Artifact, Fingerprinted
from when_ml_pipeline_meets_hydra.errors import ExitCode, PipelineError, StepFailed
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.plan import Action, Plan, Step
from when_ml_pipeline_meets_hydra.store import Store


class Status(StrEnum):
    """What became of a step."""

    DONE = "done"
    STORED = "stored"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one step; ``error`` is one message, the whole of it is in ``log``."""

    step: Step
    status: Status
    reason: str
    seconds: float = 0.0
    metrics: Mapping[str, float] | None = None
    error: str | None = None
    exit_code: ExitCode = ExitCode.DONE
    log: Path | None = None
    artifact: Artifact | None = None


class Observer:
    """Is told what happens while it happens; this one keeps silent. The core itself prints nothing."""

    def step_started(self, step: Step) -> None:
        """A step that is to run comes next."""

    def step_waits(self, step: Step, holder: str) -> None:
        """Another process is computing the same step."""

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """How far a step has come."""

    def step_printed(self, step: Step, text: str) -> None:
        """A step printed whole lines (secrets masked)."""

    def step_ended(self, outcome: Outcome) -> None:
        """A step is done, was stored already, failed or was skipped."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What execution needs besides the plan: where to store and log, whom to tell, what to mask."""

    store: Store
    run_id: str
    folder: Path
    observer: Observer
    redactor: Redactor
    shown_redactor: Redactor


def execute(plan: Plan, around: Surroundings) -> Iterator[Outcome]:
    """Run the steps of a plan in order. A step that fails makes those that come after it in its combination skipped."""
    outcomes: dict[str, Outcome] = {}
    for step in plan.steps:
        if step.action is Action.NOT_NEEDED:
            continue
        outcome = _skipped(step, outcomes) or _finish(step, outcomes, around)
        outcomes[step.key] = outcome
        around.observer.step_ended(outcome)
        yield outcome
        if outcome.status is Status.INTERRUPTED:
            return


def _skipped(step: Step, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    for key in step.after:
        if (before := outcomes.get(key)) and before.status in (Status.FAILED, Status.SKIPPED):
            return Outcome(step=step, status=Status.SKIPPED, reason=f"{before.step.call.name} {before.status}")
    return None


def _finish(step: Step, outcomes: Mapping[str, Outcome], around: Surroundings) -> Outcome:
    log = around.folder / "logs" / f"{step.call.stage}-{step.key[:12]}.log"
    started = time.perf_counter()
    try:
        if step.action is Action.STORED:
            return _stored(step, around, step.reason)
        around.observer.step_started(step)
        outcome = _run(step, outcomes, around, log)
    except KeyboardInterrupt:
        return _failure(step, "interrupted", log, Status.INTERRUPTED, ExitCode.INTERRUPTED, started)
    except PipelineError as error:
        return _failure(step, around.redactor.text(str(error)), log, Status.FAILED, error.exit_code, started)
    except (Exception, SystemExit) as error:
        _append(log, around.redactor.text(traceback.format_exc()))
        text = around.redactor.text(f"{type(error).__name__}: {error}".rstrip(": "))
        return _failure(step, text, log, Status.FAILED, ExitCode.STEP_FAILED, started)
    return outcome


def _failure(step: Step, error: str, log: Path, status: Status, code: ExitCode, started: float) -> Outcome:
    seconds = time.perf_counter() - started
    _append(log, error + "\n")
    return Outcome(step=step, status=status, reason=step.reason, error=error, exit_code=code, log=log, seconds=seconds)


def _append(log: Path, text: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(text)


def _stored(step: Step, around: Surroundings, reason: str, log: Path | None = None) -> Outcome:
    assert step.call.returns is not None
    artifact = around.store.load(step.key, step.inputs, step.call.returns)
    return Outcome(
        step=step, status=Status.STORED, reason=reason, metrics=_metrics(artifact), log=log, artifact=artifact
    )


def _run(step: Step, outcomes: Mapping[str, Outcome], around: Surroundings, log: Path) -> Outcome:
    started = time.perf_counter()
    if not step.is_storable:
        if "checkpoints" in step.call.specials:
            raise StepFailed("its parameter 'checkpoints' is for steps whose result is stored")
        out = around.folder / "effects" / f"{step.call.stage}-{step.key[:12]}"
        if "out" in step.call.specials:
            out.mkdir(parents=True, exist_ok=True)
        artifact = _call(step, outcomes, around, log, out)
        return _done(step, started, log, artifact)
    assert step.call.returns is not None

    def waits(holder: str) -> None:
        around.observer.step_waits(step, holder)

    def compute(out: Path) -> Any:
        try:
            artifact = _call(step, outcomes, around, log, out)
        except BaseException:
            if _changed_data(step.call):
                around.store.forget_checkpoints(step.key)
            raise
        if name := _changed_data(step.call):
            around.store.forget_checkpoints(step.key)
            message = f"{name}: its data changed while they were read. The same command goes on with the new ones"
            raise StepFailed(message)
        return artifact

    with around.store.lock(step.key, {"run": around.run_id}, waits):
        if around.store.has(step.key) and not step.is_forced:
            return _stored(step, around, "another run computed it meanwhile")
        around.store.put(step.key, step.inputs, step.call.returns, compute, log)
    return _done(step, started, log, around.store.load(step.key, step.inputs, step.call.returns))


def _changed_data(call: Call) -> str | None:
    """The name of an option whose data are others than the key tells: what was made from them must not be kept."""
    for name, value in call.arguments.items():
        if isinstance(value, Fingerprinted):
            with suppress(PipelineError, OSError):
                if call.keyed.get(content_of(name)) == value.fingerprint():
                    continue
            return name
    return None


def _done(step: Step, started: float, log: Path, artifact: Any) -> Outcome:
    return Outcome(
        step=step,
        status=Status.DONE,
        reason=step.reason,
        seconds=time.perf_counter() - started,
        metrics=_metrics(artifact),
        log=log,
        artifact=artifact if isinstance(artifact, Artifact) else None,
    )


def _call(step: Step, outcomes: Mapping[str, Outcome], around: Surroundings, log: Path, out: Path) -> Any:
    """Call the function with exactly what it names; what it prints goes to its log and to the observer."""

    def progress(done: float, total: float | None = None, message: str = "") -> None:
        around.observer.step_progress(step, done, total, message)

    special: dict[str, Any] = {"out": out, "progress": progress, "checkpoints": around.store.checkpoints(step.key)}
    if "checkpoints" in step.call.specials:
        special["checkpoints"].mkdir(parents=True, exist_ok=True)
    received = {name: outcomes[key].artifact for name, key in step.needs.items()}
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a", encoding="utf-8") as stream,
        _Printed(step, around, stream) as printed,
        redirect_stdout(printed),
        redirect_stderr(printed),
    ):
        named = {n: special[n] for n in step.call.specials}
        return step.call.function(**step.call.arguments, **received, **named)


class _Printed(io.TextIOBase):
    """Takes what a step prints, line by line so that a secret is seen whole, to the log and to the observer."""

    def __init__(self, step: Step, around: Surroundings, log: TextIO) -> None:
        self._step, self._around, self._log, self._rest = step, around, log, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
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
        if not self.closed and self._rest:
            self._pass_on(self._rest + "\n")
            self._rest = ""
        super().close()

    def _pass_on(self, text: str) -> None:
        self._log.write(self._around.redactor.text(text))
        self._log.flush()
        self._around.observer.step_printed(self._step, self._around.shown_redactor.text(text))


def _metrics(artifact: Any) -> Mapping[str, float] | None:
    found = getattr(artifact, "metrics", None)
    return dict(found) if isinstance(found, Mapping) else None
