"""Constraints of a search: what a trial has to keep to, besides its score."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.binding.objective import directions_of
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric
from when_ml_pipeline_meets_hydra.searching.session import scoring_call

KEY = "objective.constraints"
_FORM = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=)\s*([-+]?\d[\d._]*(?:[eE][-+]?\d+)?)\s*")
_STAGE = re.compile(r"\s*([A-Za-z_]\w*)\s*")
_GATES = "failed"  # what an artifact of gates measures: how many failed
_SIZE = "model_bytes"  # measured by artifacts of models, besides their metrics


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A limit for a number that the artifact of a stage has measured: ``name`` of ``stage`` is at most ``limit``.

    With ``is_lower`` it is at least that.
    """

    stage: str
    name: str
    limit: float
    is_lower: bool = False

    @property
    def whole(self) -> str:
        """The name with the stage: ``validation.model_bytes``."""
        return f"{self.stage}.{self.name}"

    @property
    def text(self) -> str:
        """It as text: ``validation.model_bytes <= 1e+06``."""
        return f"{self.whole} {'>=' if self.is_lower else '<='} {self.limit:g}"

    def violation(self, measured: Mapping[str, float]) -> float | None:
        """Return by how much a trial breaks it, 0 or less if it keeps to it; None if nothing was measured."""
        if (value := measured.get(self.whole)) is None:
            return None
        return self.limit - value if self.is_lower else value - self.limit

    def broken(self, measured: Mapping[str, float]) -> str | None:
        """Return what is wrong with a trial: ``validation.rmse=3.2, allowed <= 3``; None if it keeps to it."""
        violation = self.violation(measured)
        if violation is None or violation <= 0:
            return None
        limit = f"{'>=' if self.is_lower else '<='} {self.limit:g}"
        return f"{self.whole}={format_metric(measured[self.whole])}, allowed {limit}"


def constraints_of(bound: Bound, stage: str) -> tuple[tuple[Constraint, ...], str]:
    """Return the constraints of a search by the scores of a stage, and the stage up to which its trials run.

    That is the stage of the score, or one behind it whose numbers are limited. Raises ``BadInput``.
    """
    problems: list[Problem] = []
    texts = bound.settings.objective.constraints
    found = tuple(c for text in texts if (c := _constraint(text, bound, stage, problems)))
    if len({(c.whole, c.is_lower) for c in found}) < len(found):
        problems.append(Problem(key=KEY, message="one number is limited twice", remedy="Write each limit once"))
    if problems:
        raise BadInput(*problems)
    return found, _last(bound, list(dict.fromkeys((stage, *(c.stage for c in found)))))


def _constraint(text: str, bound: Bound, stage: str, problems: list[Problem]) -> Constraint | None:
    stages = {call.stage for call in bound.all_calls}
    if (gates := _STAGE.fullmatch(text)) and gates[1] in stages | {"exptests"}:
        text = f"{gates[1]}.{_GATES} <= 0"
    if (form := _FORM.fullmatch(text)) is None:
        remedy = 'Write NAME <= NUMBER or NAME >= NUMBER, such as "model_bytes <= 1e6", or exptests for its gates'
        problems.append(Problem(key=KEY, value=text, message="this is no constraint", remedy=remedy))
        return None
    first, _, rest = form[1].partition(".")
    own, name = (first, rest) if rest else (stage, first)
    if any(scoring_call(call, own) is None for _, call in bound.calls):
        message = f"no step of this command measures it: the stage {own} is not part of it"
        remedy = f"Add that stage: c={own}"
        problems.append(Problem(key=KEY, value=text, message=message, remedy=remedy))
        return None
    known = set(_known(bound, own))
    if name not in known and (near := did_you_mean(name, known) or "").endswith("?"):
        problems.append(Problem(key=KEY, value=text, message=f"the stage {own} declares no {name}", remedy=near))
        return None
    limit = float(form[3].replace("_", ""))
    return Constraint(stage=own, name=name, limit=limit, is_lower=form[2] == ">=")


def _known(bound: Bound, stage: str) -> Iterator[str]:
    """The numbers that the artifact of a stage is known to measure; there may be more."""
    yield from (whole.rpartition(".")[2] for whole in directions_of(bound.all_calls) if whole.startswith(f"{stage}."))
    if any(call.stage == stage and call.returns and hasattr(call.returns, _SIZE) for call in bound.all_calls):
        yield _SIZE


def _last(bound: Bound, stages: Sequence[str]) -> str:
    """The one of some stages whose step comes after those of the others. Raises ``BadInput`` if there is none."""
    for stage in stages:
        calls = [found for _, call in bound.calls if (found := scoring_call(call, stage))]
        if all(scoring_call(call, other) for call in calls for other in stages):
            return stage
    names = " and ".join(stages)
    message = f"a trial ends with one step, and none comes after those of {names}"
    raise BadInput(Problem(key=KEY, message=message, remedy="Limit the numbers of one stage"))
