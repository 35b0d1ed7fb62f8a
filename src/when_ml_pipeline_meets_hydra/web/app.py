"""The web app as an ASGI application. A section is one line in ``SECTIONS``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from when_ml_pipeline_meets_hydra.errors import PipelineError
from when_ml_pipeline_meets_hydra.serving.http.authentication import Logins
from when_ml_pipeline_meets_hydra.serving.http.middleware import AccessLog
from when_ml_pipeline_meets_hydra.serving.http.users import Users
from when_ml_pipeline_meets_hydra.web import deployments
from when_ml_pipeline_meets_hydra.web.apart import Apart
from when_ml_pipeline_meets_hydra.web.configs import section as configs
from when_ml_pipeline_meets_hydra.web.failures import refused, unexpected
from when_ml_pipeline_meets_hydra.web.guard import STATIC, Guard, SafeHeaders
from when_ml_pipeline_meets_hydra.web.launch import section as launch
from when_ml_pipeline_meets_hydra.web.launch.queue import Launches
from when_ml_pipeline_meets_hydra.web.runs import section as runs
from when_ml_pipeline_meets_hydra.web.sessions import Sessions
from when_ml_pipeline_meets_hydra.web.settings import Settings
from when_ml_pipeline_meets_hydra.web.signing_in import ROUTES

SECTIONS = (configs.SECTION, launch.SECTION, runs.SECTION, deployments.SECTION)


def create_app(settings: Settings, launches: Launches) -> ASGIApp:
    """Return the ASGI application; ``launches`` are the runs that it starts."""
    users = Users(settings.repository, settings.sole)
    sessions = Sessions(users)
    pages = [route for section in SECTIONS for route in section.routes]
    static = Mount(STATIC, StaticFiles(directory=Path(__file__).parent / "static"))
    app = Starlette(
        routes=[Route("/", _first_page), *ROUTES, *pages, static],
        exception_handlers={PipelineError: refused, HTTPException: refused, Exception: unexpected},
        lifespan=_running,
    )
    app.state.settings, app.state.sections = settings, SECTIONS
    app.state.sessions, app.state.logins = sessions, Logins(users, settings.failed_logins)
    app.state.apart, app.state.launches = Apart(), launches
    return AccessLog(SafeHeaders(Guard(app, sessions, app)))


@asynccontextmanager
async def _running(app: Starlette) -> AsyncIterator[None]:
    yield
    app.state.launches.close()
    app.state.apart.close()


async def _first_page(_: Request) -> Response:
    return RedirectResponse(SECTIONS[0].path, status_code=303)
