"""What Hydra's own config may not do: name code outside the allow-list, or change how programs find their code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from when_ml_pipeline_meets_hydra.binding.targets import locate_class
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

TARGET = "_target_"
# Variables by which this program, Python, the linker, shells and other programs find the code that they run.
_CODE_VARIABLES = re.compile(
    r"PATH|WMH_.*|PYTHON.*|LD_.*|DYLD_.*|(BASH_)?ENV|SHELL|IFS|PERL.*|RUBY.*|NODE_.*|JAVA_.*|GIT_.*|.*EDITOR|.*PAGER",
    re.IGNORECASE,
)


def hydra_problems(
    hydra: Mapping[str, Any], allowed: tuple[str, ...], origin: Callable[[str], str | None]
) -> Iterator[Problem]:
    """Yield the problems of Hydra's own config: of its callbacks, its launcher and its variables."""
    yield from callback_problems(hydra.get("callbacks"), allowed, origin)
    yield from nested_targets("hydra.launcher", hydra.get("launcher"), origin)
    for name in (hydra.get("job") or {}).get("env_set") or ():
        if _CODE_VARIABLES.fullmatch(str(name)):
            key = f"hydra.job.env_set.{name}"
            message = "this variable decides which code runs, so it is no matter of a config"
            yield Problem(key=key, message=message, origin=origin(key), remedy="Set it where the command is given")


def callback_problems(callbacks: Any, allowed: Iterable[str], origin: Callable[[str], str | None]) -> Iterator[Problem]:
    """Yield a problem for each callback whose class may not be named, and for targets inside of callbacks."""
    for name, node in callbacks.items() if isinstance(callbacks, Mapping) else ():
        key = f"hydra.callbacks.{name}"
        if isinstance(node, Mapping) and TARGET in node:
            try:
                locate_class(node[TARGET], allowed, key=key, origin=origin)
            except BadInput as error:
                yield from error.problems
        elif node is not None:
            message = "expected a group of keys with a _target_, the class of the callback"
            yield Problem(key=key, message=message, origin=origin(key))
        yield from nested_targets(key, node, origin)


def nested_targets(key: str, node: Any, origin: Callable[[str], str | None]) -> Iterator[Problem]:
    """Yield a problem for each ``_target_`` below ``node`` (not in itself), of which Hydra would make an object."""
    inner = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for name, value in inner:
        below = f"{key}.{name}"
        if isinstance(value, Mapping) and TARGET in value:
            place = f"{below}.{TARGET}"
            message = "an argument here is a value, and names no code"
            yield Problem(key=place, value=str(value[TARGET]), message=message, origin=origin(place))
        yield from nested_targets(below, value, origin)
