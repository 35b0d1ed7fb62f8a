"""Routes that answer questions to models."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from when_ml_pipeline_meets_hydra.serving.http import protocol
from when_ml_pipeline_meets_hydra.serving.http.dependencies import TheLoaded, described, named, numbered
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
Handler = TypeVar("Handler", bound=Callable[..., Any])

_ACTIVE_OR_CANARY = "the active version or a canary"
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


def _for_each(
    method: str, action: str, active: str = "the active version", **about: Any
) -> Callable[[Handler], Handler]:
    """Let a handler answer for a version by its number, and for the ``active`` one of a model."""

    def register(handler: Handler) -> Handler:
        name, said = handler.__name__.removeprefix("model_"), str(handler.__doc__)
        for place, needs, called, description in (
            ("/models/{model}", named, handler.__name__, said.replace("a version", active)),
            ("/models/{model}/versions/{version}", numbered, f"version_{name}", said),
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


@_for_each("GET", "")
async def metadata(request: Request, loaded: TheLoaded) -> JSONResponse:
    """The signature of a version."""
    served = await _served(loaded, *_asked(request))
    return JSONResponse(protocol.metadata(served, loaded.repository.numbers(served.model)))


@_for_each("GET", "/ready")
async def model_ready(request: Request, loaded: TheLoaded) -> JSONResponse:
    """Whether a version is loaded."""
    return JSONResponse({"name": (await _served(loaded, *_asked(request))).model, "ready": True})


@_for_each("POST", "/predict", _ACTIVE_OR_CANARY, openapi_extra=described(PredictBody), responses=documented(400))
async def predict(request: Request, loaded: TheLoaded) -> Response:
    """Answers for rows as objects, by a version."""
    return await _response(request, loaded, "predict")


@_for_each("POST", "/infer", _ACTIVE_OR_CANARY, openapi_extra=described(InferBody), responses=documented(400))
async def infer(request: Request, loaded: TheLoaded) -> Response:
    """Answers for tensors, by a version."""
    return await _response(request, loaded, "infer")


async def _response(request: Request, loaded: Loaded, action: str) -> Response:
    content = await _answer(request.scope, request.receive, loaded, action, *_asked(request))
    return Response(content.body, headers=dict(_headers(content)))


def _asked(request: Request) -> tuple[str, int | None]:
    """The model, and the version if one is named."""
    return request.path_params["model"], getattr(request.state, "number", None)


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
    served = await _served(loaded, model, version, chosen=True)
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


async def _served(loaded: Loaded, model: str, version: int | None, *, chosen: bool = False) -> Served:
    """A version; without a number the active one, or, where it is ``chosen`` for one request, perhaps the canary."""
    load: Callable[[], Served]
    if version is not None:
        found, load = loaded.version_in_memory(model, version), partial(loaded.version, model, version)
    elif chosen:
        found, load = loaded.chosen_in_memory(model), partial(loaded.chosen, model)
    else:
        found, load = loaded.active_in_memory(model), partial(loaded.active, model)
    return found if found else await run_in_threadpool(load)


def _ask(served: Served, question: Question) -> Content:
    feeds = question.feeds(served.scorer.manifest)
    return question.content(served, served.scorer.run(feeds))


def _ask_chosen(served: Served, question: Question) -> Content:
    return asked(served, lambda version: _ask(version, question))
