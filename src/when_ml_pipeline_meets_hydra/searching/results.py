"""The results of a search: the best trial, and ``optimization_results.yaml`` as Hydra's plugins write it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from when_ml_pipeline_meets_hydra.binding.settings import Direction
from when_ml_pipeline_meets_hydra.searching.session import score_of
from when_ml_pipeline_meets_hydra.searching.space import Value
from when_ml_pipeline_meets_hydra.searching.study import Trial
from when_ml_pipeline_meets_hydra.storage import durable_files

FILE = "optimization_results.yaml"


def best_of(trials: Iterable[Trial], metric: str, direction: Direction) -> Trial | None:
    """Return the trial with the best score, the first of equal ones; None if no trial has one."""
    sign = -1 if direction == "maximize" else 1
    scored = [(sign * score, n, t) for n, t in enumerate(trials) if (score := score_of(t.metrics, metric)) is not None]
    return min(scored)[2] if scored else None


def write_results(folder: Path, library: str, values: Mapping[str, Value], score: float) -> None:
    """Write the best trial into the folder of the sweep: its overrides, and its score."""
    params = {key: yaml.safe_load(value) if isinstance(value, str) else value for key, value in values.items()}
    names: dict[str, dict[str, Any]] = {
        "ax": {"optimizer": "ax", "ax": params, "best_value": score},
        "nevergrad": {"name": "nevergrad", "best_evaluated_params": params, "best_evaluated_result": score},
    }
    content = names.get(library, {"name": library, "best_params": params, "best_value": score})
    durable_files.write(folder / FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())
