"""The contract of stages and options: frozen option classes, artifacts, effects, progress.

A subcommand is a plain function whose signature is the contract::

    def train(model: Model, m_param: TrainingParam, preprocessing: PreparedData, *,
              out: Path, progress: Progress) -> TrainedModel: ...

A parameter's name is a config key or the name of a stage; four are special: ``out`` (an empty directory for the
step's files), ``progress``, ``checkpoints`` (a directory that is kept when the step fails or is killed, so that the
next attempt with the same key can resume), and ``run_id`` (the id of the run, for effects).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    LiteralString,
    NamedTuple,
    Protocol,
    TypeVar,
    dataclass_transform,
    get_args,
    runtime_checkable,
)

from pydantic import BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import InitErrorDetails, PydanticCustomError

from when_ml_pipeline_meets_hydra.errors import Problem, local_path

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass_transform(kw_only_default=True, frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Make ``cls`` a validated, immutable, keyword-only dataclass that rejects unknown keys, NaN and infinity.

    ``@frozen class Ridge: alpha: Annotated[float, Field(gt=0)] = 1.0`` is an option with one validated key.
    """
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    return pydantic_dataclass(frozen=True, kw_only=True, config=config)(cls)  # type: ignore[return-value]


class Unkeyed:
    """Mark a field that does not change the result, and is no part of the key: ``Annotated[int, Unkeyed()] = 1``."""


def as_local_path(path: Any) -> Any:
    """Return the path of this machine that a text means. Raises ``ValueError`` if it means none."""
    if not isinstance(path, str):
        return path
    try:
        return str(local_path(path))
    except RuntimeError as error:  # ~name of nobody
        raise ValueError(str(error)) from error


# A path of this machine; ``~`` is the home folder. No empty text, and no scheme such as ``s3://``.
NamedPath = Annotated[Path, BeforeValidator(as_local_path)]


