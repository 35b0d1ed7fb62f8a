"""Routes of the model repository: upload, activate, canary, roll back, undeploy, status."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import IO, Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter
from starlette.requests import Request

from when_ml_pipeline_meets_hydra.serving import checking
from when_ml_pipeline_meets_hydra.serving.formats import archive
from when_ml_pipeline_meets_hydra.serving.formats.manifest import BundleRefused
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
from when_ml_pipeline_meets_hydra.serving.http.protocol import ActivateBody, CanaryBody
from when_ml_pipeline_meets_hydra.serving.http.responses import documented
from when_ml_pipeline_meets_hydra.serving.http.settings import UPLOADS_AT_ONCE, Settings
from when_ml_pipeline_meets_hydra.serving.observations.daily import KEPT_DAYS, Observation
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

router = APIRouter(prefix="/v2/repository/models", responses=documented(400, 404, 409))
_statuses = TypeAdapter(Status)
_observations = TypeAdapter(Observation)
_UPLOADS = CapacityLimiter(UPLOADS_AT_ONCE)  # apart from the threads of other changes
TAR = {"type": "string", "format": "binary", "description": "An uncompressed tar of the bundle's files"}
ContentDigest = Annotated[
    str, Header(alias=archive.DIGEST_HEADER, description="sha-256=:…:, the SHA-256 of the body in base64 (RFC 9530)")
]
Activate = Annotated[ActivateBody, Depends(body_of(ActivateBody))]
StartCanary = Annotated[CanaryBody, Depends(body_of(CanaryBody))]


@router.get("")
def models(repository: RepositoryDep) -> JSONResponse:
    """Return the status of all models."""
    return JSONResponse({"models": [_as_json(repository.status(name)) for name in repository.models()]})


@router.get("/{model}")
def status(model: Model, repository: RepositoryDep) -> JSONResponse:
    """Return the versions of a model, the active one, and the history."""
    return JSONResponse(_as_json(repository.status(model)))


@router.get("/{model}/observed")
def observed(
    model: Model,
    repository: RepositoryDep,
    version: Annotated[int | None, Query(ge=1, description="Default: the active one")] = None,
    days: Annotated[int, Query(ge=1, le=KEPT_DAYS, description="Number of days, today included")] = KEPT_DAYS,
) -> JSONResponse:
    """Return training data and observed requests of a version."""
    return JSONResponse(_observations.dump_python(repository.observation(model, version, days), mode="json"))


@router.post(
    "/{model}/versions",
    openapi_extra={"requestBody": {"required": True, "content": {"application/x-tar": {"schema": TAR}}}},
)
async def upload(
    request: Request, model: Model, repository: RepositoryDep, user: Deployer, header: ContentDigest, run: Run = None
) -> JSONResponse:
    """Add a bundle (a tar of its files), if its digest matches, it can be loaded and passes its smoke rows."""
    expected = archive.parse_digest_header(header)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as body:
        async for block in request.stream():
            digest.update(block)
            body.write(block)
        if digest.digest() != expected:
            raise BundleRefused(f"the body does not match {archive.DIGEST_HEADER}")
        body.seek(0)
        settings: Settings = request.app.state.settings
        version = await to_thread.run_sync(_add, body, model, repository, user, run, settings, limiter=_UPLOADS)
    return JSONResponse({"version": version}, status_code=201)


def _add(body: IO[bytes], model: str, repository: Repository, user: str, run: str | None, settings: Settings) -> int:
    with tempfile.TemporaryDirectory(prefix="bundle-") as name:
        folder = Path(name)
        archive.unpack(body, folder)
        checking.check(folder, settings.load_timeout, settings.memory_limit)
        return repository.add(model, folder, user, run)


@router.post("/{model}/activate", openapi_extra=described(ActivateBody))
def activate(model: Model, body: Activate, loaded: LoadedDep, user: Deployer, run: Run = None) -> JSONResponse:
    """Activate a version. It is loaded first, so that no request has to wait for it."""
    loaded.version(model, body.version)
    return JSONResponse(_as_json(loaded.repository.activate(model, body.version, user, run)))


@router.post("/{model}/canary", openapi_extra=described(CanaryBody))
def canary(model: Model, body: StartCanary, loaded: LoadedDep, user: Deployer, run: Run = None) -> JSONResponse:
    """Start a canary: a version that gets a share of the requests until it is promoted or taken back."""
    loaded.version(model, body.version)
    return JSONResponse(_as_json(loaded.repository.canary(model, body.version, body.terms, user, run)))


@router.post("/{model}/rollback")
def rollback(model: Model, repository: RepositoryDep, user: Deployer, run: Run = None) -> JSONResponse:
    """Take the canary back or, without one, activate the previously active version."""
    return JSONResponse(_as_json(repository.rollback(model, user, run)))


@router.post("/{model}/undeploy")
def undeploy(model: Model, repository: RepositoryDep, user: Deployer, run: Run = None) -> JSONResponse:
    """Deactivate a model."""
    return JSONResponse(_as_json(repository.undeploy(model, user, run)))


def _as_json(status: Status) -> Any:
    return _statuses.dump_python(status, mode="json")
