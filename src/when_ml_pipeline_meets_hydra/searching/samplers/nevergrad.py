"""Search with the optimizers of Nevergrad."""

from __future__ import annotations

import warnings
from typing import Any

import nevergrad as ng

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.searching.samplers.interface import Proposal, Scores
from when_ml_pipeline_meets_hydra.searching.settings import SearchSettings
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space

KEY = "hydra.sweeper.optim.optimizer"
_BUDGET = 100  # trials by which an optimizer plans, where another budget ends the search


class NevergradSampler:
    """Asks an optimizer in memory, which minimizes the negative score."""

    def __init__(
        self, space: Space, seed: int, settings: SearchSettings, objectives: int = 1, constraints: int = 0
    ) -> None:
        warnings.filterwarnings("ignore", module=r"(nevergrad|bayes_opt|cma)(\.|$)")
        self._dimensions = space.dimensions
        parameters = ng.p.Dict(**{f"x{n}": _parameter(d) for n, d in enumerate(self._dimensions)})
        name = str(settings.options.get("optimizer", "NGOpt"))
        if name not in ng.optimizers.registry:
            remedy = did_you_mean(name, ng.optimizers.registry)
            raise BadInput(Problem(key=KEY, value=name, message="Nevergrad has no such optimizer", remedy=remedy))
        budget = settings.most_trials or _BUDGET
        self._optimizer = ng.optimizers.registry[name](parameters, budget=budget, num_workers=settings.n_jobs)
        self._optimizer.parametrization.random_state.seed(seed)
        self._trials: dict[int, Any] = {}

    def ask(self, number: int) -> Proposal:
        """Propose a trial."""
        candidate = self._trials[number] = self._optimizer.ask()
        drawn = candidate.value
        values = {d.key: d.value(drawn[f"x{n}"]) for n, d in enumerate(self._dimensions)}
        return Proposal(values=values)

    def add(self, number: int, proposal: Proposal) -> None:
        """Keep the point of a trial that another process, or an earlier run, has proposed."""
        values = proposal.values
        places = {f"x{n}": d.place(values.get(d.key, d.first)) for n, d in enumerate(self._dimensions)}
        self._trials[number] = self._optimizer.parametrization.spawn_child(new_value=places)

    def tell(self, number: int, scores: Scores | None) -> None:
        """Tell the losses; a failed trial has none."""
        if scores is not None:
            losses = [-value for value in scores.values]
            broken = [max(violation, 0.0) for violation in scores.violations]
            loss = losses[0] if len(losses) == 1 else losses
            self._optimizer.tell(self._trials[number], loss, broken or None)

    def prune(self, number: int, step: int, value: float) -> None:
        """Leave it out: its loss is not known."""


make = NevergradSampler


def _parameter(dimension: Dimension) -> Any:
    if dimension.values:
        return ng.p.Choice(list(dimension.values))
    if dimension.is_counted:
        return ng.p.TransitionChoice(list(range(dimension.count or 1)))
    scale = ng.p.Log if dimension.is_log else ng.p.Scalar
    parameter = scale(lower=dimension.low, upper=dimension.high)
    return parameter.set_integer_casting() if dimension.is_whole else parameter
