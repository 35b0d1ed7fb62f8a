"""The resolved signature of a subcommand's function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args, get_type_hints

from when_ml_pipeline_meets_hydra.contracts import Artifact, Each, Wanted

SPECIAL = frozenset({"out", "progress", "checkpoints", "run_id"})


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Annotations and defaults of the parameters, the names of the special ones, and the return annotation.

    ``wanted`` are the marks of the parameters marked ``Wanted``.
    """

    parameters: Mapping[str, Any]
    wanted: Mapping[str, Wanted]
    specials: frozenset[str]
    defaults: Mapping[str, Any]
    returns: Any


@lru_cache(maxsize=1024)
def signature_of(function: Callable[..., Any]) -> Signature:
    """Return the resolved signature.

    Raises ``TypeError`` unless all parameters can be keywords, and the return value and all parameters but special
    ones, which no config fills, are annotated.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise TypeError(f"its parameter '{name}' cannot be given by name")
        if name not in hints and name not in SPECIAL:
            raise TypeError(f"its parameter '{name}' has no annotation")
    if "return" not in hints:
        raise TypeError("what it returns has no annotation ('-> None', or a class of Artifact)")
    marks = {name: mark for name, hint in hints.items() if (mark := _wanted_of(hint))}
    return Signature(
        parameters={n: get_args(hints[n])[0] if n in marks else hints[n] for n in parameters if n not in SPECIAL},
        wanted=marks,
        specials=SPECIAL & parameters.keys(),
        defaults={n: p.default for n, p in parameters.items() if p.default is not p.empty},
        returns=hints["return"],
    )


def artifact_kind(hint: Any) -> Any:
    """Return the artifact class of an annotation, also of ``X | None`` and of one with marks."""
    if hasattr(hint, "__metadata__"):
        hint = get_args(hint)[0]
    return next((kind for kind in get_args(hint) if kind not in (type(None), ...)), hint)


def each_of(hint: Any) -> Each | None:
    """Return the mark ``Each`` of an annotation."""
    return next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Each)), None)


def _wanted_of(hint: Any) -> Wanted | None:
    return next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Wanted)), None)


def rules_of(function: Callable[..., Any], signature: Signature) -> Iterator[Callable[..., Any]]:
    """Yield the functions of config keys that decide what else a subcommand needs: a stage, elements."""
    if preceding := getattr(function, "preceding", None):
        yield preceding.when
    yield from (mark.when for mark in signature.wanted.values())
    for hint in signature.parameters.values():
        if (each := each_of(hint)) and not isinstance(each.of, str):
            yield each.of


def is_artifact(hint: Any) -> bool:
    """Return whether an annotation is that of an artifact; ``Any`` may be one."""
    kind = artifact_kind(hint)
    return kind is Any or (inspect.isclass(kind) and issubclass(kind, Artifact))
