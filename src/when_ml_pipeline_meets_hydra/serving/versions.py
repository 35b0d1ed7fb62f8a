"""What a cluster says of a model: its versions, which of them is active, and how that came about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from when_ml_pipeline_meets_hydra.contracts import frozen

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def model_name(name: str) -> str:
    """The name, if a model may have it: it becomes part of paths and URLs.

    Raises:
        ValueError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("only letters, digits, '.', '_' and '-', at most 100, the first a letter or digit")
    return name


ModelName = Annotated[
    str,
    AfterValidator(model_name),
    Field(description="Name under which the model is served: letters, digits, '.', '_', '-'"),
]


class Action(StrEnum):
    """What was done."""

    PUSH = "push"
    ACTIVATE = "activate"
    ROLLBACK = "rollback"


@frozen
class Event:
    """One line of the history."""

    when: datetime
    who: str
    action: Action
    version: int


@frozen
class Version:
    """One pushed bundle. ``problem`` says why it cannot be served, if so."""

    number: int
    digest: str
    source: str
    model: str
    metrics: Mapping[str, float]
    problem: str | None = None


@frozen
class Status:
    """A model on a cluster. ``previous`` are the versions to which rollbacks go, the next one first."""

    model: str
    active: int | None = None
    previous: tuple[int, ...] = ()
    versions: tuple[Version, ...] = ()
    history: tuple[Event, ...] = ()

    def version(self, number: int | None) -> Version | None:
        """The version of that number."""
        return next((version for version in self.versions if version.number == number), None)
