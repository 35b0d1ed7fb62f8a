"""The model that a run has trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Unkeyed, frozen
from when_ml_pipeline_meets_hydra.deploy.stored_models.interface import (
    Home,
    InStore,
    both_keys,
    is_model,
    store_of,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.storage import seals


@frozen
class OfRun(InStore):
    """The model of a recorded run; of a sweep with several models, that of one job."""

    run: Annotated[
        str, Field(min_length=1, description="The run's id, a unique part of it, or 'last' (with a model)"), Unkeyed()
    ]
    job: Annotated[
        int | None, Field(ge=0, lt=2**31, description="The job of a sweep; null: the run has a single model"), Unkeyed()
    ] = None
    home: Home

    def keys(self) -> tuple[str, str]:
        """Return the keys of its prepared data and of the model. Raises ``BadInput`` if it is not in the store."""
        folder, store = self._folder(), store_of(self.home)
        steps = [step for step in _steps(folder) if self.job is None or self.job in step["jobs"]]
        trained = {step["key"]: step["jobs"] for step in steps if _trains(step)}
        models = {key: jobs for key, jobs in trained.items() if is_model(store, key)}
        if len(models) == 1:
            return both_keys(store, next(iter(models)), place="run")
        key = "run" if self.job is None else "job"
        message, remedy = _why_not(folder.name, trained, models)
        raise BadInput(Problem(key=key, value=str(getattr(self, key)), message=message, remedy=remedy))

    def _folder(self) -> Path:
        folders = sorted(f for f in (self.home.absolute() / "runs").glob("*") if (f / "run.json").is_file())
        if self.run == "last":
            found = [f for f in reversed(folders) if any(map(_trains, _steps(f)))][:1]
        else:
            found = [f for f in folders if f.name == self.run]
            found = found or [f for f in folders if f.name.startswith(self.run) or f.name.endswith(self.run)]
        if len(found) != 1:
            what = "run with a model" if self.run == "last" else "such run"
            message = "several runs match" if found else f"there is no {what} in {self.home}"
            raise BadInput(Problem(key="run", value=self.run, message=message, remedy="See wmh runs list"))
        return found[0]


def _why_not(run: str, trained: Mapping[str, Any], models: Mapping[str, list[int]]) -> tuple[str, str]:
    """Return the message and remedy for a run without a single model."""
    if models:
        jobs = ", ".join(str(min(jobs)) for jobs in models.values())
        return f"run {run} has {len(models)} models", f"Choose the job: stored_model.job={jobs}"
    if trained:
        return f"the models of run {run} are not in the store any more", f"Train them again: wmh runs rerun {run}"
    return f"run {run} has no model", "Name a run with the stage modeling"


def _trains(step: Mapping[str, Any]) -> bool:
    return step["stage"] == "modeling" and not step.get("element")  # such as a fold


def _steps(folder: Path) -> list[dict[str, Any]]:
    """Return stage, key and jobs of a record's steps. Raises ``BadInput`` if it is damaged."""
    file = folder / "steps.jsonl"
    try:
        head = seals.opened_or_old((folder / "run.json").read_bytes()) or {}
        if not (head and seals.is_as_written(file, head.get("digests", {}).get(file.name))):
            raise ValueError
        ended = head.get("counts", {})  # none in that of a killed run,
        lines = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        steps = [json.loads(line) for line in lines]  # which may also have left half a line
        if len(steps) < sum(ended.values()):
            raise ValueError
        names = ("stage", "key", "jobs")
        return [{"element": step.get("element"), **{name: step[name] for name in names}} for step in steps]
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        remedy = f"Remove the folder {folder}, or name another run; stored results are not in it"
        raise BadInput(Problem(key=str(file), message="this record is damaged", remedy=remedy)) from None
