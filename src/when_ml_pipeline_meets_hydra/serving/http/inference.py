"""Routes for metadata, health and inference."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.serving.http import protocol
from when_ml_pipeline_meets_hydra.serving.http.dependencies import (
    LoadedDep,
    LoadsDep,
    described,
    model_path,
    version_path,
)
from when_ml_pipeline_meets_hydra.serving.http.loading import Loads
from when_ml_pipeline_meets_hydra.serving.http.models import LoadedVersions
from when_ml_pipeline_meets_hydra.serving.http.prediction import Predictor, served_version
from when_ml_pipeline_meets_hydra.serving.http.requests import HEADER_LENGTH, InferBody, PredictBody, ResponseBody
from when_ml_pipeline_meets_hydra.serving.http.responses import documented, error_response
from when_ml_pipeline_meets_hydra.serving.repository.repository import NotFound

router = APIRouter(prefix="/v2", responses=documented(404))
Handler = TypeVar("Handler", bound=Callable[..., Any])

READY_SECONDS = 0.5  # to load versions that have become active
_ACTIVE_OR_CANARY = "the active version or a canary"
NO_AUTHENTICATION: dict[str, Any] = {"security": []}  # of routes without authentication
_PATH = re.compile(r"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,9}))?/(predict|infer)")


@router.get("/health/live", openapi_extra=NO_AUTHENTICATION)
async def live() -> JSONResponse:
    """Report that the server runs."""
    return JSONResponse({"live": True})


@router.get("/health/ready", openapi_extra=NO_AUTHENTICATION)
async def ready(loaded: LoadedDep, loads: LoadsDep) -> JSONResponse:
    """Report whether every model with an active version is loaded; 503 if one cannot be, or is still being loaded."""
    names = await loads.shared(loaded.repository.models)
    waiting = [asyncio.create_task(_is_ready(loaded, loads, name)) for name in names]
    _, late = await asyncio.wait(waiting, timeout=READY_SECONDS) if waiting else (None, set())
    for task in late:
        task.cancel()
    are_ready = not late and all(task.result() for task in waiting)
    return JSONResponse({"ready": are_ready}, status_code=200 if are_ready else 503)


async def _is_ready(loaded: LoadedVersions, loads: Loads, model: str) -> bool:
    try:
        await served_version(loaded, loads, model, None)
    except NotFound:
        return True  # no active version
    except Refused:
        return False
    return True


@router.get("")
async def server_metadata() -> JSONResponse:
    """Return the server's name, version and protocol extensions."""
    version = importlib.metadata.version("when_ml_pipeline_meets_hydra")
    extensions = list(protocol.EXTENSIONS)
    return JSONResponse({"name": "when_ml_pipeline_meets_hydra", "version": version, "extensions": extensions})


def _versioned(
    method: str, action: str, active: str = "the active version", **about: Any
) -> Callable[[Handler], Handler]:
    """Register a handler under two paths: for a version by its number, and for the ``active`` one of a model."""

    def register(handler: Handler) -> Handler:
        name, documentation = handler.__name__.removeprefix("model_"), str(handler.__doc__)
        for place, needs, called, description in (
            ("/models/{model}", model_path, handler.__name__, documentation.replace("a version", active)),
            ("/models/{model}/versions/{version}", version_path, f"version_{name}", documentation),
        ):
            router.add_api_route(
                place + action,
                handler,
                methods=[method],
                name=called,
                description=description,
                dependencies=[Depends(needs)],
                **about,
            )
        return handler

    return register


@_versioned("GET", "")
async def metadata(request: Request, loaded: LoadedDep, loads: LoadsDep) -> JSONResponse:
    """Return the signature of a version."""
    served = await served_version(loaded, loads, *_model_and_version(request))
    return JSONResponse(protocol.metadata(served, loaded.repository.numbers(served.model)))


@_versioned("GET", "/ready")
async def model_ready(request: Request, loaded: LoadedDep, loads: LoadsDep) -> JSONResponse:
    """Report that a version is loaded."""
    served = await served_version(loaded, loads, *_model_and_version(request))
    return JSONResponse({"name": served.model, "ready": True})


@_versioned("POST", "/predict", _ACTIVE_OR_CANARY, openapi_extra=described(PredictBody), responses=documented(400))
async def predict(request: Request) -> Response:
    """Return predictions for rows as objects, by a version."""
    return await _response(request, "predict")


@_versioned("POST", "/infer", _ACTIVE_OR_CANARY, openapi_extra=described(InferBody), responses=documented(400))
async def infer(request: Request) -> Response:
    """Return predictions for tensors, by a version."""
    return await _response(request, "infer")


async def _response(request: Request, action: str) -> Response:
    predictor: Predictor = request.app.state.predictor
    content = await predictor.predict(request.scope, request.receive, action, *_model_and_version(request))
    return Response(content.body, headers=dict(_headers(content)))


def _model_and_version(request: Request) -> tuple[str, int | None]:
    return request.path_params["model"], getattr(request.state, "number", None)


class FastPath:
    """Handles inference requests without the framework, whose routing takes longer than a prediction.

    All other requests go to the application, which returns the same for inference requests, too.
    """

    def __init__(self, app: ASGIApp, predictor: Predictor) -> None:
        self._app, self._predictor = app, predictor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an inference request, or pass the request on."""
        match = scope["type"] == "http" and scope["method"] == "POST" and _PATH.fullmatch(scope["path"])
        if not match:
            await self._app(scope, receive, send)
            return
        model, version, action = match.groups()
        number = None if version is None else int(version)
        try:
            content = await self._predictor.predict(scope, receive, action, model, number)
        except ClientDisconnect:
            return
        except Exception as problem:
            await error_response(problem).send(send)
            return
        headers = [(name.lower().encode(), value.encode()) for name, value in _headers(content)]
        headers.append((b"content-length", b"%d" % len(content.body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content.body})


def _headers(content: ResponseBody) -> Sequence[tuple[str, str]]:
    if content.json_length is None:
        return (("Content-Type", "application/json"),)
    return (("Content-Type", "application/octet-stream"), (HEADER_LENGTH, str(content.json_length)))
