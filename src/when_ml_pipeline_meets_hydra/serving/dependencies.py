"""What the routes of the server need from a request (in FastAPI's sense of a dependency)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header
from pydantic import BaseModel, StringConstraints, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from when_ml_pipeline_meets_hydra.serving.loaded import Loaded, Served
from when_ml_pipeline_meets_hydra.serving.repository import Repository
from when_ml_pipeline_meets_hydra.serving.versions import RUN_HEADER, RUN_PATTERN

Body = TypeVar("Body", bound=BaseModel)


def loaded(request: Request) -> Loaded:
    """The versions in memory."""
    found: Loaded = request.app.state.loaded
    return found


async def active(request: Request, model: str) -> Served:
    """The active version; a new one is loaded while requests that have the old one go on."""
    versions = loaded(request)
    if served := versions.active_in_memory(model):
        return served
    return await run_in_threadpool(versions.active, model)


async def pinned(request: Request, model: str, version: int) -> Served:
    """The version that the path names."""
    versions = loaded(request)
    if served := versions.version_in_memory(model, version):
        return served
    return await run_in_threadpool(versions.version, model, version)


async def repository(request: Request) -> Repository:
    """The repository that is served."""
    return loaded(request).repository


async def user(request: Request) -> str:
    """Who is asking."""
    return str(request.state.user)


def body_of(kind: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads the body as JSON of that kind, whatever content type it is sent with."""

    async def read(request: Request) -> Body:
        try:
            return kind.model_validate(json.loads(await request.body()))
        except ValidationError as problem:
            raise HTTPException(422, explain(problem)) from None
        except (ValueError, RecursionError) as problem:
            raise HTTPException(400, f"the body is no JSON: {str(problem)[:200]}") from None

    return read


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """The body's part in the OpenAPI document."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def explain(problem: ValidationError) -> str:
    """The first thing that is wrong with a body, with its place."""
    first = problem.errors(include_url=False, include_input=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    return f"{place or 'body'}: {first['msg']}"


Active = Annotated[Served, Depends(active)]
Pinned = Annotated[Served, Depends(pinned)]
TheRepository = Annotated[Repository, Depends(repository)]
TheLoaded = Annotated[Loaded, Depends(loaded)]
User = Annotated[str, Depends(user)]
Run = Annotated[
    Annotated[str, StringConstraints(pattern=RUN_PATTERN)] | None,
    Header(alias=RUN_HEADER, description="Id of the run that asks, for the history"),
]
