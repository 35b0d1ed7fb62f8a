"""Counts the interpolations that a value leads to, so that a chain of doublings ends in a message within seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf.base import Container
from omegaconf.errors import InterpolationResolutionError

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

MOST_INTERPOLATIONS = 5_000  # that one top-level key resolves, also indirectly
MOST_CHARACTERS = 10_000_000  # of the texts that these make
TOO_MANY = f"its interpolations lead to more than {MOST_INTERPOLATIONS} others, or to too long a text"


class _Interpolations:
    """The interpolations that have been resolved, and the characters of the texts that they made."""

    def __init__(self) -> None:
        self.count = self.characters = 0

    @property
    def are_too_many(self) -> bool:
        """Whether there are more than the limits allow."""
        return self.count > MOST_INTERPOLATIONS or self.characters > MOST_CHARACTERS

    def resolve(self, original: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Resolve one. Raises ``InterpolationResolutionError`` if there are too many."""
        self.count += 1
        if self.are_too_many:
            raise InterpolationResolutionError(TOO_MANY)
        made = original(*args, **named)
        self.characters += len(made) if isinstance(made, str) else 0
        return made


_current: _Interpolations | None = None


@contextmanager
def limited_interpolations(key: str) -> Iterator[None]:
    """Within it, interpolations are counted. Raises ``BadInput`` for ``key`` if they are too many or too deep."""
    global _current
    before, _current = _current, (counted := _Interpolations())
    try:
        yield
    except (InterpolationResolutionError, RecursionError) as error:
        if isinstance(error, InterpolationResolutionError) and not counted.are_too_many:
            raise
        message = TOO_MANY if counted.are_too_many else "its interpolations, or its keys, are nested too deeply"
        raise BadInput(Problem(key=key, message=message)) from None
    finally:
        _current = before


def are_too_many() -> bool:
    """Whether the current ``limited_interpolations`` has come to its limit."""
    return _current is not None and _current.are_too_many


def install() -> None:
    """Have OmegaConf count interpolations."""
    original = Container.resolve_parse_tree
    if hasattr(original, "is_counted"):
        return

    def resolve_parse_tree(self: Container, *args: Any, **named: Any) -> Any:
        if _current is None:
            return original(self, *args, **named)
        return _current.resolve(original, self, *args, **named)

    resolve_parse_tree.is_counted = True  # type: ignore[attr-defined]
    Container.resolve_parse_tree = resolve_parse_tree  # type: ignore[method-assign]
