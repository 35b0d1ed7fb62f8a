"""What a cluster says of a model: its versions, which of them is active, and how that came about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen

USERS = "users.json"  # beside the models in a repository
RUN_HEADER = "Pipeline-Run"  # of a request that changes something: the id of the run that asks
RUN_PATTERN = r"^[A-Za-z0-9._-]{1,100}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_NAME = re.compile(NAME_PATTERN)


def model_name(name: str) -> str:
    """The name, if a model may have it: it becomes part of paths and URLs.

    Raises:
        ValueError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("only letters, digits, '.', '_' and '-', at most 100, the first a letter or digit")
    if name == USERS:
        raise ValueError("is the name of the file of the server's users")
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
    CANARY = "canary"
    PROMOTE = "promote"
    TAKE_BACK = "take back"
    ROLLBACK = "rollback"
    UNDEPLOY = "undeploy"


@frozen
class Event:
    """One line of the history: what was done to which version, by whom, for which run (null: none), and why."""

    when: datetime
    who: str
    action: Action
    version: int
    run: str | None = None
    why: str | None = None


@frozen
class Terms:
    """What a canary gets, and what it has to prove before it serves alone."""

    share: Annotated[float, Field(gt=0, lt=1, description="Part of the requests that the new version answers")]
    requests: Annotated[int, Field(ge=1, le=10**9, description="Requests that it has to get before it is judged")]
    minutes: Annotated[float, Field(ge=0, le=525_600, description="Minutes that it has to serve before it is judged")]
    errors: Annotated[
        float, Field(ge=0, le=1, description="Most that it may fail, as part of its requests; the active one answers")
    ]
    latency: Annotated[
        float | None,
        Field(gt=0, le=1000, description="Most that its 95th percentile may be, in those of the active one; null: any"),
    ]
    agreement: Annotated[
        float | None, Field(ge=0, le=1, description="Least part of rows that both answer alike; null: any")
    ]
    sample: Annotated[
        float, Field(ge=0, le=1, description="Part of its requests for which the active version is asked as well")
    ]
    tolerance: Annotated[
        float, Field(ge=0, description="Numbers are alike up to this part of the larger one; classes where equal")
    ]

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if self.agreement and not self.sample:
            raise ValueError("agreement cannot be seen with sample=0")
        return self


@frozen
class Canary:
    """A version that answers a share of the requests until it is promoted or taken back."""

    version: Annotated[int, Field(ge=1)]
    since: datetime
    terms: Terms


@frozen
class Measured:
    """How a canary and the active version did since it began.

    ``requests``, ``errors`` and ``latency`` (95th percentile, in s) are the canary's, ``active_requests`` and
    ``active_latency`` those of the active version; ``compared`` rows were answered by both, ``agreed`` of them alike.
    """

    requests: int = 0
    errors: int = 0
    latency: float | None = None
    active_requests: int = 0
    active_latency: float | None = None
    compared: int = 0
    agreed: int = 0


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
    """A model on a cluster. ``previous`` are the versions to which rollbacks go, the next one first.

    ``measured`` is how the canary does, where there is one and the cluster knows.
    """

    model: str
    active: int | None = None
    previous: tuple[int, ...] = ()
    canary: Canary | None = None
    measured: Measured | None = None
    versions: tuple[Version, ...] = ()
    history: tuple[Event, ...] = ()

    def version(self, number: int | None) -> Version | None:
        """The version of that number."""
        return next((version for version in self.versions if version.number == number), None)
