"""Signing in and out."""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.serving.http.authentication import Logins
from when_ml_pipeline_meets_hydra.serving.http.responses import ErrorResponse
from when_ml_pipeline_meets_hydra.web.guard import SIGN_IN, VISITOR, cookie_name, set_cookie
from when_ml_pipeline_meets_hydra.web.pages import field, render
from when_ml_pipeline_meets_hydra.web.sessions import Sessions


async def sign_in_page(request: Request) -> Response:
    """Show the form; who is signed in goes on to the page."""
    target = _own_path(request.query_params.get("next", ""))
    if request.state.session is not None:
        return RedirectResponse(target, status_code=303)
    response = render(request, "sign_in.html", name="", target=target, wrong="")
    set_cookie(request, response, request.state.identity, VISITOR)
    return response


async def sign_in(request: Request) -> Response:
    """Check id and password as the model server does, and start a session under a new id."""
    logins: Logins = request.app.state.logins
    sessions: Sessions = request.app.state.sessions
    name, target = field(request, "name"), _own_path(field(request, "next"))
    credentials = base64.b64encode(f"{name}:{field(request, 'password')}".encode("utf-8", "replace"))
    address = request.client.host if request.client else "-"
    account = await logins.check(b"Basic " + credentials, address)
    if isinstance(account, ErrorResponse):
        wrong = f"{account.error[:1].upper()}{account.error[1:]}."
        if wait := account.headers.get("retry-after"):
            wrong += f" Try again in {wait} s."
        return render(request, "sign_in.html", status=account.status, name=name, target=target, wrong=wrong)
    try:
        identity = sessions.start(account.name)
    except (BadInput, KeyError):
        return render(request, "sign_in.html", status=401, name=name, target=target, wrong="Try again.")
    sessions.end(request.state.identity)  # an earlier session of this browser
    response = RedirectResponse(target, status_code=303)
    set_cookie(request, response, identity)
    return response


async def sign_out(request: Request) -> Response:
    """End the session."""
    sessions: Sessions = request.app.state.sessions
    sessions.end(request.state.identity)
    response = RedirectResponse(SIGN_IN, status_code=303)
    response.delete_cookie(cookie_name(request), secure=request.url.scheme == "https", httponly=True, samesite="strict")
    return response


def _own_path(text: str) -> str:
    """A path of this app; of anything else, such as another site, the first page."""
    is_own = text.startswith("/") and text[1:2] not in ("/", "\\") and text.isprintable()
    return text if is_own and not text.startswith(SIGN_IN) else "/"


ROUTES = (
    Route(SIGN_IN, sign_in_page),
    Route(SIGN_IN, sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
)
