"""Routes that answer questions to models."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Sequence
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from when_ml_pipeline_meets_hydra.serving.http import protocol
from when_ml_pipeline_meets_hydra.serving.http.dependencies import (
    Active,
    Model,
    Number,
    Pinned,
    TheLoaded,
    TheRepository,
    described,
)
from when_ml_pipeline_meets_hydra.serving.http.models import Loaded, Served
from when_ml_pipeline_meets_hydra.serving.http.requests import (
    HEADER_LENGTH,
    Content,
    InferBody,
    PredictBody,
    read_infer,
    read_predict,
)
from when_ml_pipeline_meets_hydra.serving.http.responses import documented, refusal
from when_ml_pipeline_meets_hydra.serving.observations.counters import asked

router = APIRouter(prefix="/v2", responses=documented(404))
Question = PredictBody | InferBody
Reader = Callable[[bytes, str | None], Question]

OPEN: dict[str, Any] = {"security": []}  # of routes that want no password
_PATH = re.compile(r"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,9}))?/(predict|infer)")
_READERS: dict[str, Reader] = {"predict": read_predict, "infer": read_infer}
_ROUTES = {
    (action, is_active): f"/v2/models/{{model}}/{'' if is_active else 'versions/{version}/'}{action}"
    for action in _READERS
    for is_active in (True, False)
}
_HEADER_LENGTH = HEADER_LENGTH.lower().encode()
# Below that many values the model answers faster than a thread takes over.
INLINE_VALUES = 2000


@router.get("/health/live", openapi_extra=OPEN)
async def live() -> JSONResponse:
    """Whether the server runs."""
    return JSONResponse({"live": True})


@router.get("/health/ready", openapi_extra=OPEN)
def ready(loaded: TheLoaded) -> JSONResponse:
    """Whether every model that shall serve does; 503 where one cannot."""
    waits = loaded.not_ready()
    return JSONResponse({"ready": not waits}, status_code=503 if waits else 200)


@router.get("")
async def server_metadata() -> JSONResponse:
    """What the server is, and which extensions of the protocol it knows."""
    version = importlib.metadata.version("when_ml_pipeline_meets_hydra")
    extensions = list(protocol.EXTENSIONS)
    return JSONResponse({"name": "when_ml_pipeline_meets_hydra", "version": version, "extensions": extensions})


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


@router.post("/models/{model}/predict", openapi_extra=described(PredictBody), responses=documented(400))
async def predict(request: Request, model: Model, loaded: TheLoaded) -> Response:
    """Answers for rows as objects, by the active version or a canary."""
    return await _response(request, loaded, "predict", model)


@router.post(
    "/models/{model}/versions/{version}/predict", openapi_extra=described(PredictBody), responses=documented(400)
)
async def version_predict(request: Request, model: Model, version: Number, loaded: TheLoaded) -> Response:
    """Answers for rows as objects, by a version."""
    return await _response(request, loaded, "predict", model, version)


@router.post("/models/{model}/infer", openapi_extra=described(InferBody), responses=documented(400))
async def infer(request: Request, model: Model, loaded: TheLoaded) -> Response:
    """Answers for tensors, by the active version or a canary."""
    return await _response(request, loaded, "infer", model)


@router.post("/models/{model}/versions/{version}/infer", openapi_extra=described(InferBody), responses=documented(400))
async def version_infer(request: Request, model: Model, version: Number, loaded: TheLoaded) -> Response:
    """Answers for tensors, by a version."""
    return await _response(request, loaded, "infer", model, version)


async def _response(request: Request, loaded: Loaded, action: str, model: str, version: int | None = None) -> Response:
    content = await _answer(request.scope, request.receive, loaded, action, model, version)
    return Response(content.body, headers=dict(_headers(content)))


class Shortcut:
    """Finds the way to the questions, which most requests are, itself: the framework's takes longer than an answer.

    What it does not know goes to the application, with the same result.
    """

    def __init__(self, app: ASGIApp, loaded: Loaded) -> None:
        self._app, self._loaded = app, loaded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        asked = scope["type"] == "http" and scope["method"] == "POST" and _PATH.fullmatch(scope["path"])
        if not asked:
            await self._app(scope, receive, send)
            return
        model, version, action = asked.groups()
        number = None if version is None else int(version)
        try:
            content = await _answer(scope, receive, self._loaded, action, model, number)
        except ClientDisconnect:
            return
        except Exception as problem:
            await refusal(problem).send(send)
            return
        headers = [(name.lower().encode(), value.encode()) for name, value in _headers(content)]
        headers.append((b"content-length", b"%d" % len(content.body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content.body})


def _headers(content: Content) -> Sequence[tuple[str, str]]:
    if content.json_length is None:
        return (("Content-Type", "application/json"),)
    return (("Content-Type", "application/octet-stream"), (HEADER_LENGTH, str(content.json_length)))


async def _answer(
    scope: Scope, receive: Receive, loaded: Loaded, action: str, model: str, version: int | None
) -> Content:
    # The model comes first: who asks for one that is not there need not send a body that fits.
    served = await _serving(loaded, model, version)
    json_length = next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER_LENGTH), None)
    question = _READERS[action](await _body(receive), json_length)
    state = scope.setdefault("state", {})
    state["asked"] = served.model, served.number, question.count
    state["route"] = _ROUTES[action, version is None]
    ask = _ask if version is not None else _ask_chosen
    if not served.scorer.slow and question.count * len(served.scorer.manifest.inputs) <= INLINE_VALUES:
        return ask(served, question)
    # Whoever waits is told when it takes too long, and does not wait for the thread.
    return await to_thread.run_sync(ask, served, question, abandon_on_cancel=True)


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _serving(loaded: Loaded, model: str, version: int | None) -> Served:
    in_memory = loaded.chosen_in_memory(model) if version is None else loaded.version_in_memory(model, version)
    if in_memory:
        return in_memory
    if version is None:
        return await run_in_threadpool(loaded.chosen, model)
    return await run_in_threadpool(loaded.version, model, version)


def _ask(served: Served, question: Question) -> Content:
    feeds = question.feeds(served.scorer.manifest)
    return question.content(served, served.scorer.run(feeds))


def _ask_chosen(served: Served, question: Question) -> Content:
    return asked(served, lambda version: _ask(version, question))
