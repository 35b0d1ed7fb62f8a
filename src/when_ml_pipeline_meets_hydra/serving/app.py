"""The model server: a repository served over the Open Inference Protocol v2, with HTTP Basic authentication."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI
from starlette.types import ASGIApp

from when_ml_pipeline_meets_hydra.serving.http import index, inference, management, metrics, responses
from when_ml_pipeline_meets_hydra.serving.http.authentication import Logins
from when_ml_pipeline_meets_hydra.serving.http.dependencies import describe_bodies
from when_ml_pipeline_meets_hydra.serving.http.loading import LoadCheck, Loads
from when_ml_pipeline_meets_hydra.serving.http.middleware import AccessLog, Authentication, Limits
from when_ml_pipeline_meets_hydra.serving.http.models import LoadedVersions
from when_ml_pipeline_meets_hydra.serving.http.prediction import Predictor
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings
from when_ml_pipeline_meets_hydra.serving.http.users import Users
from when_ml_pipeline_meets_hydra.serving.monitoring.background import Monitor
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository


def create_app(settings: Settings) -> ASGIApp:
    """Return the ASGI application that serves a repository; other processes may change the repository meanwhile."""
    version = importlib.metadata.version("when_ml_pipeline_meets_hydra")
    loaded = LoadedVersions(Repository(settings.root), check=LoadCheck(settings))
    monitor = Monitor(loaded)
    app = FastAPI(
        title="Model server", version=version, docs_url=None, redoc_url=None, lifespan=lambda _: monitor.running()
    )
    app.state.loaded, app.state.loads, app.state.settings = loaded, Loads(), settings
    app.state.predictor = predictor = Predictor(loaded, app.state.loads, settings)
    loaded.load_active_versions()
    for router in (inference.router, index.router, management.router, metrics.router):
        app.include_router(router)
    responses.install(app)
    describe_bodies(app)
    limited = Limits(inference.FastPath(app, predictor), settings)
    return AccessLog(Authentication(limited, Logins(Users(settings.root, settings.sole), settings.failed_logins)))
