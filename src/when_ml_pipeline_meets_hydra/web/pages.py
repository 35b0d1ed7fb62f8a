"""Rendering of the pages with Jinja2, and what endpoints need of a request."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from when_ml_pipeline_meets_hydra.config_store.effective import shown
from when_ml_pipeline_meets_hydra.web.sessions import Session
from when_ml_pipeline_meets_hydra.web.settings import Settings

TEMPLATES = Path(__file__).parent / "templates"
Form = dict[str, list[str]]


def render(request: Request, template: str, *, status: int = 200, **content: Any) -> HTMLResponse:
    """Return a page; ``template`` extends ``base.html``, and every value is escaped.

    The notices of the session are shown, once.
    """
    session: Session | None = getattr(request.state, "session", None)
    notices, shared = [], {"session": session, "token": getattr(request.state, "token", "")}
    if session is not None and status < 300 and not is_partial(request):
        notices, session.notices = session.notices, []
    shared |= {"sections": request.app.state.sections, "path": request.url.path, "notices": notices}
    return HTMLResponse(_environment().get_template(template).render({**shared, **content}), status)


def redirect(request: Request, path: str, notice: str = "") -> RedirectResponse:
    """Return the response to a change that was made: another page, with a notice."""
    session: Session | None = getattr(request.state, "session", None)
    if notice and session is not None:
        session.notices.append(notice)
    return RedirectResponse(path, status_code=303)


def settings_of(request: Request) -> Settings:
    """Return the settings of the app."""
    settings: Settings = request.app.state.settings
    return settings


def session_of(request: Request) -> Session:
    """Return the session of the signed-in person; pages that need none do not ask."""
    session: Session = request.state.session
    return session


def form_of(request: Request) -> Form:
    """Return the fields of a form that was sent; a field without a value has an empty text."""
    form: Form = getattr(request.state, "form", {})
    return form


def field(request: Request, name: str, default: str = "") -> str:
    """Return the last value of a field of a form that was sent."""
    return form_of(request).get(name, [default])[-1]


def is_partial(request: Request) -> bool:
    """Whether a part of a page is requested, by htmx."""
    return request.headers.get("hx-request") == "true"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "brief": _brief}
    return environment


def _brief(origin: str | None) -> str:
    """Where a value is from, in a few words: an entry and its line, or the program's own file."""
    stored = re.fullmatch(r"config store: ([^,]+)(?:, (?:revision|draft) \d+)?(, line \d+)?", origin or "")
    return f"{stored[1]}{stored[2] or ''}" if stored else origin or "the default of its type"
