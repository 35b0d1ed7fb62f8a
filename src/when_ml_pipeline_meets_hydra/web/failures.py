"""Pages for what went wrong: the message that the command line has, and never a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused
from when_ml_pipeline_meets_hydra.web.pages import render

TITLES = {
    401: "You are signed out",
    403: "This is not allowed",
    404: "There is no such page",
    405: "There is no such page",
    413: "That is too large",
    422: "This cannot be done",
    429: "Too many attempts",
    503: "Too busy",
}


def failure(request: Request, status: int, *messages: str, found: Sequence[Problem] = ()) -> Response:
    """Return a page with what went wrong and what to do."""
    title = TITLES.get(status) or HTTPStatus(status).phrase
    return render(request, "failure.html", status=status, title=title, messages=messages, found=found)


def refused(request: Request, error: Exception) -> Response:
    """Return the page of an expected error."""
    if isinstance(error, HTTPException):
        detail = "" if error.detail == HTTPStatus(error.status_code).phrase else error.detail
        return failure(request, error.status_code, *([detail] if detail else []))
    if isinstance(error, BadInput):
        return failure(request, 422, found=error.problems)
    return failure(request, 403 if isinstance(error, Refused) else 500, str(error))


def unexpected(request: Request, _: Exception) -> Response:
    """Return the page of an error that is ours; uvicorn logs it."""
    return failure(request, 500, "Something went wrong that should not have. The server's log says what.")
