"""Run the combinations of a plan as the branches of a flow of Metaflow, on this machine."""

from __future__ import annotations

import getpass
import json
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
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.storage import durable_files

GRAPH = "WMH_GRAPH"
_ROOT = "METAFLOW_DATASTORE_SYSROOT_LOCAL"


@frozen
class Launcher:
    """Runs each combination as a task of its own; effects, in their order, in a task after all of them."""

    datastore_root: Annotated[NamedPath | None, Field(description="The folder of Metaflow's local datastore")] = None
    max_workers: Annotated[int, Field(ge=1, le=1024, description="How many combinations run at once")] = 16
    tags: Annotated[tuple[str, ...], Field(description="Tags of the run in Metaflow")] = ()

    @property
    def title(self) -> str:
        """The name of the system."""
        return "Metaflow"

    @property
    def takes_secrets(self) -> bool:
        """Yes: its processes are children of this one."""
        return True

    @property
    def options(self) -> Mapping[str, Any]:
        """Nothing: all of them are in the command."""
        return {}

    def check(self) -> Iterator[Problem]:
        """Yield a problem if Metaflow is not installed."""
        if find_spec("metaflow") is None:
            message, remedy = "Metaflow is not installed", "pip install 'when_ml_pipeline_meets_hydra[metaflow]'"
            yield Problem(key="hydra/launcher", value="metaflow", message=message, remedy=remedy)

    def command(self, graph: Path) -> Sequence[str]:
        """Return the command that runs a graph; the composed configs are in a file for Metaflow's ``Config``."""
        config = graph.with_name(f"config-{graph.stem}.json")
        durable_files.write(config, json.dumps(composed_configs(Graph.read(graph))).encode())
        run = ["run", "--max-workers", str(self.max_workers), *(f"--tag={tag}" for tag in self.tags)]
        return [sys.executable, str(Path(__file__).with_name("flow.py")), "--config", "config", str(config), *run]

    def environment(self, graph: Path) -> Mapping[str, str]:
        """Return the environment variables for it: the graph, and where Metaflow's datastore is."""
        root = self.datastore_root or os.environ.get(_ROOT) or Graph.read(graph).home / "metaflow"
        Path(root).mkdir(parents=True, exist_ok=True)
        return {GRAPH: str(graph), _ROOT: str(Path(root).absolute()), **_user()}


def _user() -> dict[str, str]:
    """The variable with the name of the user, where Metaflow finds none; it takes root for none."""
    named = (os.environ.get(name) for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"))
    if any(name not in (None, "", "root") for name in named):
        return {}
    try:
        own = getpass.getuser()
    except (OSError, KeyError):  # a container without a user's name
        own = "root"
    return {"METAFLOW_USER": own if own != "root" else "wmh"}


def composed_configs(graph: Graph) -> dict[str, object]:
    """Return the overrides, and the composed config of each job by its number; secrets masked."""
    configs = {str(number): config for number, config in Record(graph.record).configs()}
    return {"overrides": list(graph.command.overrides), "jobs": configs}
