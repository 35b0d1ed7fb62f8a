"""What its stages can be told."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from when_ml_pipeline_meets_hydra.contracts import Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


class Shape(StrEnum):
    """The curve to fit."""

    LINE = "line"
    PARABOLA = "parabola"
    EXPONENT = "exponent"


@frozen
class Source:
    """Numbers that are written down in the config."""

    numbers: Annotated[tuple[int, ...], Field(min_length=1, description="What to add up")]
    seconds: Annotated[float, Field(ge=0, le=60, description="How long each of three files takes, in s"), Unkeyed()] = 0
    workers: Annotated[int, Field(ge=1, description="Changes nothing in the result"), Unkeyed()] = 1

    def read(self) -> tuple[int, ...]:
        """The numbers."""
        return self.numbers


@frozen
class FileSource(Source):
    """Numbers in a text file, one per line, which are added to those in the config."""

    path: Annotated[Path, Field(description="The file")]

    def read(self) -> tuple[int, ...]:
        """The numbers."""
        return (*self.numbers, *map(int, self.path.read_text().split()))

    def fingerprint(self) -> str:
        """The digest of the file's content."""
        if not self.path.is_file():
            raise BadInput(Problem(key="path", value=str(self.path), message="there is no such file"))
        return sha256(self.path.read_bytes()).hexdigest()

    def check(self) -> Iterator[Problem]:
        """Every line has to be a whole number."""
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            if not line.strip().lstrip("-").isdigit():
                yield Problem(key="path", message=f"line {number} is no whole number: {line}", remedy="Correct it")


@frozen
class Knobs:
    """How to fit."""

    rate: Annotated[float, Field(gt=0, lt=1, description="Step of the search")]
    rounds: Annotated[int, Field(ge=1, le=1000, description="Passes over the numbers")]
    shape: Annotated[Shape, Field(description="Curve to fit")] = Shape.LINE
    strict: Annotated[bool, Field(description="Whether to refuse doubtful numbers")] = False

    @model_validator(mode="after")
    def _is_complex_enough(self) -> Knobs:
        if self.shape is Shape.PARABOLA and self.rounds < 2:
            raise ValueError("a parabola needs at least two rounds")
        return self


@frozen
class Login:
    """Who we are, under a name that does not look secret."""

    user: Annotated[str, Field(description="Name of the account")]
    phrase: Annotated[SecretStr, Field(description="What only we know")]


@frozen
class Target:
    """A place to announce results at."""

    name: Annotated[str, Field(min_length=1, description="What the place is called")]
    login: Annotated[Login, Field(description="Who we are there")]
    hush: Annotated[SecretStr | None, Field(description="A second secret")] = None
    mode: Annotated[str, Field(pattern="^(say|refuse|raise|exit|leak)$", description="What to do")] = "say"
