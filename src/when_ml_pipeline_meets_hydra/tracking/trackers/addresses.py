"""Validation of where trackers are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql", "oracle")
_OTHERS = ("databricks", "uc")


def mlflow_address(uri: str) -> str:
    """An address of MLflow: a server, or a database. Raises ``ValueError`` if it is none."""
    parts = _without_password(uri, "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
    scheme = parts.partition("+")[0]
    if scheme in ("http", "https") and not urlsplit(uri).hostname:
        raise ValueError("expected a URL like http://127.0.0.1:5000")
    if scheme not in ("http", "https", *_DATABASES, *_OTHERS) and uri not in _OTHERS:
        raise ValueError("expected the URL of a server, http://127.0.0.1:5000, or a database, sqlite:///mlflow.db")
    return uri.rstrip("/") if scheme in ("http", "https") else uri


def aim_address(place: str) -> str:
    """A folder of Aim, or the address of its server. Raises ``ValueError`` if it is neither."""
    scheme = _without_password(place, "the environment variables of Aim")
    if not place or "\0" in place or (scheme and (scheme != "aim" or not urlsplit(place).hostname)):
        raise ValueError("expected a folder, or the address of a server: aim://127.0.0.1:53800")
    return place if scheme else str(Path(place).expanduser())


def _without_password(uri: str, variables: str) -> str:
    """Return the scheme of a URI. Raises ``ValueError`` if it names a user or a password."""
    try:
        parts = urlsplit(uri)
        user, password, _ = parts.username, parts.password, parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if user is not None or password is not None:
        raise ValueError(f"must not hold a user or a password; give them by {variables}")
    return parts.scheme if "://" in uri else ""
