"""Validation of the URL, id and password in the options of clusters."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit


def server_url(url: str) -> str:
    """The address of a server, without a slash at its end.

    Raises:
        ValueError: it is none, or holds what has a key of its own.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL; expected one like https://models.example.org:8080") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold an id or a password; they have keys of their own, cluster.id and cluster.pw")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("expected a URL like https://models.example.org:8080 or http://127.0.0.1:8080")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return url.rstrip("/")


def user_id(name: str) -> str:
    """An id that can be sent by HTTP Basic authentication.

    Raises:
        ValueError: it cannot.
    """
    if not name or ":" in name:
        raise ValueError("an id must not be empty or hold a colon")
    return name


def given_password(password: Any) -> Any:
    """A password that is given and not empty.

    Raises:
        ValueError: there is none.
    """
    if password is None or password == "":
        raise ValueError("there is no password; give one by the environment variable that the option reads, or inline")
    return password
