"""Error responses: the status code, and ``{"error": …}`` as in the protocol."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Send

from when_ml_pipeline_meets_hydra.errors import BadInput, PipelineError, briefly
from when_ml_pipeline_meets_hydra.serving.engine.encode import MOST_SHOWN, BadRow
from when_ml_pipeline_meets_hydra.serving.engine.scorer import OutOfMemory
from when_ml_pipeline_meets_hydra.serving.formats.manifest import BundleRefused
from when_ml_pipeline_meets_hydra.serving.http.requests import BadBody
from when_ml_pipeline_meets_hydra.serving.repository.active_version import Damaged
from when_ml_pipeline_meets_hydra.serving.repository.repository import NotFound

log = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
CODES: dict[type[PipelineError], int] = {NotFound: 404, BundleRefused: 422, BadRow: 422, BadInput: 422, Damaged: 500}
DESCRIPTIONS = {
    400: "The body is not JSON, or cannot be split into JSON and binary tensors",
    401: "Missing or wrong id and password",
    403: "The user's role is too low, or the request is cross-site",
    404: "No such model or version",
    408: "The request was not received in time",
    409: "Conflict with the state of the repository",
    413: "The body is too large, or has too many rows",
    415: "The body is compressed",
    422: "Invalid rows, tensors or bundle",
    429: "Too many wrong passwords",
    503: "Too many requests at once, or no response in time",
    507: "The server's disk is full",
}


class Error(BaseModel):
    """Body of an error response."""

    error: str


class ErrorResponse(NamedTuple):
    """An error as an HTTP response."""

    status: int
    error: str
    headers: Mapping[str, str] = {}

    async def send(self, send: Send) -> None:
        """Send it to the client."""
        body = to_json({"error": self.error})
        fields = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        fields += [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def exception(self) -> HTTPException:
        """Return an exception that FastAPI turns into this response."""
        return HTTPException(self.status, self.error, dict(self.headers))

    def response(self) -> JSONResponse:
        """Return this error as a Starlette response."""
        return JSONResponse({"error": self.error}, status_code=self.status, headers=dict(self.headers))


def no_response(seconds: float) -> ErrorResponse:
    """Return the error of a request whose response takes longer than ``seconds``."""
    return ErrorResponse(503, f"no response within {seconds:g} s", {"retry-after": "1"})


def documented(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route for the OpenAPI document, including those of every route."""
    everywhere = {401, 403, 408, 413, 415, 422, 429, 503}
    return {code: {"model": Error, "description": DESCRIPTIONS[code]} for code in sorted(everywhere | set(codes))}


def error_response(problem: Exception) -> ErrorResponse:
    """Return the response to an exception; an unexpected one is logged, without details for the client."""
    if isinstance(problem, HTTPException):
        return ErrorResponse(problem.status_code, problem.detail, problem.headers or {})
    if isinstance(problem, OutOfMemory):
        return ErrorResponse(500, f"{problem}; see --memory-limit of the server")
    if isinstance(problem, PipelineError):
        code = next((code for kind, code in CODES.items() if isinstance(problem, kind)), 409)
        return ErrorResponse(code, problem.message if isinstance(problem, NotFound | BundleRefused) else str(problem))
    if isinstance(problem, BadBody):
        return ErrorResponse(400, str(problem))
    if isinstance(problem, RequestValidationError):
        return ErrorResponse(422, _named([(str(e["loc"][-1]), e["msg"]) for e in problem.errors()]))
    if isinstance(problem, ValidationError):
        return _bad_body(problem)
    if isinstance(problem, OSError) and problem.errno in DISK_FULL:
        log.error("a request failed: %s", briefly(problem))
        return ErrorResponse(507, "the server's disk is full")
    log.error("a request failed", exc_info=problem)
    return ErrorResponse(500, "internal server error; see the server's log")


def install(app: FastAPI) -> None:
    """Register the exception handlers of an application."""
    for kind in (PipelineError, HTTPException, RequestValidationError, ValidationError, BadBody, OSError, Exception):
        app.add_exception_handler(kind, _handle)


async def _handle(_: Request, problem: Exception) -> JSONResponse:
    return error_response(problem).response()


def _bad_body(problem: ValidationError) -> ErrorResponse:
    errors = problem.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return ErrorResponse(400, f"the body is not JSON: {errors[0]['msg'].removeprefix('Invalid JSON: ')}")
    return ErrorResponse(422, _named([(_place(error["loc"]), error["msg"]) for error in errors]))


def _place(loc: Sequence[int | str]) -> str:
    """The place of an error in a body: ``inputs[0].shape``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".") or "body"


def _named(errors: Sequence[tuple[str, str]]) -> str:
    """The first errors of a request, each with its place, and how many more there are."""
    shown = [f"{place}: {message}" for place, message in errors[:MOST_SHOWN]]
    return str(BadRow(*shown, more=len(errors) - len(shown)))
