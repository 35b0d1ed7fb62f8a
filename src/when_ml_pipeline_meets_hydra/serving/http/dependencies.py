"""What the routes of the server need from a request (in FastAPI's sense of a dependency)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Header, Path
from pydantic import BaseModel, StringConstraints
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request

from when_ml_pipeline_meets_hydra.serving.formats.versions import NAME_PATTERN, RUN_HEADER, RUN_PATTERN
from when_ml_pipeline_meets_hydra.serving.http.models import Loaded
from when_ml_pipeline_meets_hydra.serving.http.users import Role
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

Body = TypeVar("Body", bound=BaseModel)
# Only said here: the repository checks names, and tells who asks what is wrong.
Model = Annotated[str, Path(json_schema_extra={"pattern": NAME_PATTERN}, description="Name of the model")]
Number = Annotated[int, Path(json_schema_extra={"minimum": 1}, description="Number of the version")]


def loaded(request: Request) -> Loaded:
    """The versions in memory."""
    found: Loaded = request.app.state.loaded
    return found


async def named(model: Model) -> None:
    """The model that the path names."""


async def numbered(request: Request, model: Model, version: Number) -> None:
    """The version that the path names."""
    request.state.number = version


async def repository(request: Request) -> Repository:
    """The repository that is served."""
    return loaded(request).repository


async def deployer(request: Request) -> str:
    """Who is asking, if they may change what is served."""
    who, role = str(request.state.user), request.state.role
    if not role.may(Role.DEPLOY):
        raise HTTPException(403, f"'{who}' may {role}; this needs the role {Role.DEPLOY}")
    return who


def body_of(kind: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads the body as JSON of that kind, whatever content type it is sent with; none is ``{}``."""

    async def read(request: Request) -> Body:
        return kind.model_validate_json(await request.body() or b"{}")

    return read


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """The body's part in the OpenAPI document."""
    _DESCRIBED.add(kind)
    required = any(field.is_required() for field in kind.model_fields.values())
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI) -> None:
    """Put the schemas of all bodies, and that a password is needed, into the application's OpenAPI document."""
    kinds = sorted(_DESCRIBED, key=lambda kind: kind.__name__)
    template = "#/components/schemas/{model}"
    _, found = models_json_schema([(kind, "validation") for kind in kinds], ref_template=template)
    document = app.openapi()  # which the application keeps
    document["components"]["schemas"].update(found["$defs"])
    document["components"]["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}}
    document["security"] = [{"basic": []}]


_DESCRIBED: set[type[BaseModel]] = set()
TheRepository = Annotated[Repository, Depends(repository)]
TheLoaded = Annotated[Loaded, Depends(loaded)]
Deployer = Annotated[str, Depends(deployer)]
Run = Annotated[
    Annotated[str, StringConstraints(pattern=RUN_PATTERN)] | None,
    Header(alias=RUN_HEADER, description="Id of the run that asks, for the history"),
]
