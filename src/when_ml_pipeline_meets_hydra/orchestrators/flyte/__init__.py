"""Run the steps of a plan as actions of a run of Flyte 2, on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.execution.graph import Graph

_CONFIG = "FLYTECTL_CONFIG"


@frozen
class Launcher:
    """Runs each step as an action, in a process of its own."""

    flyte_home: Annotated[NamedPath | None, Field(description="The folder of Flyte's local database")] = None
    max_concurrent: Annotated[int | None, Field(ge=1, le=1024, description="How many steps run at once")] = None

    @property
    def title(self) -> str:
        """The name of the system."""
        return "Flyte"

    @property
    def takes_secrets(self) -> bool:
        """Yes: its processes are children of this one."""
        return True

    @property
    def options(self) -> Mapping[str, Any]:
        """What the process that runs the graph needs to know."""
        return {"max_concurrent": self.max_concurrent or os.cpu_count() or 1}

    def check(self) -> Iterator[Problem]:
        """Yield a problem if Flyte 2 is not installed."""
        if find_spec("flyte") is None:
            message, remedy = "Flyte 2 is not installed", "pip install 'when_ml_pipeline_meets_hydra[flyte]'"
            yield Problem(key="hydra/launcher", value="flyte", message=message, remedy=remedy)

    def command(self, graph: Path) -> Sequence[str]:
        """Return the command that runs a graph."""
        return [sys.executable, "-m", f"{__name__}.actions", str(graph)]

    def environment(self, graph: Path) -> Mapping[str, str]:
        """Return the environment variables for it: Flyte's config file, beside which its database lies."""
        if self.flyte_home is None and os.environ.get(_CONFIG):
            return {}
        config = Path(self.flyte_home or Graph.read(graph).home / "flyte").absolute() / "config.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.touch()
        return {_CONFIG: str(config)}
