"""The ops of a job file: a stage that has a config of its own, at ``ops.<stage>.config``, receives that alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Call
from when_ml_pipeline_meets_hydra.composing.job import OPS, Job
from when_ml_pipeline_meets_hydra.composing.job_file import ops_of, place_of
from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.composing.tree import STAGES, Stage
from when_ml_pipeline_meets_hydra.errors import Problem, did_you_mean


def requested_ops(job: Job) -> tuple[str, ...]:
    """Return the stages of a job file, of which the job's own is the last; empty if ``c`` chooses one of them."""
    ops = ops_of(job.config)
    is_chosen = STAGES in job.config or job.stage not in ops
    return () if is_chosen else tuple(ops)


def malformed_ops(job: Job) -> Iterator[Problem]:
    """Yield a problem for each op of a job file that is more or less than a ``config`` with keys.

    Such an op, which may be a quality gate, would otherwise not run, or not with all that is written.
    """
    ops = ops_of(job.config)
    for name, op in job.config[OPS].items() if ops else ():
        others = [key for key in op if key != "config"] if isinstance(op, Mapping) else []
        for key in others:
            place = f"{OPS}.{name}.{key}"
            remedy = f"Write it below {place_of(name)}"
            yield Problem(key=place, message="an op has only a config", origin=job.origins.of(place), remedy=remedy)
        if name not in ops and not others:
            origin = job.origins.of(place_of(name)) or job.origins.of(f"{OPS}.{name}")
            message, remedy = "expected the keys that the stage receives", f"A job without the stage: ~{OPS}.{name}"
            yield Problem(key=place_of(name), message=message, origin=origin, remedy=remedy)


def job_of_op(job: Job, stage: str, config: Mapping[str, Any]) -> Job:
    """Return the job as an op sees it: ``config``, which is that of its stage, in place of the whole one."""
    place = f"{place_of(stage)}."
    raw = ops_of(job.raw).get(stage, {})
    return replace(
        job,
        config=config,
        raw={**job.raw, **raw},  # interpolations refer to keys of the whole config
        faults={key.removeprefix(place): fault for key, fault in job.faults.items() if key.startswith(place)},
        origins=_OriginsOfOp(job.origins, place),
    )


def of_op(problem: Problem, stage: str, keys: Collection[str]) -> Problem:
    """Return a problem of an op with its key in the whole config; ``keys`` are those of the op."""
    top = problem.key.partition(".")[0].partition("[")[0]
    return replace(problem, key=f"{place_of(stage)}.{problem.key}") if top in keys else problem


def unknown_keys(
    config: Mapping[str, Any], stage: str, parameters: Collection[str], stages: Mapping[str, Stage], origins: Origins
) -> Iterator[Problem]:
    """Yield a problem for each key in the ``config`` of an op that its function does not receive."""
    keys = [name for name in parameters if name not in stages]
    for name in config:
        if name not in parameters:
            message, remedy = f"{stage} receives no such key", did_you_mean(str(name), keys)
            yield Problem(key=str(name), message=message, origin=origins.of(str(name)), remedy=remedy)


def seen_by(call: Call, job: Job) -> tuple[Job, Callable[[Problem], Problem]]:
    """Return the job as the function of a call sees it, and what makes the keys of its problems those of the job."""
    config = ops_of(job.config).get(call.stage) if call.is_op else None
    if config is None:
        return job, lambda problem: problem
    return job_of_op(job, call.stage, config), lambda problem: of_op(problem, call.stage, {*config, *call.arguments})


class _OriginsOfOp(Origins):
    """The origins of the values below a key of the config."""

    def __init__(self, origins: Origins, place: str) -> None:
        self._origins, self._place = origins, place
        self.choices = origins.choices

    def of(self, key: str) -> str | None:
        return self._origins.of(f"{self._place}{key}") or self._origins.of(key)

    def written(self, key: str) -> str | None:
        return self._origins.written(f"{self._place}{key}") or self._origins.written(key)

    def deletion(self, key: str) -> tuple[str, str | None] | None:
        return None

    def is_misplaced(self, key: str) -> bool:
        return False

    def header_fix(self, key: str) -> str | None:
        return None

    def stage_file(self, stage: str) -> str | None:
        return self._origins.stage_file(stage)
