"""Run the steps of a plan as ops of a job in Dagster's instance."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.execution.graph import Graph

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.orchestrators.dagster.code_location import definitions as definitions

_HOME = "DAGSTER_HOME"
# Dagster reports to its makers unless this is set.
QUIET = {"DAGSTER_DISABLE_TELEMETRY": "1"}


@frozen
class Launcher:
    """Runs each step as an op in a process of its own."""

    dagster_home: Annotated[NamedPath | None, Field(description="The folder of Dagster's instance")] = None
    job_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,100}$", description="The name of the job")] = "pipeline"
    max_concurrent: Annotated[int, Field(ge=1, le=1024, description="How many ops run at once")] | None = None
    tags: Annotated[dict[str, str], Field(description="Tags of the run in Dagster")] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name of the system."""
        return "Dagster"

    @property
    def takes_secrets(self) -> bool:
        """Yes: its processes are children of this one."""
        return True

    @property
    def options(self) -> Mapping[str, Any]:
        """What the process that runs the job needs to know."""
        return {"job_name": self.job_name, "max_concurrent": self.max_concurrent, "tags": dict(self.tags)}

    def check(self) -> Iterator[Problem]:
        """Yield a problem if Dagster is not installed."""
        if find_spec("dagster") is None:
            message, remedy = "Dagster is not installed", "pip install 'when_ml_pipeline_meets_hydra[dagster]'"
            yield Problem(key="hydra/launcher", value="dagster", message=message, remedy=remedy)

    def command(self, graph: Path) -> Sequence[str]:
        """Return the command that runs a graph."""
        return [sys.executable, "-m", f"{__name__}.job", str(graph)]

    def environment(self, graph: Path) -> Mapping[str, str]:
        """Return the environment variables for it: where Dagster's instance is."""
        given = self.dagster_home or os.environ.get(_HOME) or Graph.read(graph).home / "dagster"
        return {_HOME: str(Path(given).absolute()), **QUIET}


def __getattr__(name: str) -> Any:
    if name == "definitions":  # what loads Dagster
        from when_ml_pipeline_meets_hydra.orchestrators.dagster.code_location import definitions

        return definitions
    raise AttributeError(name)
