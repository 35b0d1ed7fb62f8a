"""Routes that answer questions to models."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from when_ml_pipeline_meets_hydra.serving import protocol
from when_ml_pipeline_meets_hydra.serving.dependencies import (
    Active,
    Pinned,
    TheRepository,
    body_of,
    described,
)
from when_ml_pipeline_meets_hydra.serving.loaded import Served
from when_ml_pipeline_meets_hydra.serving.protocol import InferBody, PredictBody

router = APIRouter(prefix="/v2")
Body = TypeVar("Body", PredictBody, InferBody)
Rows = Annotated[PredictBody, Depends(body_of(PredictBody))]
Tensors = Annotated[InferBody, Depends(body_of(InferBody))]

# Below that many values the model answers faster than a thread takes over.
INLINE_VALUES = 2000


@router.get("/health/live")
async def live() -> JSONResponse:
    """Whether the server runs."""
    return JSONResponse({"live": True})


@router.get("/health/ready")
async def ready() -> JSONResponse:
    """Whether the server takes requests."""
    return JSONResponse({"ready": True})


@router.get("")
async def server_metadata() -> JSONResponse:
    """What the server is."""
    version = importlib.metadata.version("when_ml_pipeline_meets_hydra")
    return JSONResponse({"name": "when_ml_pipeline_meets_hydra", "version": version, "extensions": []})


@router.get("/models/{model}")
async def metadata(served: Active, repository: TheRepository) -> JSONResponse:
    """The signature of the active version."""
    return JSONResponse(protocol.metadata(served, repository.numbers(served.model)))


@router.get("/models/{model}/versions/{version}")
async def version_metadata(served: Pinned, repository: TheRepository) -> JSONResponse:
    """The signature of a version."""
    return JSONResponse(protocol.metadata(served, repository.numbers(served.model)))


@router.get("/models/{model}/ready")
async def model_ready(served: Active) -> JSONResponse:
    """Whether the active version is loaded."""
    return JSONResponse({"name": served.model, "ready": True})


@router.get("/models/{model}/versions/{version}/ready")
async def version_ready(served: Pinned) -> JSONResponse:
    """Whether a version is loaded."""
    return JSONResponse({"name": served.model, "ready": True})


@router.post("/models/{model}/predict", openapi_extra=described(PredictBody))
async def predict(served: Active, body: Rows) -> JSONResponse:
    """Answers of the active version for rows as objects."""
    return await _answer(protocol.predict, served, body, len(body.rows))


@router.post("/models/{model}/versions/{version}/predict", openapi_extra=described(PredictBody))
async def version_predict(served: Pinned, body: Rows) -> JSONResponse:
    """Answers of a version for rows as objects."""
    return await _answer(protocol.predict, served, body, len(body.rows))


@router.post("/models/{model}/infer", openapi_extra=described(InferBody))
async def infer(served: Active, body: Tensors) -> JSONResponse:
    """Answers of the active version for tensors."""
    return await _answer(protocol.infer, served, body, _rows(body))


@router.post("/models/{model}/versions/{version}/infer", openapi_extra=described(InferBody))
async def version_infer(served: Pinned, body: Tensors) -> JSONResponse:
    """Answers of a version for tensors."""
    return await _answer(protocol.infer, served, body, _rows(body))


def _rows(body: InferBody) -> int:
    return max((len(tensor.data) for tensor in body.inputs), default=0)


async def _answer(ask: Callable[[Served, Body], dict[str, Any]], served: Served, body: Body, rows: int) -> JSONResponse:
    if rows * len(served.scorer.manifest.inputs) <= INLINE_VALUES:
        return JSONResponse(ask(served, body))
    return JSONResponse(await run_in_threadpool(ask, served, body))
