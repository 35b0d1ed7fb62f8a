"""The model server: a repository behind the Open Inference Protocol v2, with an id and a password."""

from __future__ import annotations

import importlib.metadata
import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp

from when_ml_pipeline_meets_hydra.errors import BadInput, PipelineError
from when_ml_pipeline_meets_hydra.serving import inference, management
from when_ml_pipeline_meets_hydra.serving.access import AccessLog, Gate, SizeLimit
from when_ml_pipeline_meets_hydra.serving.loaded import Loaded
from when_ml_pipeline_meets_hydra.serving.manifest import BundleRefused
from when_ml_pipeline_meets_hydra.serving.repository import Repository, Unknown
from when_ml_pipeline_meets_hydra.serving.rows import BadRow

log = logging.getLogger(__name__)

MEGABYTE = 1 << 20
CODES: dict[type[PipelineError], int] = {Unknown: 404, BundleRefused: 422, BadRow: 422, BadInput: 422}


def create_app(
    repository: Repository,
    *,
    user: str,
    password: str,
    request_limit: int = 32 * MEGABYTE,
    upload_limit: int = 512 * MEGABYTE,
) -> ASGIApp:
    """The server of a repository as an ASGI application.

    Args:
        repository: the models to serve; it may change meanwhile, also from other processes.
        user: the id that every request but health has to bring.
        password: its password.
        request_limit: largest body of a request, in bytes.
        upload_limit: largest body of an upload, in bytes.
    """
    version = importlib.metadata.version("when_ml_pipeline_meets_hydra")
    app = FastAPI(title="Model server", version=version, docs_url=None, redoc_url=None)
    app.state.loaded = Loaded(repository)
    app.state.loaded.load_active_versions()
    app.include_router(inference.router)
    app.include_router(management.router)
    app.add_exception_handler(PipelineError, _pipeline_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_path)
    app.add_exception_handler(Exception, _unexpected)
    limited = SizeLimit(app, request=request_limit, upload=upload_limit)
    return AccessLog(Gate(limited, user=user, password=password))


async def _pipeline_error(_: Request, problem: Exception) -> JSONResponse:
    code = next((code for kind, code in CODES.items() if isinstance(problem, kind)), 409)
    message = problem.message if isinstance(problem, Unknown | BundleRefused) else str(problem)
    return JSONResponse({"error": message}, status_code=code)


async def _http_error(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, HTTPException)
    return JSONResponse({"error": problem.detail}, status_code=problem.status_code, headers=problem.headers)


async def _bad_path(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    return JSONResponse({"error": f"{first['loc'][-1]}: {first['msg']}"}, status_code=422)


async def _unexpected(_: Request, problem: Exception) -> JSONResponse:
    # uvicorn logs the traceback; the client learns no more than that it is not its fault.
    return JSONResponse({"error": "the server failed; its log says why"}, status_code=500)
