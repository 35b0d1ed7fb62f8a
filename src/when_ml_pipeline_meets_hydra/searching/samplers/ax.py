"""Search with Ax: space-filling trials first, then Bayesian optimization."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

from when_ml_pipeline_meets_hydra.searching.samplers.interface import Proposal, Scores
from when_ml_pipeline_meets_hydra.searching.settings import SearchSettings
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space, Value


class AxSampler:
    """Asks a client in memory. Ax has no names with dots: dimensions are numbered."""

    def __init__(
        self, space: Space, seed: int, settings: SearchSettings, objectives: int = 1, constraints: int = 0
    ) -> None:
        logging.getLogger("ax").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=r"(ax|botorch|gpytorch|linear_operator)(\.|$)")
        self._names = {d.key: f"x{n}" for n, d in enumerate(space.dimensions)}
        self._dimensions = {d.key: d for d in space.dimensions}
        self._fixed = {d.key: d.first for d in space.dimensions if d.count == 1 or (not d.values and d.low == d.high)}
        self._client = Client(random_seed=seed)
        parameters = [_parameter(self._names[d.key], d) for d in space.dimensions if d.key not in self._fixed]
        self._client.configure_experiment(parameters=parameters)
        self._scores = [f"score{n}" for n in range(objectives)]
        self._violations = [f"violation{n}" for n in range(constraints)]
        limits = [f"{name} <= 0" for name in self._violations]
        self._client.configure_optimization(objective=", ".join(self._scores), outcome_constraints=limits or None)
        self._trials: dict[int, int] = {}

    def ask(self, number: int) -> Proposal:
        """Propose a trial."""
        ((index, drawn),) = self._client.get_next_trials(max_trials=1).items()
        self._trials[number] = index
        values = {key: self._dimensions[key].value(drawn[n]) for key, n in self._names.items() if n in drawn}
        return Proposal(values=self._fixed | values, memo={"drawn": dict(drawn)})

    def add(self, number: int, proposal: Proposal) -> None:
        """Attach a trial; values that its options do not have were drawn all the same."""
        drawn = proposal.memo.get("drawn") or self._drawn(proposal.values)
        self._trials[number] = self._client.attach_trial(parameters=dict(drawn))

    def tell(self, number: int, scores: Scores | None) -> None:
        """Complete a trial."""
        index = self._trials[number]
        if scores is None:
            self._client.mark_trial_failed(index)
        else:
            measured = dict(zip(self._scores, scores.values, strict=True))
            measured |= zip(self._violations, scores.violations, strict=True)
            self._client.complete_trial(index, raw_data=measured)

    def prune(self, number: int, step: int, value: float) -> None:
        """Take it for a failed one: a partial score is none of Ax's metrics."""
        self._client.mark_trial_failed(self._trials[number])

    def _drawn(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The parameters of a point that was not proposed: of keys without a value, the lowest ones."""
        free = {key: d for key, d in self._dimensions.items() if key not in self._fixed}
        return {self._names[key]: d.place(values.get(key, d.first)) for key, d in free.items()}


make = AxSampler


def _parameter(name: str, dimension: Dimension) -> Any:
    if dimension.values:
        return ChoiceParameterConfig(name=name, values=list(dimension.values), parameter_type="str", is_ordered=False)
    if dimension.is_counted:
        return RangeParameterConfig(name=name, bounds=(0, (dimension.count or 1) - 1), parameter_type="int")
    kind, scaling = ("int" if dimension.is_whole else "float"), ("log" if dimension.is_log else None)
    bounds = (dimension.low, dimension.high)
    return RangeParameterConfig(name=name, bounds=bounds, parameter_type=kind, scaling=scaling)
