"""Routes that answer questions to models."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from when_ml_pipeline_meets_hydra.serving import protocol
from when_ml_pipeline_meets_hydra.serving.dependencies import Active, Pinned, TheLoaded, TheRepository, described
from when_ml_pipeline_meets_hydra.serving.loaded import Loaded, Served
from when_ml_pipeline_meets_hydra.serving.questions import (
    HEADER_LENGTH,
    Content,
    InferBody,
    PredictBody,
    read_infer,
    read_predict,
)
from when_ml_pipeline_meets_hydra.serving.refusals import documented, refusal
from when_ml_pipeline_meets_hydra.serving.seen import asked

router = APIRouter(prefix="/v2", responses=documented(404))
Question = PredictBody | InferBody
Reader = Callable[[bytes, str | None], Question]

_PATH = re.compile(r"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,9}))?/(predict|infer)")
_READERS: dict[str, Reader] = {"predict": read_predict, "infer": read_infer}
# Below that many values the model answers faster than a thread takes over.
INLINE_VALUES = 2000


@router.get("/health/live")
async def live() -> JSONResponse:
    """Whether the server runs."""
    return JSONResponse({"live": True})


@router.get("/health/ready")
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
async def predict(request: Request, model: str, loaded: TheLoaded) -> Response:
    """Answers for rows as objects, by the active version or a canary."""
    return await _answer(request, loaded, read_predict, model)


@router.post(
    "/models/{model}/versions/{version}/predict", openapi_extra=described(PredictBody), responses=documented(400)
)
async def version_predict(request: Request, model: str, version: int, loaded: TheLoaded) -> Response:
    """Answers for rows as objects, by a version."""
    return await _answer(request, loaded, read_predict, model, version)


@router.post("/models/{model}/infer", openapi_extra=described(InferBody), responses=documented(400))
async def infer(request: Request, model: str, loaded: TheLoaded) -> Response:
    """Answers for tensors, by the active version or a canary."""
    return await _answer(request, loaded, read_infer, model)


@router.post("/models/{model}/versions/{version}/infer", openapi_extra=described(InferBody), responses=documented(400))
async def version_infer(request: Request, model: str, version: int, loaded: TheLoaded) -> Response:
    """Answers for tensors, by a version."""
    return await _answer(request, loaded, read_infer, model, version)


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
            response = await _answer(Request(scope, receive), self._loaded, _READERS[action], model, number)
        except ClientDisconnect:
            return
        except Exception as problem:
            response = refusal(problem).response()
        await response(scope, receive, send)


async def _answer(request: Request, loaded: Loaded, read: Reader, model: str, version: int | None = None) -> Response:
    # The model comes first: who asks for one that is not there need not send a body that fits.
    served = await _serving(loaded, model, version)
    question = read(await request.body(), request.headers.get(HEADER_LENGTH))
    request.scope.setdefault("state", {})["asked"] = served.model, served.number, question.count
    ask = _ask_chosen if version is None else _ask
    if question.count * len(served.scorer.manifest.inputs) <= INLINE_VALUES:
        content = ask(served, question)
    else:
        content = await run_in_threadpool(ask, served, question)
    if content.json_length is None:
        return Response(content.body, media_type="application/json")
    headers = {HEADER_LENGTH: str(content.json_length)}
    return Response(content.body, media_type="application/octet-stream", headers=headers)


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
