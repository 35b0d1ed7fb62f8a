"""What is said once for a whole run, in the config of any of its jobs: validated, and the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.binding.options import faults_of
from when_ml_pipeline_meets_hydra.binding.validation import validate
from when_ml_pipeline_meets_hydra.composing.job import LOCAL_LAUNCHER, Composed
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.execution.outcomes import OnError
from when_ml_pipeline_meets_hydra.records.compare import Objective

HINTS: Mapping[str, Any] = {
    "home": Annotated[str, Field(min_length=1)],
    "force": list[str] | str,
    "packages": list[str] | str,
    "show_secrets": bool,
    "objective": Objective,
    "on_error": OnError,
}
_N_JOBS = Annotated[int, Field(ge=1, le=1024)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``n_jobs`` is how many steps run at once on this machine; None where another launcher of Hydra's runs them."""

    home: Path
    force: tuple[str, ...]
    show_secrets: bool
    on_error: OnError
    n_jobs: int | None


def settings_of(composed: Composed, problems: list[Problem]) -> Settings | None:
    """The settings of a run; None where something is wrong with them, which is in ``problems``."""
    before = len(problems)
    found = {key: _setting(composed, key, hint, problems) for key, hint in HINTS.items()}
    force = _stages(found["force"], composed, problems)
    n_jobs = _n_jobs(composed.hydra.get("launcher"), problems)
    if len(problems) > before or not composed.jobs:
        return None
    return Settings(
        home=Path(found["home"]).absolute(),
        force=tuple(force),
        show_secrets=found["show_secrets"],
        on_error=found["on_error"],
        n_jobs=n_jobs,
    )


def _setting(composed: Composed, key: str, hint: Any, problems: list[Problem]) -> Any:
    """A setting; notes where the jobs differ in it, or it is not as it should be."""
    if not composed.jobs:
        return None
    first, *others = composed.jobs
    if any(job.config.get(key) != first.config.get(key) for job in others):
        problems.append(Problem(key=key, message="has to be the same for all jobs of a run"))
    elif faults := faults_of(key, first):
        problems += faults
    else:
        try:
            return validate(hint, first.config.get(key), key=key, origin=first.origins.of)
        except BadInput as error:
            problems += error.problems
    return None


def _stages(force: list[str] | str | None, composed: Composed, problems: list[Problem]) -> list[str]:
    named = force if isinstance(force, list) else [force] if force else []
    if unknown := [stage for stage in named if stage not in composed.stages]:
        message = f"expected a list of stages ({', '.join(composed.stages)})"
        problems.append(Problem(key="force", value=",".join(unknown), message=message))
    return named


def _n_jobs(launcher: Any, problems: list[Problem]) -> int | None:
    if not isinstance(launcher, Mapping) or launcher.get("_target_") != LOCAL_LAUNCHER:
        return None
    try:
        return int(validate(_N_JOBS, launcher.get("n_jobs"), key="hydra.launcher.n_jobs", origin=lambda _: None))
    except BadInput as error:
        problems += error.problems
    return None
