"""Requests to the server at ``cluster.url``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.errors import StepFailed

if TYPE_CHECKING:
    import httpx


def send(url: str, method: str, path: str, *, auth: Any, timeout: float, **request: Any) -> httpx.Response:
    """Send a request; return the response whatever its status.

    Raises:
        StepFailed: there is none.
    """
    import httpx

    try:
        with httpx.Client(auth=auth, timeout=timeout) as client:
            return client.request(method, url + path, **request)
    except httpx.TimeoutException:
        raise StepFailed(f"cluster.url={url}: no answer within cluster.timeout={timeout:g} s") from None
    except (httpx.RequestError, httpx.InvalidURL) as problem:
        raise StepFailed(f"cluster.url={url} cannot be reached: {problem}. Is the server running?") from None


def content_of(response: httpx.Response) -> Any:
    """The JSON of a response; None if it is not JSON."""
    try:
        return response.json()
    except ValueError:
        return None
