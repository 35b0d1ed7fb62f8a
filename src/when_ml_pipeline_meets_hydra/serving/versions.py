"""What a cluster says of a model: its versions, which of them is active, and how that came about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ModelName = Annotated[
    str,
    Field(pattern=NAME_PATTERN, description="Name under which the model is served: letters, digits, '.', '_', '-'"),
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
