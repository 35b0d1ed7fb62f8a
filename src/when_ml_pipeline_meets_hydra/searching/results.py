"""The results of a search: the best trials, and ``optimization_results.yaml`` as Hydra's plugins write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from when_ml_pipeline_meets_hydra.searching.objective import Score
from when_ml_pipeline_meets_hydra.searching.space import Value
from when_ml_pipeline_meets_hydra.searching.study import Trial
from when_ml_pipeline_meets_hydra.storage import durable_files

FILE = "optimization_results.yaml"


class Leaders:
    """The best trials so far, of those that keep to the constraints: none is better than another in every metric.

    Of one metric it is one trial, the first of equal ones. ``best`` is the one that goes on: that with the best value
    of the first metric, of equal ones by the next.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._front: list[tuple[tuple[float, ...], Trial]] = []

    def add(self, trial: Trial) -> bool:
        """Add an ended trial; returns whether it is among the best ones now."""
        scores = self._score.scores(trial)
        if scores is None or any(v > 0 for v in scores.violations):
            return False
        own = scores.values
        if any(all(o >= v for o, v in zip(other, own, strict=True)) for other, _ in self._front):
            return False
        self._front = [(o, t) for o, t in self._front if not all(v >= w for v, w in zip(own, o, strict=True))]
        self._front.append((own, trial))
        self._front.sort(key=lambda entry: tuple(-value for value in entry[0]))
        return True

    @property
    def best(self) -> Trial | None:
        """The one that goes on; None if there is none."""
        return self._front[0][1] if self._front else None

    @property
    def front(self) -> list[Trial]:
        """All of them, those with a better value of the first metric first."""
        return [trial for _, trial in self._front]


def write_results(folder: Path, library: str, score: Score, front: Sequence[Trial]) -> None:
    """Write the best trials into the folder of the sweep: their overrides, and their scores."""
    params, best = _params(front[0].values), score.of(front[0])
    names: dict[str, dict[str, Any]] = {
        "ax": {"optimizer": "ax", "ax": params, "best_value": best},
        "nevergrad": {"name": "nevergrad", "best_evaluated_params": params, "best_evaluated_result": best},
    }
    content = names.get(library, {"name": library, "best_params": params, "best_value": best})
    if len(score.goals) > 1:
        solutions = [{"params": _params(t.values), "values": list(score.all_of(t).values())} for t in front]
        content = {"name": library, "solutions": solutions}
    durable_files.write(folder / FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _params(values: Mapping[str, Value]) -> dict[str, Any]:
    return {key: yaml.safe_load(value) if isinstance(value, str) else value for key, value in values.items()}
