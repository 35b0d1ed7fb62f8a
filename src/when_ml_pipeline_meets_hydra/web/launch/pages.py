"""The pages on which runs are chosen, checked, started, watched and cancelled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused
from when_ml_pipeline_meets_hydra.masking import MASK
from when_ml_pipeline_meets_hydra.serving.http.users import Role
from when_ml_pipeline_meets_hydra.web.configs.composing import apart_of
from when_ml_pipeline_meets_hydra.web.launch.checking import Checked, Surroundings, check
from when_ml_pipeline_meets_hydra.web.launch.choosing import Asked, Offer, command_line, flags, offer
from when_ml_pipeline_meets_hydra.web.launch.queue import Launch, Launches
from when_ml_pipeline_meets_hydra.web.launch.rules import holds_secret
from when_ml_pipeline_meets_hydra.web.pages import form_of, redirect, render, session_of, settings_of

CHECKS = RateLimitItemPerMinute(60)
PAUSE, LONGEST = 0.5, 300.0  # seconds between two looks at a run, and of a stream, after which browsers ask again
MOST_STREAMS = 100  # of events at once
LATER = "Too many checks in a minute. Wait a little."


@cache
def _rate() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(MemoryStorage())


def launch_page(request: Request) -> Response:
    """Show what can be chosen, and what was launched."""
    return _page(request, Asked(stages=(), chosen={}, more=(), several=False), None)


def check_form(request: Request) -> Response:
    """Check and plan the command of a form: for htmx as a part of the page, otherwise as the whole page."""
    asked, where = Asked.of(form_of(request)), _surroundings(request)
    _needs_permission(request)
    checked = _checked(request, where, asked)
    if request.headers.get("hx-request") == "true":
        return render(request, "launch/checked.html", **_shown(where, asked, checked))
    return _page(request, asked, checked, 422 if checked.problems else 200)


def start(request: Request) -> Response:
    """Check a form once more, and start its run, or let it wait."""
    asked, where, session = Asked.of(form_of(request)), _surroundings(request), session_of(request)
    _needs_permission(request)
    checked = _checked(request, where, asked)
    if checked.problems:
        return _page(request, asked, checked, 422)
    if checked.deploys and not session.role.may(Role.DEPLOY):
        raise Refused("role", f"'{session.name}' may {session.role}; a run that deploys needs the role deploy")
    words = [*asked.words, *flags(where, multirun=asked.multirun)]
    shown = _shown(where, asked, checked)["command"]
    try:
        launch = _launches(request).add(session.name, words, shown=shown, variables=where.own, home=where.home)
    except Refused as full:
        raise HTTPException(503, f"{full.message}.") from None
    return redirect(request, f"/launch/{launch.number}")


def one_page(request: Request) -> Response:
    """Show a launched run: its command line, steps, and what they printed last."""
    return render(request, "launch/run.html", may_launch=_may_launch(request), **_progress(_launch(request)))


def cancel(request: Request) -> Response:
    """Cancel a launched run."""
    launch = _launch(request)
    _needs_permission(request)
    _launches(request).cancel(launch, session_of(request).name)
    return redirect(request, f"/launch/{launch.number}")


async def events(request: Request) -> Response:
    """Send the progress of a launched run, as often as it changes, until it has ended."""
    launch, launches = _launch(request), _launches(request)
    if launches.streams >= MOST_STREAMS:
        raise HTTPException(503, "Too many people watch runs. Load the page again.")

    async def stream() -> AsyncIterator[str]:
        launches.streams += 1
        try:
            async for text in progress():
                yield text
        finally:
            launches.streams -= 1

    async def progress() -> AsyncIterator[str]:
        seen, state, waited = -1, launch.state, 0.0
        while not launches.stopping.is_set() and waited < LONGEST:
            is_over, version = launch.is_over, launch.progress.version
            if version != seen or launch.state is not state:
                seen, state = version, launch.state
                html = bytes(render(request, "launch/progress.html", **_progress(launch)).body).decode()
                yield "event: progress\n" + "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
            if is_over:
                yield "event: over\ndata: over\n\n"
                return
            await asyncio.sleep(PAUSE)
            waited += PAUSE

    headers = {"x-accel-buffering": "no", "cache-control": "no-store"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


def _page(request: Request, asked: Asked, checked: Checked | None, status: int = 200) -> Response:
    where = _surroundings(request)
    try:
        found, broken = offer(where), tuple[Problem, ...]()
    except BadInput as error:
        found, broken = Offer(stages={}, sections={}), error.problems
    content: dict[str, Any] = {
        "offer": found,
        "broken": broken,
        "asked": asked,
        "more": "\n".join(word for word in asked.more if not holds_secret(word, keys=_secret_keys(checked))),
        "launches": _launches(request).all(),
        "limit": settings_of(request).launch_limit,
        "may_launch": _may_launch(request),
        "place": os.path.abspath(os.curdir),  # noqa: PTH100 - as people know it
        **_shown(where, asked, checked),
    }
    return render(request, "launch/launch.html", status=status, **content)


def _shown(where: Surroundings, asked: Asked, checked: Checked | None) -> dict[str, Any]:
    keys = _secret_keys(checked)
    words = [f"{word.partition('=')[0]}={MASK}" if holds_secret(word, keys=keys) else word for word in asked.words]
    is_configured = os.environ.get(CONFIG_STORE) == where.store
    line = command_line(where, asked, words, is_configured=is_configured) if words else ""
    return {"checked": checked, "command": line}


def _secret_keys(checked: Checked | None) -> frozenset[str]:
    return checked.secret_keys if checked else frozenset()


def _checked(request: Request, where: Surroundings, asked: Asked) -> Checked:
    if not asked.stages and not any(word.startswith("c=") for word in asked.more):
        return Checked(problems=(Problem(key="c", message="no stage is chosen", remedy="Choose at least one"),))
    if not _rate().hit(CHECKS, session_of(request).name):
        raise HTTPException(429, LATER)
    return apart_of(request).run(check, where, asked.words, asked.multirun)


def _surroundings(request: Request) -> Surroundings:
    settings = settings_of(request)
    store = ConfigStore(settings.store, session_of(request).name)
    location = store.location if store.exists else ""
    return Surroundings(home=settings.home, config_dirs=settings.config_dirs, store=location)


def _may_launch(request: Request) -> bool:
    return session_of(request).name in settings_of(request).launch_users


def _needs_permission(request: Request) -> None:
    if not _may_launch(request):
        name = session_of(request).name
        raise Refused("launch", f"'{name}' may not start runs; the server is started with --launch-users {name}")


def _launches(request: Request) -> Launches:
    launches: Launches = request.app.state.launches
    return launches


def _launch(request: Request) -> Launch:
    launch = _launches(request).find(request.path_params["number"])
    if launch is None:
        message = "No run was launched under this number since the server was started. Records of runs are under Runs."
        raise HTTPException(404, message)
    return launch


def _progress(launch: Launch) -> dict[str, Any]:
    return {"launch": launch, "progress": launch.progress.snapshot()}