class Chosen:
    """Mark a field that holds another option: the config key of the field's name.

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
    """Mark a field that holds named options, each of the class in its ``_target_``; those set to null are left out.

    With ``tests: Annotated[Mapping[str, Gate], Several()]`` in the class of ``gates``, the config key
    ``gates.tests.latency`` becomes an instance of ``gates.tests.latency._target_``. If that may also be a function,
    ``functions`` is the class of such an option, which has the function in a field marked ``Called``.
    """

    def __init__(self, functions: type | None = None) -> None:
        self.functions = functions

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


class Called:
    """Mark the field that holds the function that a ``_target_`` names; ``parameters`` are those that it may have.

    Others need defaults. The function has to be annotated to return a ``float``.
    """

    def __init__(self, *parameters: str) -> None:
        self.parameters = parameters

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        def pick(value: Any, info: Any) -> Any:
            function = (info.context or {}).get(info.field_name) if value is None else value
            if not callable(function):
                raise ValueError("a function is needed, by its name in _target_")
            return function

        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(pick)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"chosen": True}


class Wanted(NamedTuple):
    """Mark a parameter with a default that a step receives only if ``when``, called with config keys, returns True.

    ``validation: Annotated[Validated | None, Wanted(is_chosen)] = None`` receives the artifact of a stage if it is
    needed, which is then planned as well; with ``or_requested=True`` also if that stage is requested in the same
    combination. A parameter that is named as the stage itself receives the result of its step without all such
    parameters. A step for an element (a fold) has the default in any case, so that it does not depend on the parameter.
    """

    when: Callable[..., bool]
    or_requested: bool = False


class Each(NamedTuple):
    """Mark a parameter that receives several artifacts of a stage: one for each element of a list.

    ``describe: Annotated[tuple[Description, ...], Each("column", of="schema.features")]`` receives the artifacts of
    ``describe``, for which the config key ``column`` is each element in turn, as it is for the stages that it needs.
    ``of`` is the key of a list in the config, or a function whose parameters are config keys and that returns the
    elements. In plans and reports an element has the name of its attribute or key ``name``; texts and numbers are
    their own names.
    """

    key: str
    of: str | Callable[..., Sequence[Any]]


Direction = Literal["maximize", "minimize"]  # which way a metric is better


@frozen
class Artifact:
    """The result of a step: a directory of ordinary files (``path``) and a typed manifest.

    Subclasses are ``@frozen`` and add fields of JSON-serializable types; a text is never taken for a number. A field
    ``metrics`` (name → number) is shown in the run's record, with the standard deviations in a field ``deviations``
    (likewise), if it has one; ``directions`` says of each metric which way is better, and ``scored_on``, if given, what
    tables call the metrics in place of the stage (``test.r2``). Example:
    ``return TrainedModel(path=out, metrics={"r2": 0.87}, …)``.
    """

    directions: ClassVar[Mapping[str, Direction]] = {}
    scored_on: ClassVar[str | None] = None

    path: Path

    @model_validator(mode="wrap")
    @classmethod
    def _takes_no_text_for_a_number(cls, given: Any, make: Any) -> Any:
        artifact = make(given)
        fields = getattr(given, "kwargs", given)
        wrong = list(_made_numbers(fields, artifact.__dict__)) if isinstance(fields, Mapping) else []
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return artifact

    @property
    def key(self) -> str:
        """The key of the step that computed it, which is the name of its directory in the store."""
        return self.path.parent.name


def _made_numbers(given: Any, made: Any, *place: str | int) -> Iterator[InitErrorDetails]:
    """Yield the values of an artifact that are numbers, or truth values, and were given as something else."""
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        for key in given.keys() & made.keys():
            yield from _made_numbers(given[key], made[key], *place, key)
    elif isinstance(given, list | tuple) and isinstance(made, list | tuple):
        for number, (one, other) in enumerate(zip(given, made, strict=False)):
            yield from _made_numbers(one, other, *place, number)
    elif type(made) in _EXPECTED and isinstance(given, str | bytes | bool) and type(given) is not type(made):
        yield {"type": PydanticCustomError("number", _EXPECTED[type(made)]), "loc": place, "input": given}


_EXPECTED: Mapping[type, LiteralString] = {
    int: "Input should be a whole number",
    float: "Input should be a number",
    bool: "Input should be true or false",
}


@runtime_checkable
class Approval(Protocol):
    """An artifact that approves of the artifacts that its step received, or refuses them, as quality gates do.

    After a refusal the step counts as failed, with the exit code of a refusal, although its result is stored. Until a
    later approval of the same artifacts, no effect may use them.
    """

    @property
    def refusal(self) -> str | None:
        """Why they are refused; None if they are approved."""


@runtime_checkable
class Fingerprinted(Protocol):
    """An option that refers to data outside the config, such as a file."""

    def fingerprint(self) -> str:
        """Return a digest that changes when the data change. Must be cheap and import no ML library."""


@runtime_checkable
class FromFiles(Fingerprinted, Protocol):
    """An option whose fingerprint depends on its own values and on files alone."""

    def files(self) -> Iterable[Path]:
        """Return these files; while none of them changes, the fingerprint is cached."""


@runtime_checkable
class Checked(Protocol):
    """An option that can check data and servers before anything runs."""

    def check(self) -> Iterable[Problem]:
        """Return all problems; their keys are relative to the option (``target``, not ``dataset.target``)."""


class Progress(Protocol):
    """Reports the progress of a step, and its partial scores."""

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        """Report ``done`` of ``total`` units of work (epochs, trees, rows; None: unknown)."""

    def report(self, step: int, /, **metrics: float) -> bool:
        """Report metrics on validation rows after ``step`` epochs or trees, from 1; returns whether to stop.

        After True the step ends as ``pruned``, and nothing of it is stored: ``if progress.report(…): raise Pruned``.
        Without a pruner, and where no answer reaches the step, as with Hydra's launchers, it is False.
        """


def effect(function: F) -> F:
    """Mark a subcommand with side effects outside the store (a deployment): it runs on every request, uncached."""
    function.is_effect = True  # type: ignore[attr-defined]
    return function


def agreed(rule: Callable[..., Iterable[Problem]]) -> Callable[[F], F]:
    """Attach a rule that checks several arguments of a subcommand together, before anything runs.

    The parameters of ``rule`` are config keys of the subcommand or of one whose artifact it receives (None where there
    is no such value). It returns problems with full config keys (``m_param.seed``).
    """

    def mark(function: F) -> F:
        function.rule = rule  # type: ignore[attr-defined]
        return function

    return mark


def agreed_with_data(rule: Callable[..., Iterable[Problem]]) -> Callable[[F], F]:
    """Attach a rule like that of ``agreed``, which may read data: it runs only if the subcommand will be computed."""

    def mark(function: F) -> F:
        function.data_rule = rule  # type: ignore[attr-defined]
        return function

    return mark


class Claim(NamedTuple):
    """A place for one step of a sweep, such as a name on a server: each further one would replace the one before.

    ``place`` identifies it, ``text`` names it in messages (``the name 'cars' on local``). The best is chosen among the
    claims with equal ``among``, such as those of one data set; ``remedy`` says how the others get places of their own.
    If it is not ``exclusive``, all may stay unless there is an objective, and it does not count beside one that is.
    """

    place: str
    text: str
    among: str
    remedy: str | None = None
    exclusive: bool = True


def claims(rule: Callable[..., Claim]) -> Callable[[F], F]:
    """Attach a rule that returns what a step claims; its parameters are config keys, as for ``agreed``.

    Where several combinations of a sweep claim one place, the best by ``objective.metric`` is chosen.
    """

    def mark(function: F) -> F:
        function.claim = rule  # type: ignore[attr-defined]
        return function

    return mark


class Preceding(NamedTuple):
    """The ``stage`` that precedes a subcommand if ``when``, called with config keys, returns True."""

    stage: str
    when: Callable[..., bool]


def preceded_by(stage: str, when: Callable[..., bool]) -> Callable[[F], F]:
    """Run another stage before a subcommand, in every combination for which ``when`` returns True.

    The parameters of ``when`` are config keys. Nothing is handed over, so the result and its key stay the same; but by
    a metric of that stage the best combination can be chosen before the subcommand runs.
    """

    def mark(function: F) -> F:
        function.preceding = Preceding(stage, when)  # type: ignore[attr-defined]
        return function

    return mark
