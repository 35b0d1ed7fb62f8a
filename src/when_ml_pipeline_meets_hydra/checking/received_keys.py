"""The config keys that the subcommands of all stages receive, with their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from when_ml_pipeline_meets_hydra.binding.bind import describe
from when_ml_pipeline_meets_hydra.composing.compose import compose_with_problems
from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.composing.tree import HELP, STAGES
from when_ml_pipeline_meets_hydra.config_store.combinations import composed_sweep
from when_ml_pipeline_meets_hydra.errors import BadInput


def received_keys(search: Sequence[str]) -> Iterator[tuple[Job, Mapping[str, Any]]]:
    """Yield a job of each subcommand on a search path, and the types of the keys that it receives.

    Subcommands that cannot be composed or described are left out.
    """
    loader = compose_with_problems([f"{STAGES}={HELP}"], config_dirs=search).loader()
    for stage in loader.stages:
        names = ",".join(loader.options(stage.group))
        composed = composed_sweep([f"{STAGES}={stage.name}", f"{stage.group}={names}"], search, [])
        for job in composed.jobs if composed else ():
            try:
                yield job, describe(job, composed.stages, stage.name).keys if composed else {}
            except BadInput:
                continue
