"""Write down the partial scores of running steps, so that trackers show them while models are trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.execution.observers import Observer

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step

FILE = "partial_scores.jsonl"


def read_partial_scores(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of the file."""
    content = file.read_bytes() if file.is_file() else b""
    yield from map(json.loads, content[: content.rfind(b"\n") + 1].splitlines())


class PartialScores(Observer):
    """Appends partial scores to a file, in the form of the record's lines, and passes all events on to ``observer``.

    Nothing is lost with a line that cannot be written: the record has the scores when the step has ended.
    """

    def __init__(self, observer: Observer, file: Path) -> None:
        self._observer, self._file = observer, file

    def step_reported(self, step: Step, number: int, metrics: Mapping[str, float]) -> None:
        """Write partial scores down, and pass them on."""
        scores = {name: [(number, value)] for name, value in metrics.items()}
        place = {"stage": step.call.stage, "element": step.call.element, "key": step.key, "jobs": step.jobs}
        with suppress(OSError), self._file.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps({**place, 'partial_scores': scores})}\n")
        self._observer.step_reported(step, number, metrics)

    def step_started(self, step: Step) -> None:
        """Pass it on."""
        self._observer.step_started(step)

    def step_waits(self, step: Step, holder: str) -> None:
        """Pass it on."""
        self._observer.step_waits(step, holder)

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """Pass it on."""
        self._observer.step_progress(step, done, total, message)

    def step_printed(self, step: Step, text: str) -> None:
        """Pass it on."""
        self._observer.step_printed(step, text)

    def step_ended(self, outcome: Outcome) -> None:
        """Pass it on."""
        self._observer.step_ended(outcome)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._observer.note(text)
