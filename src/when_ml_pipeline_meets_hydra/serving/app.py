"""The model server: a repository behind the Open Inference Protocol v2, with ids and passwords."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI
from starlette.types import ASGIApp

from when_ml_pipeline_meets_hydra.serving import index, inference, management, metrics, refusals
from when_ml_pipeline_meets_hydra.serving.access import AccessLog, Gate, Limits
from when_ml_pipeline_meets_hydra.serving.dependencies import describe_bodies
from when_ml_pipeline_meets_hydra.serving.loaded import Loaded
from when_ml_pipeline_meets_hydra.serving.logins import Logins
from when_ml_pipeline_meets_hydra.serving.repository import Repository
from when_ml_pipeline_meets_hydra.serving.settings import Settings
from when_ml_pipeline_meets_hydra.serving.users import Users
from when_ml_pipeline_meets_hydra.serving.watch import Watch


def create_app(settings: Settings) -> ASGIApp:
    """The server of a repository as an ASGI application; others may change the repository meanwhile."""
    version = importlib.metadata.version("when_ml_pipeline_meets_hydra")
    loaded = Loaded(Repository(settings.root))
    watch = Watch(loaded)
    app = FastAPI(
        title="Model server", version=version, docs_url=None, redoc_url=None, lifespan=lambda _: watch.watching()
    )
    app.state.loaded = loaded
    loaded.load_active_versions()
    for router in (inference.router, index.router, management.router, metrics.router):
        app.include_router(router)
    refusals.install(app)
    describe_bodies(app)
    limited = Limits(inference.Shortcut(app, loaded), settings)
    return AccessLog(Gate(limited, Logins(Users(settings.root, settings.sole), settings.failed_logins)))
