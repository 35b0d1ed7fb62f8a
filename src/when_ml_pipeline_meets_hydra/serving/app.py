"""The model server: a repository behind the Open Inference Protocol v2, with ids and passwords."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI
from starlette.types import ASGIApp

from when_ml_pipeline_meets_hydra.serving.http import index, inference, management, metrics, responses
from when_ml_pipeline_meets_hydra.serving.http.authentication import Logins
from when_ml_pipeline_meets_hydra.serving.http.dependencies import describe_bodies
from when_ml_pipeline_meets_hydra.serving.http.middleware import AccessLog, Gate, Limits
from when_ml_pipeline_meets_hydra.serving.http.models import Loaded
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings
from when_ml_pipeline_meets_hydra.serving.http.users import Users
from when_ml_pipeline_meets_hydra.serving.monitoring.background import Watch
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository


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
    responses.install(app)
    describe_bodies(app)
    limited = Limits(inference.Shortcut(app, loaded), settings)
    return AccessLog(Gate(limited, Logins(Users(settings.root, settings.sole), settings.failed_logins)))
