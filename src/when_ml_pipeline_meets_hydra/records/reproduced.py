"""Whether a rerun reproduces the metrics of the run that it repeats, and if not, what has changed between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.settings import NAMES
from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric
from when_ml_pipeline_meets_hydra.planning.plan import differences

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.record import Record

TOLERANCE = 1e-9  # relative; absolute around 0
_UNEXPLAINED = "no code, data or package of the two runs differs: a step is random, or reads something undeclared"
_Steps = dict[tuple[int, str, str | None], Mapping[str, Any]]  # by job, stage and element


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """The metrics of a rerun beside those of the run that it repeats.

    ``compared`` is the number of metrics that both have, ``differing`` describes those that are not equal, ``reasons``
    what has changed.
    """

    run: str
    compared: int
    differing: tuple[str, ...]
    reasons: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield what a person reads."""
        if not self.compared:
            yield f"No metric to compare with run {self.run}"
            return
        if not self.differing:
            yield f"All {self.compared} metrics are those of run {self.run}"
            return
        shown = ", ".join(self.differing[:6])
        more = f" and {len(self.differing) - 6} more" if len(self.differing) > 6 else ""
        yield f"{len(self.differing)} of {self.compared} metrics are not those of run {self.run}: {shown}{more}"
        yield f"What changed since: {'; '.join(self.reasons) or _UNEXPLAINED}"


def reproduction(before: Record, after: Record) -> Reproduction:
    """Compare the metrics of two runs job by job, to ``TOLERANCE``."""
    old, new = _steps(before), _steps(after)
    several = len({job for job, *_ in old}) > 1
    compared, differing = 0, dict[str, None]()
    for (job, stage, element), step in old.items():
        other = new.get((job, stage, element), {}).get("metrics") or {}
        for name, value in (step["metrics"] or {}).items():
            if name in other:
                compared += 1
                if not _equal(value, other[name]):
                    where = f"{stage}.{name} of job {job}" if several else f"{stage}.{name}"
                    differing[f"{where} {_shown(value, other[name])}"] = None
    return Reproduction(
        run=before.id, compared=compared, differing=tuple(differing), reasons=tuple(_reasons(before, after, old, new))
    )


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the values in which two configs of a job differ: ``m_param.seed 1 → 2``."""
    return list(differences(_values(before), _values(after)))


def _reasons(before: Record, after: Record, old: _Steps, new: _Steps) -> Iterator[str]:
    found: dict[str, None] = {}
    for place in old.keys() & new.keys():
        one, two = old[place], new[place]
        if one.get("code") != two.get("code"):
            found[f"the code of {two['stage']} {two['subcommand']}"] = None
        for name, value in (two.get("data") or {}).items():
            if (one.get("data") or {}).get(name) != value:
                found[f"the data of {name}"] = None
    yield from sorted(found)
    jobs = {job for job, *_ in new}
    configs = dict(before.configs(jobs))
    changes = dict.fromkeys(
        change
        for number, config in after.configs(jobs)
        for change in differences(_values(configs[number]), _values(config))
    )
    yield from list(changes)[:6]
    yield from differences(before.head["versions"], after.head["versions"])


def _values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config that results may depend on."""
    return {key: value for key, value in config.items() if key not in NAMES}


def _steps(record: Record) -> _Steps:
    return {(job, step["stage"], step.get("element")): step for step in record.steps for job in step["jobs"]}


def _equal(one: float, other: float) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _shown(one: float, other: float) -> str:
    texts = format_metric(one), format_metric(other)
    return " → ".join(texts if texts[0] != texts[1] else (repr(one), repr(other)))
