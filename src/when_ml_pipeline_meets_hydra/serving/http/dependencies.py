"""FastAPI dependencies of the server's routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Header, Path
from pydantic import BaseModel, StringConstraints
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request

from when_ml_pipeline_meets_hydra.serving.formats.versions import NAME_PATTERN, RUN_HEADER, RUN_PATTERN
from when_ml_pipeline_meets_hydra.serving.http.loading import Loads
from when_ml_pipeline_meets_hydra.serving.http.models import LoadedVersions
from when_ml_pipeline_meets_hydra.serving.http.users import Role
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

Body = TypeVar("Body", bound=BaseModel)
# Documentation only: the repository validates names, with better messages.
Model = Annotated[str, Path(json_schema_extra={"pattern": NAME_PATTERN}, description="Name of the model")]
Number = Annotated[int, Path(json_schema_extra={"minimum": 1}, description="Number of the version")]


def loaded(request: Request) -> LoadedVersions:
    """Return the versions in memory."""
    versions: LoadedVersions = request.app.state.loaded
    return versions


def loads(request: Request) -> Loads:
    """Return the loads in progress."""
    in_progress: Loads = request.app.state.loads
    return in_progress


async def model_path(model: Model) -> None:
    """Document the path parameter of the model."""


async def version_path(request: Request, model: Model, version: Number) -> None:
    """Read the path parameter of the version."""
    request.state.number = version


async def repository(request: Request) -> Repository:
    """Return the repository that is served."""
    return loaded(request).repository


async def deployer(request: Request) -> str:
    """Return the user's name, if their role may change which versions are served."""
    who, role = str(request.state.user), request.state.role
    if not role.may(Role.DEPLOY):
        raise HTTPException(403, f"'{who}' may {role}; this needs the role {Role.DEPLOY}")
    return who


def body_of(kind: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """Return a dependency that reads the body as JSON of that model, with any content type; an empty body is ``{}``."""

    async def read(request: Request) -> Body:
        return kind.model_validate_json(await request.body() or b"{}")

    return read


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI description of a request body."""
    _DESCRIBED.add(kind)
    required = any(field.is_required() for field in kind.model_fields.values())
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI) -> None:
    """Add the schemas of all bodies, and the authentication, to the application's OpenAPI document."""
    kinds = sorted(_DESCRIBED, key=lambda kind: kind.__name__)
    template = "#/components/schemas/{model}"
    _, schemas = models_json_schema([(kind, "validation") for kind in kinds], ref_template=template)
    document = app.openapi()  # cached by the application
    document["components"]["schemas"].update(schemas["$defs"])
    document["components"]["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}}
    document["security"] = [{"basic": []}]


_DESCRIBED: set[type[BaseModel]] = set()
RepositoryDep = Annotated[Repository, Depends(repository)]
LoadedDep = Annotated[LoadedVersions, Depends(loaded)]
LoadsDep = Annotated[Loads, Depends(loads)]
Deployer = Annotated[str, Depends(deployer)]
Run = Annotated[
    Annotated[str, StringConstraints(pattern=RUN_PATTERN)] | None,
    Header(alias=RUN_HEADER, description="Id of the client's run, for the history"),
]
