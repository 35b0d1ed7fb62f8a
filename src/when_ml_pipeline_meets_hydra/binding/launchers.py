"""The launcher of a run: our own, an orchestrator, or another plugin of Hydra's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Protocol

from when_ml_pipeline_meets_hydra.composing.job import LOCAL_LAUNCHER, ORCHESTRATOR_LAUNCHER
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

KEY = "hydra.launcher"
_ROOM = f"{__name__.partition('.')[0]}.orchestrators"


class Orchestrator(Protocol):
    """Runs the steps of a plan as nodes of another system; its fields are the keys of its launcher."""

    @property
    def title(self) -> str:
        """The name of the system: ``Dagster``."""

    @property
    def takes_secrets(self) -> bool:
        """Whether secrets of the command line reach its nodes, in the environment of their processes."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The keys of its launcher that its process needs, as JSON values."""

    def check(self) -> Iterator[Problem]:
        """Yield what is missing, before anything runs, such as a package."""

    def command(self, graph: Path) -> Sequence[str]:
        """Return the command that runs the graph in this file, as the only process group; exit status 0: it ended."""

    def environment(self, graph: Path) -> Mapping[str, str]:
        """Return the environment variables for it."""


def n_jobs_of(launcher: Any, problems: list[Problem]) -> int | None:
    """Return the number of parallel steps of our own launcher; None if it is another one. Appends problems."""
    from pydantic import Field

    if not isinstance(launcher, Mapping) or launcher.get("_target_") != LOCAL_LAUNCHER:
        return None
    found = _validated(Annotated[int, Field(ge=1, le=1024)], launcher.get("n_jobs"), f"{KEY}.n_jobs", problems)
    return None if found is None else int(found)


def orchestrator_of(launcher: Any, problems: list[Problem]) -> Orchestrator | None:
    """Return the orchestrator that a launcher names; None if it names none. Appends problems."""
    if not isinstance(launcher, Mapping) or launcher.get("_target_") != ORCHESTRATOR_LAUNCHER:
        return None
    options = {key: value for key, value in launcher.items() if key not in ("_target_", "system")}
    system = str(launcher.get("system"))
    if not system.isidentifier():
        problems.append(Problem(key=f"{KEY}.system", value=system, message="there is no such orchestrator"))
        return None
    try:
        kind: Any = import_module(f"{_ROOM}.{system}").Launcher
    except (ModuleNotFoundError, AttributeError):
        problems.append(Problem(key=f"{KEY}.system", value=system, message="there is no such orchestrator"))
        return None
    found: Orchestrator | None = _validated(kind, options, KEY, problems)
    return found


def _validated(hint: Any, value: Any, key: str, problems: list[Problem]) -> Any:
    from when_ml_pipeline_meets_hydra.binding.validation import validate

    try:
        return validate(hint, value, key=key, origin=lambda _: None)
    except BadInput as error:
        problems += error.problems
        return None
