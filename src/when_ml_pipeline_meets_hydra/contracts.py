"""What the author of a stage needs: frozen option classes, artifacts, effects, progress.

A subcommand is a plain function whose signature is the contract::

    def train(model: Model, m_param: TrainingParam, preprocessing: PreparedData, *,
              out: Path, progress: Progress) -> TrainedModel: ...

A parameter's name is a config key or the name of a stage; four are special: ``out`` (an empty directory for the
step's files), ``progress``, ``checkpoints`` (a directory of the step's key that outlives a computation which failed
or was killed, so that the next one can go on from there), and ``run_id`` (the id of the run, for what an effect leaves
behind elsewhere).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, dataclass_transform, get_args, runtime_checkable

from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from when_ml_pipeline_meets_hydra.errors import Problem

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass_transform(kw_only_default=True, frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Make ``cls`` a validated, immutable, keyword-only dataclass that refuses unknown keys."""
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    return pydantic_dataclass(frozen=True, kw_only=True, config=config)(cls)  # type: ignore[return-value]


class Unkeyed:
    """Marks a field that does not change the result, and so stays out of the step's key.

    ``n_jobs: Annotated[int, Field(ge=1), Unkeyed()] = 1``
    """


def _named(path: Any) -> Any:
    if isinstance(path, str) and (not path or "\0" in path):
        raise ValueError("expected a path, not empty")
    return path


# The path of a file or a folder. An empty text would mean the folder where one happens to be.
NamedPath = Annotated[Path, BeforeValidator(_named)]


class Chosen:
    """Marks a field that is an option of its own: it receives what a parameter of its name would receive.

    ``connection: Annotated[Connection, Chosen()]`` in the class of ``dataset`` is the config key ``connection``.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        def pick(value: Any, info: Any) -> Any:
            chosen = (info.context or {}).get(info.field_name) if value is None else value
            if not isinstance(chosen, source):
                raise ValueError(f"a {source.__name__} is needed, at the config key '{info.field_name}'")
            return chosen

        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(pick)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"chosen": True}


class Several:
    """Marks a field that holds options by name, each of the class that its own ``_target_`` names; null: left out.

    ``tests: Annotated[Mapping[str, Gate], Several()]`` in the class of ``gates`` reads the keys ``gates.tests.latency``
    into what ``gates.tests.latency._target_`` says.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        def pick(value: Any, info: Any) -> Any:
            found = (info.context or {}).get(info.field_name) if value is None else value
            kind = get_args(source)[1]
            if not isinstance(found, Mapping) or not all(isinstance(option, kind) for option in found.values()):
                raise ValueError(f"a {kind.__name__} is needed below each name")
            return dict(found)

        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(pick)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"chosen": True}


@frozen
class Artifact:
    """What a step returns: a directory of ordinary files (``path``) and the typed facts about them.

    Subclasses add fields of JSON-able types; a field ``metrics`` (name → number) is shown in the run's record.
    """

    path: Path

    @property
    def key(self) -> str:
        """The key of the step that made it: the store's directory has that name."""
        return self.path.parent.name


@runtime_checkable
class Fingerprinted(Protocol):
    """An option that stands for data outside the config, such as a file."""

    def fingerprint(self) -> str:
        """A digest of the outside data; it changes when they do. Cheap, and imports no ML library."""


@runtime_checkable
class FromFiles(Fingerprinted, Protocol):
    """An option whose fingerprint is made from its own values and from files, and from nothing else."""

    def files(self) -> Iterable[Path]:
        """These files; where none of them has changed, the fingerprint need not be asked for."""


@runtime_checkable
class Checked(Protocol):
    """An option that can look at the outside world (read its data) before anything runs."""

    def check(self) -> Iterable[Problem]:
        """All that is wrong; the keys are relative to the option (``target``, not ``dataset.target``)."""


class Progress(Protocol):
    """Receives how far a step has come."""

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        """``done`` of ``total`` units of work (epochs, trees, rows; None: unknown)."""


def effect(function: F) -> F:
    """Mark a subcommand that changes the outside world: it runs every time that it is asked for."""
    function.is_effect = True  # type: ignore[attr-defined]
    return function


def agreed(rule: Callable[..., Iterable[Problem]]) -> Callable[[F], F]:
    """Give a subcommand a rule for what some of its values have to do with one another; asked before anything runs.

    ``rule`` names what it looks at: config values of the subcommand or of one whose artifact it receives (None where
    there is no such value). The keys of its problems are whole (``m_param.seed``).
    """

    def mark(function: F) -> F:
        function.rule = rule  # type: ignore[attr-defined]
        return function

    return mark
