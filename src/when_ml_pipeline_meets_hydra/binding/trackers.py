"""The settings of trackers: keys of a config that switch one on, and its typed options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.errors import Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.job import Job

PACKAGE = __name__.partition(".")[0]
# Tracker → the key that switches it on. (Their names are settings of a run: ``composing.job.TRACKERS``.)
SWITCHES = {"wandb": "mode", "mlflow": "tracking_uri", "aim": "repo"}
_OFF = (None, "disabled")


def is_on(name: str, node: Any) -> bool:
    """Return whether a config switches a tracker on; one that is no mapping is wrong, and counts as such."""
    return not isinstance(node, Mapping) or node.get(SWITCHES[name]) not in _OFF


def options_of(name: str) -> Any:
    """Return the class of a tracker's options."""
    from importlib import import_module

    return import_module(f"{PACKAGE}.tracking.trackers.{name}").Options


def is_wanted(name: str, job: Job) -> bool:
    """Return whether a tracker's options are to be validated: it is on, or an override names it."""
    named = (line.lstrip("+~").startswith((f"{name}.", f"{name}=")) for line in job.values)
    return name in job.config and (is_on(name, job.config[name]) or any(named))


def is_installed(name: str) -> bool:
    """Return whether the library of a tracker is installed; it is not imported."""
    from importlib.util import find_spec

    return find_spec(name) is not None


def problems_of(
    name: str, options: Any, stages: Collection[str], origin: Callable[[str], str | None]
) -> Iterator[Problem]:
    """Yield the problems of a tracker that is on: it is not installed, or is to get the files of an unknown stage."""
    if not is_installed(name):
        key, remedy = f"{name}.{SWITCHES[name]}", f"pip install 'when_ml_pipeline_meets_hydra[{name}]'"
        yield Problem(key=key, message=f"{name} is not installed", origin=origin(key), remedy=remedy)
    if unknown := [stage for stage in options.artifacts if stage not in stages]:
        key, message = f"{name}.artifacts", f"expected a list of stages ({', '.join(stages)})"
        yield Problem(key=key, value=",".join(unknown), message=message, origin=origin(key))
