"""The settings of a search, from ``hydra.sweeper``; keys of Hydra's plugins for the same libraries are understood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import Field

from when_ml_pipeline_meets_hydra.binding.settings import Direction
from when_ml_pipeline_meets_hydra.binding.validation import validate
from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.execution.outcomes import counted

KEY = "hydra.sweeper"
DEFAULT_TRIALS = 20
# Library → the package that it is imported from, if it is not in the base installation.
PACKAGES = {"random": None, "optuna": "optuna", "ax": "ax", "nevergrad": "nevergrad"}
# Keys of Hydra's plugins that mean nothing here unless they are null, with what to do instead.
_ELSEWHERE = {
    "storage": "Leave it out: the study is kept below home (studies/), and the same command continues it",
    "search_space": "Write the space in params, or on the command line",
    "max_batch_size": "Write n_jobs, the number of trials that are proposed at once",
    "ax_config": "Write n_trials for max_trials, patience for early_stop, seed for client.random_seed, and params",
    "parametrization": "Write the space in params: key: interval(low,high), or tag(log,interval(low,high))",
    "custom_search_space": "Conditions follow from the options: a key is drawn where the drawn option has it",
}
# Keys of Nevergrad's plugin → ours.
_OPTIM = {"budget": "n_trials", "num_workers": "n_jobs", "seed": "seed"}
# Arguments of samplers in files of Hydra's plugin that Optuna 5 does not use any more.
WITHOUT_EFFECT = ("consider_prior", "consider_magic_clip", "consider_endpoints", "categorical_distance_func")


@frozen
class SearchSettings:
    """The settings of a search. ``options`` are those of the library's sampler."""

    library: Literal["random", "optuna", "ax", "nevergrad"]
    sampler: dict[str, Any] | None = None
    optim: dict[str, Any] | None = None
    pruner: dict[str, Any] | None = None
    study_name: Annotated[str, Field(pattern=r"^[\w][\w.-]{0,99}$")] | None = None
    n_trials: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    patience: Annotated[int, Field(ge=1)] | None = None
    n_jobs: Annotated[int, Field(ge=1, le=1024)] = 1
    direction: Direction | list[Direction] | None = None
    warm_start: bool = False
    default_first: bool = True
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of the library's sampler."""
        return (self.sampler if self.library == "optuna" else self.optim) or {}

    @property
    def begins_with_default(self) -> bool:
        """Whether the first trial is the default combination; samplers of every point have it among these."""
        target = str(self.options.get("_target_", ""))
        return self.default_first and not target.endswith(("GridSampler", "BruteForceSampler"))

    @property
    def identity(self) -> dict[str, Any]:
        """What tells studies with different samplers apart."""
        more = {} if self.begins_with_default else {"default_first": False}
        return {"sampler": {"library": self.library, "options": self.options, "seed": self.seed or 0, **more}}

    @property
    def notes(self) -> list[str]:
        """A sentence for each option without effect."""
        names = [name for name in WITHOUT_EFFECT if name in self.options]
        return [f"Note: {KEY}.sampler.{name} has no effect with Optuna 5" for name in names]

    @property
    def directions(self) -> list[Direction]:
        """The requested directions, one for each objective; none if those of the metrics count."""
        return self.direction if isinstance(self.direction, list) else [self.direction] if self.direction else []

    @property
    def most_trials(self) -> int | None:
        """The number of trials in all; None: another budget ends the search."""
        is_limited = self.timeout is not None or self.patience is not None
        return self.n_trials or (None if is_limited else DEFAULT_TRIALS)

    @property
    def budget(self) -> str:
        """The budget as text: ``25 trials, 60 s``."""
        most, patience = self.most_trials, self.patience
        parts = (
            counted(most, "trial") if most is not None else None,
            f"{self.timeout:g} s" if self.timeout is not None else None,
            f"{counted(patience, 'trial')} without a better one" if patience is not None else None,
        )
        return ", ".join(filter(None, parts))


def settings_of(sweeper: Mapping[str, Any], origin: Callable[[str], str | None] = lambda _: None) -> SearchSettings:
    """Return the settings in ``hydra.sweeper``. Raises ``BadInput``."""
    given = {key: value for key, value in sweeper.items() if key not in ("_target_", "params")}
    problems = list(_without_meaning(given))
    if isinstance(given.get("direction"), str) and given["direction"] not in ("maximize", "minimize"):
        message = "expected maximize or minimize"
        problems.append(Problem(key=f"{KEY}.direction", value=given["direction"], message=message))
    if problems:
        raise BadInput(*problems)
    data = _translated({key: value for key, value in given.items() if key not in _ELSEWHERE})
    found: SearchSettings = validate(SearchSettings, data, key=KEY, origin=origin)
    if (package := PACKAGES[found.library]) and find_spec(package) is None:
        message = f"the library {found.library} is not installed"
        remedy = f"pip install 'when_ml_pipeline_meets_hydra[{found.library}]', or choose hydra/sweeper=random"
        raise BadInput(Problem(key="hydra/sweeper", value=found.library, message=message, remedy=remedy))
    return found


def _translated(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in which those of Nevergrad's plugin have our names. Raises ``BadInput``."""
    optim = given.get("optim")
    if not isinstance(optim, Mapping):
        return dict(given)
    ours = {own: optim[name] for name, own in _OPTIM.items() if optim.get(name) is not None}
    if optim.get("maximize") is not None:
        ours["direction"] = "maximize" if optim["maximize"] else "minimize"
    if wrong := [name for name in optim if name not in (*_OPTIM, "maximize", "optimizer") and optim[name]]:
        remedy = did_you_mean(f"{KEY}.optim.{wrong[0]}", [f"{KEY}.optim.{name}" for name in ("optimizer", *_OPTIM)])
        raise BadInput(Problem(key=f"{KEY}.optim.{wrong[0]}", message="has no meaning here", remedy=remedy))
    return {**given, **ours, "optim": {"optimizer": optim.get("optimizer", "NGOpt")}}


def _without_meaning(given: Mapping[str, Any]) -> Iterator[Problem]:
    for key, remedy in _ELSEWHERE.items():
        if given.get(key) is not None:
            yield Problem(key=f"{KEY}.{key}", message="has no meaning here", remedy=remedy)
