"""ASGI middleware: who is signed in, that changes come from our own pages, and the headers of all responses."""

from __future__ import annotations

from urllib.parse import parse_qs, quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from when_ml_pipeline_meets_hydra.web.failures import failure
from when_ml_pipeline_meets_hydra.web.pages import Form
from when_ml_pipeline_meets_hydra.web.sessions import Sessions, new_id

SIGN_IN, STATIC = "/sign-in", "/static/"
VISITOR = "visitor"  # the cookie before signing in
READING = ("GET", "HEAD")
MOST_BYTES, MOST_FIELDS = 4_000_000, 5_000
TOKEN, TOKEN_HEADER = "csrf", "x-csrf-token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class SafeHeaders:
    """Adds the headers that keep browsers from running, framing or keeping what they should not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-cache" if scope["path"].startswith(STATIC) else "no-store")
                if scope["scheme"] == "https":
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        await self._app(scope, receive, with_headers)


class Guard:
    """Lets signed-in people in; a change needs the token of its session, and comes from a page of ours."""

    def __init__(self, app: ASGIApp, sessions: Sessions, main: ASGIApp) -> None:
        self._app, self._sessions, self._main = app, sessions, main

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its session and form, or refuse it."""
        if scope["type"] != "http" or scope["path"].startswith(STATIC):
            await self._app(scope, receive, send)
            return
        scope["app"] = self._main  # the pages of refusals are rendered before the app is reached
        request = Request(scope, receive)
        try:
            refusal = await self._refusal(request)
        except HTTPException as error:
            refusal = failure(request, error.status_code, error.detail)
        await (refusal or self._app)(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        state, is_sign_in = request.state, request.url.path == SIGN_IN
        identity = request.cookies.get(cookie_name(request), "")
        state.session = session = self._sessions.find(identity) if identity else None
        if session is not None:
            state.user = session.name
        else:
            identity = request.cookies.get(cookie_name(request, VISITOR)) or new_id()
        state.identity, state.token = identity, self._sessions.token(identity)
        if request.method not in READING:
            if is_from_elsewhere(request):
                return failure(request, 403, "It was sent by another site.")
            state.form = await _form(request)
            sent = request.headers.get(TOKEN_HEADER) or state.form.pop(TOKEN, [""])[-1]
            if session is None and not is_sign_in:
                return failure(request, 401, "Sign in again, and repeat it.")
            if not self._sessions.is_token(identity, sent):
                return failure(request, 403, "This page is too old, or not ours. Load it again, and repeat it.")
        if session is None and not is_sign_in:
            return _to_sign_in(request)
        return None


def cookie_name(request: Request, kind: str = "session") -> str:
    """Return the name of a cookie: one for each port, since browsers send cookies to all ports."""
    _, port = request.scope.get("server") or ("", 0)
    return f"{'__Host-' if request.url.scheme == 'https' else ''}wmh-{kind}-{port}"


def set_cookie(request: Request, response: Response, identity: str, kind: str = "session") -> None:
    """Have the browser keep an id until it is closed; no script can read it, and no other site can send it."""
    is_secure = request.url.scheme == "https"
    response.set_cookie(cookie_name(request, kind), identity, httponly=True, samesite="strict", secure=is_secure)


def is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that another site sent the request."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    is_other = origin is not None and origin.partition("://")[2] != request.headers.get("host")
    return site not in (None, "same-origin", "none") or is_other


def _to_sign_in(request: Request) -> Response:
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={"hx-redirect": SIGN_IN})
    if request.headers.get("sec-fetch-site") == "cross-site":
        # A link on another site: the browser sends our cookies once a page of ours asks for it.
        return HTMLResponse('<!doctype html><meta http-equiv="refresh" content="0"><title>wmh</title>')
    return RedirectResponse(SIGN_IN if target == "/" else f"{SIGN_IN}?next={quote(target, safe='/')}", status_code=303)


async def _form(request: Request) -> Form:
    """Read the fields of a form. Raises ``HTTPException`` for any other body, and for one that is too large."""
    kind = request.headers.get("content-type", "application/x-www-form-urlencoded").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Expected the fields of a form.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"A form may have {MOST_BYTES:,} bytes.")
    try:
        return parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
