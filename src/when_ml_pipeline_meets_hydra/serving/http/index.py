"""The protocol's model repository extension: index, load and unload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from when_ml_pipeline_meets_hydra.serving.formats.versions import Status
from when_ml_pipeline_meets_hydra.serving.http.dependencies import (
    Deployer,
    LoadedDep,
    Model,
    RepositoryDep,
    Run,
    body_of,
    described,
)
from when_ml_pipeline_meets_hydra.serving.http.responses import documented
from when_ml_pipeline_meets_hydra.serving.repository.active_version import Damaged
from when_ml_pipeline_meets_hydra.serving.repository.repository import NotFound, Repository

router = APIRouter(prefix="/v2/repository", responses=documented(400))


class IndexBody(BaseModel):
    """Filter of the index: all versions, or only those that serve."""

    model_config = ConfigDict(strict=True)
    ready: bool = False


class NoParameters(BaseModel):
    """Parameters of a load or an unload; a model's configuration cannot be overridden."""

    model_config = ConfigDict(extra="forbid")
    unload_dependents: bool = False


class ChangeBody(BaseModel):
    """Body of a load or an unload."""

    model_config = ConfigDict(extra="forbid")
    parameters: NoParameters = NoParameters()


Index = Annotated[IndexBody, Depends(body_of(IndexBody))]
Change = Annotated[ChangeBody, Depends(body_of(ChangeBody))]


@router.post("/index", openapi_extra=described(IndexBody))
def index(body: Index, repository: RepositoryDep) -> JSONResponse:
    """List every version of every model; those that serve are READY."""
    entries = [entry for model in repository.models() for entry in _entries_of(repository, model)]
    return JSONResponse([entry for entry in entries if entry["state"] == "READY" or not body.ready])


@router.post("/models/{model}/load", openapi_extra=described(ChangeBody), responses=documented(404, 409))
def load(model: Model, _: Change, loaded: LoadedDep, user: Deployer, run: Run = None) -> JSONResponse:
    """Activate the version of a model that was active last, or the newest one; no change if one is active."""
    status = loaded.repository.status(model)
    if status.active is None:
        if not status.versions:
            raise NotFound("model_name", f"there is no model '{model}'")
        number = status.previous[0] if status.previous else status.versions[-1].number
        loaded.version(model, number)
        loaded.repository.activate(model, number, user, run)
    return JSONResponse({"name": model})


@router.post("/models/{model}/unload", openapi_extra=described(ChangeBody), responses=documented(404, 409))
def unload(model: Model, _: Change, repository: RepositoryDep, user: Deployer, run: Run = None) -> JSONResponse:
    """Deactivate a model."""
    repository.undeploy(model, user, run)
    return JSONResponse({"name": model})


def _entries_of(repository: Repository, model: str) -> Iterator[dict[str, Any]]:
    try:
        yield from _entries(repository.status(model))
    except Damaged as problem:  # the other models are listed
        for number in repository.numbers(model):
            yield {"name": model, "version": str(number), "state": "UNAVAILABLE", "reason": problem.message}


def _entries(status: Status) -> Iterator[dict[str, Any]]:
    serving = {status.active, status.canary.version if status.canary else None}
    for version in status.versions:
        reason = version.problem or ("" if version.number in serving else "kept; serves requests that name its number")
        state = "UNAVAILABLE" if reason else "READY"
        yield {"name": status.model, "version": str(version.number), "state": state, "reason": reason}
