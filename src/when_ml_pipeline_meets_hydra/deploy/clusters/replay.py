"""Reconstruct from a history which version was active before."""

from __future__ import annotations

from collections.abc import Iterable

from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.serving.formats.versions import Action, Event, Status, Version


def previous(history: Iterable[Event], active: int | None) -> tuple[int, ...]:
    """The versions to which rollbacks go, the next one first.

    For platforms that know only the active version. If ``active`` differs from the last event of the history
    (after a change by other means, or a kill before the event was written), it counts as activated last.
    """
    served, before = None, tuple[int, ...]()
    for event in history:
        if event.action in (Action.ACTIVATE, Action.PROMOTE):
            served, before = event.version, _without(event.version, served, before)
        elif event.action is Action.ROLLBACK:
            place = before.index(event.version) + 1 if event.version in before else 0
            served, before = event.version, before[place:]
        elif event.action is Action.UNDEPLOY:
            served, before = None, _without(None, served, before)
    return before if served == active else _without(active, served, before)


def version_before(status: Status) -> int:
    """The version that a rollback makes active.

    Raises:
        Refused: there is none.
    """
    if status.active is None and not status.previous:
        raise none_active(status.model)
    if not status.previous:
        raise Refused("model_name", f"'{status.model}' has no earlier version to go back to")
    return status.previous[0]


def version_of(status: Status, number: int | None) -> Version:
    """The version of that number.

    Raises:
        Refused: there is none.
    """
    if (version := status.version(number)) is None:
        raise Refused("model_name", f"'{status.model}' has no version {number}")
    return version


def none_active(model: str) -> Refused:
    """The error for a model without an active version."""
    return Refused("model_name", f"no version of '{model}' is active")


def _without(version: int | None, served: int | None, before: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in (served, *before) if n is not None and n != version)
