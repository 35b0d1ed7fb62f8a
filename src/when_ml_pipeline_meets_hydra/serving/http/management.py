"""Routes that change what is served: upload, activate, roll back, status."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.formats import archive
from when_ml_pipeline_meets_hydra.serving.formats.manifest import BundleRefused
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status
from when_ml_pipeline_meets_hydra.serving.http.dependencies import (
    Deployer,
    Model,
    Run,
    TheLoaded,
    TheRepository,
    body_of,
    described,
)
from when_ml_pipeline_meets_hydra.serving.http.protocol import ActivateBody, CanaryBody
from when_ml_pipeline_meets_hydra.serving.http.responses import documented
from when_ml_pipeline_meets_hydra.serving.observations.daily import KEPT_DAYS, Observation
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

router = APIRouter(prefix="/v2/repository/models", responses=documented(400, 404, 409))
_statuses = TypeAdapter(Status)
_observations = TypeAdapter(Observation)
TAR = {"type": "string", "format": "binary", "description": "An uncompressed tar of the bundle's files"}
Promised = Annotated[
    str, Header(alias=archive.DIGEST_HEADER, description="sha-256=:…:, the SHA-256 of the body in base64 (RFC 9530)")
]
Activated = Annotated[ActivateBody, Depends(body_of(ActivateBody))]
Started = Annotated[CanaryBody, Depends(body_of(CanaryBody))]


@router.get("")
def models(repository: TheRepository) -> JSONResponse:
    """All models."""
    return JSONResponse({"models": [_content(repository.status(name)) for name in repository.models()]})


@router.get("/{model}")
def status(model: Model, repository: TheRepository) -> JSONResponse:
    """The versions of a model, which one is active, and the history."""
    return JSONResponse(_content(repository.status(model)))


@router.get("/{model}/observed")
def observed(
    model: Model,
    repository: TheRepository,
    version: Annotated[int | None, Query(ge=1, description="The active one otherwise")] = None,
    days: Annotated[int, Query(ge=1, le=KEPT_DAYS, description="How many days, today included")] = KEPT_DAYS,
) -> JSONResponse:
    """What a version was trained with, and what it was asked since."""
    return JSONResponse(_observations.dump_python(repository.observation(model, version, days), mode="json"))


@router.post(
    "/{model}/versions",
    openapi_extra={"requestBody": {"required": True, "content": {"application/x-tar": {"schema": TAR}}}},
)
async def upload(
    request: Request, model: Model, repository: TheRepository, user: Deployer, promised: Promised, run: Run = None
) -> JSONResponse:
    """Keep a bundle (a tar of its files), if it is the one promised, can be loaded and predicts what it promises."""
    expected = archive.promised_digest(promised)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as body:
        async for block in request.stream():
            digest.update(block)
            body.write(block)
        if digest.digest() != expected:
            raise BundleRefused(f"the body is not the one that {archive.DIGEST_HEADER} names")
        body.seek(0)
        version = await run_in_threadpool(_keep, body, model, repository, user, run)
    return JSONResponse({"version": version}, status_code=201)


def _keep(body: IO[bytes], model: str, repository: Repository, user: str, run: str | None) -> int:
    with tempfile.TemporaryDirectory(prefix="bundle-") as name:
        folder = Path(name)
        archive.unpack(body, folder)
        scorer.check(folder)
        return repository.add(model, folder, user, run)


@router.post("/{model}/activate", openapi_extra=described(ActivateBody))
def activate(model: Model, body: Activated, loaded: TheLoaded, user: Deployer, run: Run = None) -> JSONResponse:
    """Let a version serve alone. It is loaded first, so that no request has to wait for it."""
    loaded.version(model, body.version)
    return JSONResponse(_content(loaded.repository.activate(model, body.version, user, run)))


@router.post("/{model}/canary", openapi_extra=described(CanaryBody))
def canary(model: Model, body: Started, loaded: TheLoaded, user: Deployer, run: Run = None) -> JSONResponse:
    """Let a version answer a share of the requests, until it is promoted or taken back. It is loaded first."""
    loaded.version(model, body.version)
    return JSONResponse(_content(loaded.repository.canary(model, body.version, body.terms, user, run)))


@router.post("/{model}/rollback")
def rollback(model: Model, repository: TheRepository, user: Deployer, run: Run = None) -> JSONResponse:
    """Take the canary back; where there is none, let the version serve that served before."""
    return JSONResponse(_content(repository.rollback(model, user, run)))


@router.post("/{model}/undeploy")
def undeploy(model: Model, repository: TheRepository, user: Deployer, run: Run = None) -> JSONResponse:
    """Let no version serve."""
    return JSONResponse(_content(repository.undeploy(model, user, run)))


def _content(status: Status) -> Any:
    return _statuses.dump_python(status, mode="json")
