"""Settings of a run, the same for all of its jobs: home folder, forced stages, objective, error policy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from when_ml_pipeline_meets_hydra.binding import trackers
from when_ml_pipeline_meets_hydra.binding.launchers import n_jobs_of, orchestrator_of
from when_ml_pipeline_meets_hydra.composing.job import GLOBALS, SEARCHES, SETTINGS, TRACKERS
from when_ml_pipeline_meets_hydra.composing.job_file import ops_of
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass, field

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.binding.launchers import Orchestrator
    from when_ml_pipeline_meets_hydra.composing.job import Composed

Direction = Literal["maximize", "minimize"]

NAMES = SETTINGS
PREFIX = f"{GLOBALS}.exp_prefix"


class OnError(StrEnum):
    """What happens after a failed step to the steps that do not depend on it."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The metric by which combinations are sorted (``r2``, ``modeling.r2``; None: not sorted), and the direction.

    Without a direction, it is that of the metric. ``then`` says which of the combinations that claim the same place
    (a served name on a cluster) go on when they are known: the best one, or all. A search may have ``further``
    metrics, with their directions, and ``constraints``, such as ``rmse <= 3``.
    """

    metric: str | None = None
    direction: Direction | None = None
    then: Literal["best", "all"] = "best"
    further: Mapping[str, Direction | None] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()

    @property
    def content(self) -> dict[str, Any]:
        """It as JSON values; what only searches have is left out if it is empty."""
        found = {"metric": self.metric, "direction": self.direction, "then": self.then}
        more = {"further": dict(self.further), "constraints": list(self.constraints)}
        return {**found, **{name: value for name, value in more.items() if value}}


@dataclass(frozen=True, kw_only=True)
class GivenObjective:
    """The objective as options give it: one metric, or a list of several, each with its direction."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # validated in settings_of

    metric: str | list[str] | None = None
    direction: Direction | list[Direction] | None = None
    then: Literal["best", "all"] = "best"
    constraints: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``n_jobs`` is the number of steps that run at once here; None if a launcher or the ``orchestrator`` runs them.

    ``prefixes`` are those of the jobs, ``globals.exp_prefix`` of a job file. The folder of the record carries the one
    of all jobs. ``trackers`` maps the trackers that are on to the seconds that they have after the run.
    """

    home: Path
    force: tuple[str, ...] = ()
    show_secrets: bool = False
    on_error: OnError = OnError.CONTINUE
    objective: Objective = Objective()
    n_jobs: int | None = 1
    orchestrator: Orchestrator | None = None
    prefixes: tuple[str, ...] = ()
    trackers: Mapping[str, float] = field(default_factory=dict)

    @property
    def prefix(self) -> str | None:
        """The prefix of all jobs; None if there is none, or another in some of them."""
        return self.prefixes[0] if len(self.prefixes) == 1 else None

    @property
    def note_on_prefixes(self) -> str | None:
        """The note on a sweep over prefixes, whose one record carries none of them; None for others."""
        if len(self.prefixes) < 2:
            return None
        names = ", ".join(name or "none" for name in self.prefixes)
        return f"Note: {PREFIX} is not the same for all jobs ({names}): the folder of the record ends with none of them"


def hints() -> dict[str, Any]:
    """Return the type of each setting that is no tracker."""
    from when_ml_pipeline_meets_hydra.contracts import NamedPath

    types = (NamedPath, list[str] | str, list[str] | str, bool, GivenObjective, OnError)
    return dict(zip((name for name in NAMES if name not in TRACKERS), types, strict=True))


def settings_of(composed: Composed) -> tuple[Settings | None, list[Problem]]:
    """Return the settings of a run and their problems; the settings are None if there are problems."""
    problems: list[Problem] = []
    found = {key: _setting(composed, key, hint, problems) for key, hint in hints().items()}
    home = _home(found["home"], composed, problems)
    force = _stages(found["force"], composed, problems)
    n_jobs = n_jobs_of(composed.hydra.get("launcher"), problems)
    orchestrator = orchestrator_of(composed.hydra.get("launcher"), problems)
    prefixes = _prefixes(composed, problems)
    timeouts = _trackers(composed, problems)
    objective = _objective(found["objective"] or GivenObjective(), composed, problems)
    if problems or not composed.jobs or home is None:
        return None, problems
    return (
        Settings(
            home=home,
            force=tuple(force),
            show_secrets=found["show_secrets"],
            on_error=found["on_error"],
            objective=objective,
            n_jobs=n_jobs,
            orchestrator=orchestrator,
            prefixes=prefixes,
            trackers=timeouts,
        ),
        problems,
    )


def _setting(composed: Composed, key: str, hint: Any, problems: list[Problem]) -> Any:
    """Return a validated setting; appends a problem if it is invalid or differs between jobs."""
    from when_ml_pipeline_meets_hydra.binding.options import faults_of
    from when_ml_pipeline_meets_hydra.binding.reading import read_again
    from when_ml_pipeline_meets_hydra.binding.validation import validate

    if not composed.jobs:
        return None
    first, *others = composed.jobs
    if any(job.config.get(key) != first.config.get(key) for job in others):
        problems.append(Problem(key=key, message="has to be the same for all jobs of a run"))
    elif faults := faults_of(key, first):
        problems += faults
    else:
        try:
            return validate(
                hint, first.config.get(key), key=key, origin=first.origins.of, reread=partial(read_again, first)
            )
        except BadInput as error:
            problems += error.problems
    return None


def _trackers(composed: Composed, problems: list[Problem]) -> dict[str, float]:
    """Return the trackers that are on; appends a problem if the options of any are invalid."""
    found = {}
    for name in trackers.SWITCHES:
        if any(trackers.is_wanted(name, job) for job in composed.jobs):
            options = _setting(composed, name, trackers.options_of(name), problems)
            first = composed.jobs[0]
            if options is not None and trackers.is_on(name, first.config[name]):
                problems += trackers.problems_of(name, options, composed.stages, first.origins.of)
                found[name] = options.timeout
    return found


def _home(given: Path | None, composed: Composed, problems: list[Problem]) -> Path | None:
    """Return the home folder as an absolute path; appends a problem if no folder can have that path."""
    if given is None:
        return None
    try:
        str(given.absolute()).encode()
        with suppress(FileNotFoundError):
            (given / "store").stat()
    except (OSError, UnicodeEncodeError) as error:  # a name that is too long, a file, a folder that may not be entered
        reason = error.strerror if isinstance(error, OSError) else "a folder's name is not UTF-8: start in another"
        message, origin = f"nothing can be written there ({reason})", composed.jobs[0].origins.of("home")
        problems.append(Problem(key="home", value=str(given), message=message, origin=origin))
    return given.absolute()


def _objective(given: GivenObjective, composed: Composed, problems: list[Problem]) -> Objective:
    """Return the objective with the first metric, by which the best is chosen, apart from the further ones."""
    if given.metric == []:
        problems.append(Problem(key="objective.metric", value="[]", message="expected a metric, several, or null"))
        return Objective()
    metrics: list[str | None] = [*dict.fromkeys(given.metric)] if isinstance(given.metric, list) else [given.metric]
    ways: Sequence[Direction | None] = given.direction if isinstance(given.direction, list) else [given.direction]
    ways = ways or [None]
    if len(ways) not in (1, len(metrics)) or (len(ways) == 1 < len(metrics) and ways[0] is not None):
        message = f"expected a direction for each metric, {len(metrics)} in all"
        remedy = "Leave it out, if all of them are known, or write objective.direction=[maximize,minimize]"
        problems.append(Problem(key="objective.direction", message=message, remedy=remedy))
        return Objective()
    ways = [*ways] * (len(metrics) if len(ways) == 1 else 1)
    several, constraints = dict(zip(metrics[1:], ways[1:], strict=True)), tuple(given.constraints or ())
    is_sweep = len({job.combination for job in composed.jobs}) > 1
    is_search = (composed.hydra.get("sweeper") or {}).get("_target_") == SEARCHES
    if is_sweep and not is_search and (several or constraints):
        key, what = ("objective.metric", "several metrics") if several else ("objective.constraints", "constraints")
        remedy = "Name one metric; runs compare shows all of them" if several else "Leave them out"
        problems.append(Problem(key=key, message=f"{what} are for a search (hydra/sweeper=optuna)", remedy=remedy))
    return Objective(
        metric=metrics[0],
        direction=ways[0],
        then=given.then,
        further={str(name): way for name, way in several.items()},
        constraints=constraints,
    )


def _stages(force: list[str] | str | None, composed: Composed, problems: list[Problem]) -> list[str]:
    named = force if isinstance(force, list) else [force] if force else []
    if unknown := [stage for stage in named if stage not in composed.stages]:
        message = f"expected a list of stages ({', '.join(composed.stages)})"
        problems.append(Problem(key="force", value=",".join(unknown), message=message))
    return named


_IN_A_NAME = re.compile(r"[\w.-]{1,60}")


def _prefixes(composed: Composed, problems: list[Problem]) -> tuple[str, ...]:
    """Return the different ``globals.exp_prefix`` of jobs of a job file, "" for jobs without one."""
    of_jobs = [job.config.get(GLOBALS) for job in composed.jobs if ops_of(job.config)]
    given = [g.get("exp_prefix") if isinstance(g, Mapping) else None for g in of_jobs]
    for prefix in sorted({str(prefix) for prefix in given if prefix is not None}):
        if not _IN_A_NAME.fullmatch(prefix):
            origin = composed.jobs[0].origins.of(PREFIX)
            message = "part of a folder's name: up to 60 letters, digits, '_', '-' and '.'"
            problems.append(Problem(key=PREFIX, value=prefix, message=message, origin=origin))
    prefixes = tuple(dict.fromkeys("" if prefix is None else str(prefix) for prefix in given))
    return () if prefixes == ("",) else prefixes
