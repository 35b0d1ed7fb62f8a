"""Errors as answers: the status code, and ``{"error": …}`` as the protocol wants it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Send

from when_ml_pipeline_meets_hydra.errors import BadInput, PipelineError
from when_ml_pipeline_meets_hydra.serving.engine.encode import BadRow
from when_ml_pipeline_meets_hydra.serving.formats.manifest import BundleRefused
from when_ml_pipeline_meets_hydra.serving.http.requests import BadBody
from when_ml_pipeline_meets_hydra.serving.repository.repository import Unknown

log = logging.getLogger(__name__)

CODES: dict[type[PipelineError], int] = {Unknown: 404, BundleRefused: 422, BadRow: 422, BadInput: 422}
MEANINGS = {
    400: "The body is no JSON, or its parts cannot be told from one another",
    401: "No or a wrong id and password",
    403: "The role of the id is too low, or a page of another site asks",
    404: "No such model or version",
    408: "The request did not come in time",
    409: "The repository says no",
    413: "The body is too large",
    415: "The body is compressed",
    422: "Rows, tensors or bundle are not as they have to be",
    429: "Too many wrong passwords",
    503: "Too much at once, or no answer in time",
}


class Error(BaseModel):
    """What went wrong."""

    error: str


class Refusal(NamedTuple):
    """An answer that is an error."""

    status: int
    error: str
    headers: Mapping[str, str] = {}

    async def send(self, send: Send) -> None:
        """Answer with it."""
        body = to_json({"error": self.error})
        fields = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        fields += [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def exception(self) -> HTTPException:
        """The same, to be raised inside of the application."""
        return HTTPException(self.status, self.error, dict(self.headers))

    def response(self) -> JSONResponse:
        """The same as a response of the framework."""
        return JSONResponse({"error": self.error}, status_code=self.status, headers=dict(self.headers))


def documented(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Errors of a route for the OpenAPI document, besides those that every route may answer."""
    everywhere = {401, 403, 408, 413, 415, 422, 429, 503}
    return {code: {"model": Error, "description": MEANINGS[code]} for code in sorted(everywhere | set(codes))}


def refusal(problem: Exception) -> Refusal:
    """What to answer to an error; one that nobody expected goes into the log, and the client learns no more of it."""
    if isinstance(problem, HTTPException):
        return Refusal(problem.status_code, problem.detail, problem.headers or {})
    if isinstance(problem, PipelineError):
        code = next((code for kind, code in CODES.items() if isinstance(problem, kind)), 409)
        return Refusal(code, problem.message if isinstance(problem, Unknown | BundleRefused) else str(problem))
    if isinstance(problem, BadBody):
        return Refusal(400, str(problem))
    if isinstance(problem, RequestValidationError):
        first = problem.errors()[0]
        return Refusal(422, f"{first['loc'][-1]}: {first['msg']}")
    if isinstance(problem, ValidationError):
        return _bad_body(problem)
    log.error("an answer failed", exc_info=problem)
    return Refusal(500, "the server failed; its log says why")


def install(app: FastAPI) -> None:
    """Let an application answer its errors so."""
    for kind in (PipelineError, HTTPException, RequestValidationError, ValidationError, BadBody, Exception):
        app.add_exception_handler(kind, _answer)


async def _answer(_: Request, problem: Exception) -> JSONResponse:
    return refusal(problem).response()


def _bad_body(problem: ValidationError) -> Refusal:
    first = problem.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Refusal(400, f"the body is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    return Refusal(422, f"{place or 'body'}: {first['msg']}")
