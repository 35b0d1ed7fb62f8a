"""Status of a model on a cluster: its versions, the active one, a canary, and the history."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen

USERS = "users.json"  # beside the models in a repository
RUN_HEADER = "Pipeline-Run"  # request header: the id of the run that makes the change
RUN_PATTERN = r"^[A-Za-z0-9._-]{1,100}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_NAME = re.compile(NAME_PATTERN)


def model_name(name: str) -> str:
    """Validate the name of a model, which becomes part of paths and URLs.

    Raises:
        ValueError: it is not valid.
    """
    if not _NAME.fullmatch(name):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        like = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).lstrip("._-")[:100]
        message = "only ASCII letters, digits, '.', '_' and '-', at most 100, the first a letter or digit"
        raise ValueError(f"{message}: '{like}' for example" if like else message)
    if name == USERS:
        raise ValueError("is the name of the file of the server's users")
    return name


ModelName = Annotated[
    str,
    AfterValidator(model_name),
    Field(description="Name under which the model is served: letters, digits, '.', '_', '-'"),
]


class Action(StrEnum):
    """Kind of an event in the history."""

    PUSH = "push"
    ACTIVATE = "activate"
    CANARY = "canary"
    PROMOTE = "promote"
    TAKE_BACK = "take back"
    ROLLBACK = "rollback"
    UNDEPLOY = "undeploy"


@frozen
class Event:
    """One line of the history: time, user, action, version, run (null: none) and reason."""

    when: datetime
    who: str
    action: Action
    version: int
    run: str | None = None
    why: str | None = None


@frozen
class Terms:
    """Share of a canary, and the conditions for its promotion."""

    share: Annotated[float, Field(gt=0, lt=1, description="Share of the requests that the new version gets")]
    requests: Annotated[int, Field(ge=1, le=10**9, description="Requests that it has to serve before it is judged")]
    minutes: Annotated[float, Field(ge=0, le=525_600, description="Minutes that it has to serve before it is judged")]
    errors: Annotated[
        float, Field(ge=0, le=1, description="Largest share of failed requests; the active version serves those")
    ]
    latency: Annotated[
        float | None,
        Field(gt=0, le=1000, description="Largest ratio of its 95th percentile to the active one's; null: any"),
    ]
    agreement: Annotated[
        float | None, Field(ge=0, le=1, description="Smallest share of rows with equal predictions; null: any")
    ]
    sample: Annotated[
        float, Field(ge=0, le=1, description="Share of its requests that the active version predicts as well")
    ]
    tolerance: Annotated[
        float, Field(ge=0, description="Largest difference of equal numbers, as a part of the target's spread")
    ]

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if self.agreement and not self.sample:
            raise ValueError("agreement cannot be measured with sample=0")
        return self


@frozen
class Canary:
    """A version that serves a share of the requests until it is promoted or taken back."""

    version: Annotated[int, Field(ge=1)]
    since: datetime
    terms: Terms


@frozen
class Measured:
    """Measurements of a canary and the active version since the canary started.

    ``requests``, ``errors`` and ``latency`` (95th percentile, in s) are the canary's, ``active_requests`` and
    ``active_latency`` those of the active version; ``compared`` rows were predicted by both, ``agreed`` equally.
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
    """One pushed bundle. ``problem`` is the reason why it cannot be served, if any."""

    number: int
    digest: str
    source: str
    model: str
    metrics: Mapping[str, float]
    problem: str | None = None


@frozen
class Status:
    """Status of a model on a cluster. ``previous`` are the versions that can be rolled back to, the next one first.

    ``measured`` are the canary's measurements, if the cluster has them.
    """

    model: str
    active: int | None = None
    previous: tuple[int, ...] = ()
    canary: Canary | None = None
    measured: Measured | None = None
    versions: tuple[Version, ...] = ()
    history: tuple[Event, ...] = ()

    def version(self, number: int | None) -> Version | None:
        """Return the version with a number, if there is one."""
        return next((version for version in self.versions if version.number == number), None)
