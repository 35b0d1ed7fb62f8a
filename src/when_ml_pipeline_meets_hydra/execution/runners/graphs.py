"""Runs steps as nodes of an orchestrator: all that are known to run are submitted as one graph."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.binding.launchers import Orchestrator
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.graph import Command, Graph, Node, nodes_folder, notes_file, stop_file
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.step import Locked, Task, log_failure, log_interruption
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step

_POLL, _GRACE, _CLOSING = 0.1, 3.0, 60.0  # s: between two looks for facts, for an interrupted process, for the last
_GOOD = (Status.DONE, Status.STORED)
_MOST_OF_OUTPUT = 2000  # characters of the orchestrator's output in a message


@dataclass(kw_only=True)
class Graphs:
    """Submits the steps of ``plan`` to an orchestrator, in a process of its own, and reads the facts of its nodes.

    If it ``stops``, no further node starts after a failure. Steps behind a choice are submitted once it is decided;
    what an orchestrator has left out, since an effect that only had to end before has failed, is submitted again.
    """

    orchestrator: Orchestrator
    plan: Plan
    command: Command
    environment: Mapping[str, str]
    promise: Mapping[str, Any]
    options: Mapping[str, Any]
    record: Path
    stops: bool
    _waiting: dict[str, tuple[Task, float]] = field(default_factory=dict)
    _ended: dict[str, bool] = field(default_factory=dict)  # key → whether it succeeded
    _process: subprocess.Popen[bytes] | None = None
    _graph: Graph | None = None
    _submissions: int = 0
    _read: dict[str, int] = field(default_factory=dict)  # characters of each log that were passed on

    @property
    def has_room(self) -> bool:
        """Always True: the orchestrator has its own limits."""
        return True

    @property
    def is_running(self) -> bool:
        """Whether steps have been started that have not ended."""
        return bool(self._waiting)

    def start(self, task: Task) -> None:
        """Wait for the facts of a step, which is submitted with the next graph unless it has been."""
        self._waiting[task.step.key] = (replace(task, answer=None), time.perf_counter())

    def wait(self, observer: Observer) -> Sequence[Outcome | Locked]:
        """Submit a graph unless one is running; pass output on until steps have ended."""
        while True:
            if self._process is None:
                self._submit()
            assert self._process is not None
            has_ended = self._process.poll() is not None
            self._pass_output_on(observer)
            found = [outcome for task, _ in self._waiting.values() if (outcome := self._found(task))]
            if not found and has_ended:
                found = self._without_facts()
            if has_ended:
                self._process = None
            if found:
                if self.stops and any(outcome.status is Status.FAILED for outcome in found):
                    stop_file(self.record).touch()
                for outcome in found:
                    self._ended[outcome.step.key] = outcome.status in _GOOD
                    del self._waiting[outcome.step.key]
                return found
            time.sleep(0 if has_ended else _POLL)

    def interrupt(self) -> Sequence[Outcome]:
        """End the orchestrator's processes; returns the outcomes of all steps that have not ended."""
        self._end(signal.SIGINT)
        waiting, self._waiting = self._waiting, {}
        return [self._found(task) or log_interruption(task, started) for task, started in waiting.values()]

    def close(self) -> None:
        """Let the orchestrator close its run, and end its processes."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLOSING)
        self._end(signal.SIGTERM)
        self._waiting = {}

    def _submit(self) -> None:
        """Start the orchestrator with the steps that wait, and all that come after them and after no open choice."""
        self._submissions += 1
        steps: dict[str, Step] = {key: task.step for key, (task, _) in self._waiting.items()}
        planned = {step.key: step for step in self.plan.steps}
        for step in self.plan.steps:
            before = [*step.after, *step.needs.values(), *([step.follows] if step.follows else [])]
            is_new = step.action is Action.RUN and step.key not in steps and step.key not in self._ended
            if (
                is_new
                and any(k in steps for k in before)
                and all(k in steps or self._is_over(planned[k]) for k in before)
            ):
                steps[step.key] = step
        ordered = [steps[step.key] for step in self.plan.steps if step.key in steps]
        self._graph = Graph(
            command=self.command,
            record=self.record,
            nodes=tuple(Node.of(step, steps) for step in ordered),
            combinations=tuple(combination.jobs for combination in self.plan.combinations),
            promise=self.promise,
            options=self.options,
            stops=self.stops,
        )
        folder, number = nodes_folder(self.record), self._submissions if self._submissions > 1 else ""
        file, output = folder / f"graph{number}.json", folder / f"output{number}.log"
        self._graph.write(file)
        with output.open("wb") as stream:
            self._process = subprocess.Popen(
                [*self.orchestrator.command(file)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment, **self.orchestrator.environment(file)},
                start_new_session=True,
            )
        self._output, self._notes, self._noted = output, notes_file(file), 0

    def _is_over(self, step: Step) -> bool:
        return self._ended.get(step.key, step.action in (Action.STORED, Action.NOT_NEEDED))

    def _found(self, task: Task) -> Outcome | None:
        """Return the outcome of a task whose node has written its facts."""
        file = nodes_folder(self.record) / f"{Node.of(task.step, {}).file}.json"
        try:
            facts = json.loads(file.read_bytes())
        except (OSError, ValueError):
            return None
        status, step, kind = Status(facts["status"]), task.step, task.step.call.returns
        is_loaded = kind is not None and step.is_storable and status in _GOOD
        return Outcome(
            step=step,
            status=status,
            reason=facts["reason"],
            seconds=facts["seconds"],
            metrics=facts["metrics"],
            deviations=facts["deviations"],
            partial_scores=from_json(facts["partial_scores"]),
            error=facts["error"],
            exit_code=ExitCode(facts["exit_code"]),
            log=task.written_log,
            artifact=task.store.load(step.key, step.inputs, kind) if kind and is_loaded else None,
        )

    def _without_facts(self) -> list[Outcome]:
        """Return the outcomes of the steps whose nodes have ended without facts; others are submitted again."""
        assert self._process is not None
        assert self._graph is not None
        submitted = {node.key for node in self._graph.nodes}
        left = {k: task for k, (task, _) in self._waiting.items() if k in submitted}
        again = {
            k for k, t in left.items() if t.step.follows in submitted and not self._ended.get(t.step.follows, False)
        }
        lost = [k for k in left if k not in again] or (
            [*left] if again == {*left} and not self._made_progress() else []
        )
        title, code = self.orchestrator.title, self._process.returncode
        output = self._output.read_text(errors="replace")[-_MOST_OF_OUTPUT:].strip()
        last = f": {output.splitlines()[-1].strip(' .')}" if output else ""
        text = f"{title} ended without a result of this step (exit status {code}){last}. See {self._output}"
        return [
            log_failure(self._waiting[k][0], text, Status.FAILED, ExitCode.STEP_FAILED, self._waiting[k][1])
            for k in lost
        ]

    def _made_progress(self) -> bool:
        assert self._graph is not None
        return any(node.key in self._ended for node in self._graph.nodes)

    def _pass_output_on(self, observer: Observer) -> None:
        with contextlib.suppress(OSError):
            notes = self._notes.read_text(encoding="utf-8").split("\n")[:-1]
            for note in notes[self._noted :]:
                observer.note(note)
            self._noted = len(notes)
        for key, (task, _) in self._waiting.items():
            with contextlib.suppress(OSError), task.log.open(encoding="utf-8", errors="replace") as stream:
                stream.seek(self._read.get(key, 0))
                text = stream.read()
                whole = text[: text.rfind("\n") + 1]
                self._read[key] = self._read.get(key, 0) + len(whole.encode("utf-8", "replace"))
                if whole:
                    observer.step_printed(task.step, whole)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for sent in (number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, sent)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE if sent is number else None)


def from_json(scores: Mapping[str, Sequence[Sequence[Any]]] | None) -> dict[str, list[tuple[int, float]]] | None:
    """Return partial scores from their JSON values, in which null is no number."""
    if not scores:
        return None
    return {name: [(n, math.nan if value is None else value) for n, value in points] for name, points in scores.items()}
