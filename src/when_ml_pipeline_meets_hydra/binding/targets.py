"""Import the class or function of a ``_target_``: only what a config may name, within an allow-list of packages.

Of this program, the functions of its stages are subcommands, and the option classes of its parts are options. Of a
package that the user allowed, an annotated function that returns an artifact or nothing is a subcommand, and a class
with annotated ``__init__`` is an option. Nothing else is called, and nothing outside the list is imported.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from when_ml_pipeline_meets_hydra.binding.signature import signature_of
from when_ml_pipeline_meets_hydra.composing.environment import PACKAGES, packages
from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

OWN = __name__.partition(".")[0]
STAGES = f"{OWN}.stages"
_PARTS = tuple(f"{OWN}.{room}" for room in ("analyses", "deploy", "ml"))
_NO_SUBCOMMAND = f"of this program, only the functions of {STAGES} are subcommands"
_NO_OPTION = "of this program, only classes of options may be named here"


def allowed_packages(named: Iterable[str] = ()) -> tuple[str, ...]:
    """Return this package, those of the environment variable, and those ``named`` on the command line."""
    return tuple(dict.fromkeys([OWN, *packages(), *named]))


def locate_function(
    target: Any, allowed: Iterable[str], *, key: str, origin: Callable[[str], str | None]
) -> Callable[..., Any]:
    """Return the function of a subcommand that ``target`` names.

    Raises ``BadInput`` if it is outside the allowed packages, cannot be imported, or cannot be a subcommand.
    """
    name = _Name(target, tuple(allowed), key, origin)
    if name.is_own and not inside(name.module, [STAGES]):
        raise name.wrong(_NO_SUBCOMMAND)
    found = name.load()
    if inspect.isclass(found):
        raise name.wrong("it is a class, and a subcommand is a function")
    if not inspect.isfunction(found):
        raise name.wrong(f"neither a class nor a function of {', '.join(name.allowed)}")
    if found.__module__ != name.module or found.__name__.startswith("_"):
        raise name.wrong(f"it is not defined in {name.module}", f"Write {found.__module__}.{found.__qualname__}")
    try:
        returns = signature_of(found).returns
    except Exception as error:  # inspecting user code may raise anything
        raise name.wrong(f"cannot be a subcommand: {error}") from error
    if not (returns is type(None) or (inspect.isclass(returns) and issubclass(returns, Artifact))):
        message = f"it returns {getattr(returns, '__name__', returns)}, and a subcommand an artifact or nothing"
        raise name.wrong(message, "Annotate it with '-> None', or with a class of Artifact")
    return found


def locate_migration(target: str, allowed: Iterable[str]) -> Callable[..., Any]:
    """Return the function of an allowed package, not of this one, that ``target`` names. Raises ``BadInput``."""
    name = _Name(target, tuple(allowed), "function", lambda _: None)
    if name.is_own:
        raise name.wrong("it is of this program, and a migration is a function of a package of yours")
    found = name.load()
    if not inspect.isfunction(found) or found.__module__ != name.module:
        raise name.wrong(f"it is no function that is defined in {name.module}")
    return found


def locate_class(
    target: Any, allowed: Iterable[str], *, key: str, origin: Callable[[str], str | None], base: Any = None
) -> type:
    """Return the class of an option that ``target`` names.

    ``base`` is a class of another library that an option asks for: its subclasses need no annotations.
    Raises ``BadInput`` if it is outside the allowed packages, cannot be imported, or cannot be an option.
    """
    name = _Name(target, tuple(allowed), key, origin)
    if name.is_own and name.module != OWN and not inside(name.module, _PARTS):
        raise name.wrong(_NO_OPTION)
    found = name.load()
    if inspect.isfunction(found):
        raise name.wrong("is a function, and an option is a class")
    if not inspect.isclass(found) or not inside(found.__module__, name.allowed):
        raise name.wrong(f"neither a class nor a function of {', '.join(name.allowed)}")
    if inside(found.__module__, [OWN]) and not _is_own_option(found):
        raise name.wrong(_NO_OPTION)
    if base is not None and not issubclass(found, base):
        raise name.wrong(f"{found.__name__} is no {base.__name__}")
    if base is None and (parameter := _not_annotated(found)):
        raise name.wrong(f"the parameter '{parameter}' of its __init__ has no annotation", "Make it a @frozen class")
    return found


def locate_callable(
    target: Any, allowed: Iterable[str], parameters: Iterable[str], *, key: str, origin: Callable[[str], str | None]
) -> Callable[..., Any] | None:
    """Return the function that an option names, which may have some ``parameters``; None if it is a class.

    Raises ``BadInput`` if it is outside the allowed packages, cannot be imported, or has another signature.
    """
    name = _Name(target, tuple(allowed), key, origin)
    if name.is_own:
        return None
    found = name.load()
    if not inspect.isfunction(found):
        return None
    if found.__module__ != name.module or found.__name__.startswith("_"):
        raise name.wrong(f"it is not defined in {name.module}", f"Write {found.__module__}.{found.__qualname__}")
    signature = inspect.signature(found)
    if signature.return_annotation not in (float, "float"):
        raise name.wrong("it is not annotated to return a number", "Annotate it with '-> float'")
    known = tuple(parameters)
    for parameter in signature.parameters.values():
        by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if not by_name or (parameter.name not in known and parameter.default is parameter.empty):
            raise name.wrong(f"its parameter '{parameter.name}' is none of {', '.join(known)}, and has no default")
    return found


def is_kind(cls: type, hint: Any) -> bool:
    """Return whether a class can be given for an annotation, without creating an instance of it."""
    if hint is Any:
        return True
    if get_origin(hint) in (Union, UnionType):
        return any(is_kind(cls, inner) for inner in get_args(hint))
    kind: Any = hint if inspect.isclass(hint) else get_origin(hint)
    if not inspect.isclass(kind):
        return True
    try:
        return issubclass(cls, kind)
    except TypeError:  # a protocol with attributes, or one that cannot be checked at run time
        known = {*dir(cls), *(name for base in cls.__mro__ for name in vars(base).get("__annotations__", ()))}
        return _members(kind) <= known


def _members(protocol: type) -> set[str]:
    kinds = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False)]
    named = (name for base in kinds for name in (*vars(base), *vars(base).get("__annotations__", ())))
    return {name for name in named if not name.startswith("_")}


class _Name:
    """The value of a ``_target_``: checked, not yet imported."""

    def __init__(self, target: Any, allowed: tuple[str, ...], key: str, origin: Callable[[str], str | None]) -> None:
        self._target, self.allowed, self._key, self._origin = target, allowed, key, origin
        self.module, _, self._attribute = str(target).rpartition(".")
        self.is_own = inside(str(target), [OWN])
        if not (self.module and isinstance(target, str)):
            raise self.wrong("has to be a class or function with its module", "Write package.module.Name")
        if not inside(target, allowed):
            package = target.partition(".")[0]
            remedy = f"If it is code of yours, add packages=[{package}] or set ${PACKAGES}"
            is_python = package in sys.stdlib_module_names
            raise self.wrong(f"only {', '.join(allowed)} may be named here", None if is_python else remedy)

    def wrong(self, message: str, remedy: str | None = None) -> BadInput:
        place = f"{self._key}._target_"
        value = self._target if isinstance(self._target, str) else json.dumps(self._target)
        return BadInput(Problem(key=place, value=value, message=message, origin=self._origin(place), remedy=remedy))

    def load(self) -> Any:
        """Import it."""
        module, name = self.module, self._attribute
        if "__main__" in module.split("."):
            raise self.wrong(f"{module} is a program")
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError as error:
            remedy = "Is the package installed, or its folder on $PYTHONPATH?"
            raise self.wrong(f"cannot import {module} ({error})", remedy) from error
        except AttributeError as error:
            raise self.wrong(f"{module} has no '{name}'") from error
        except (Exception, SystemExit) as error:
            raise self.wrong(f"importing {module} fails: {type(error).__name__}: {error}") from error


def inside(name: str, allowed: Iterable[str]) -> bool:
    """Return whether a module is one of the ``allowed`` packages or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in allowed)


def _is_own_option(cls: type) -> bool:
    """Return whether a class of this program is ``@frozen``, in a room of its parts, and no result of a step."""
    is_frozen = "__pydantic_validator__" in vars(cls) and dataclasses.is_dataclass(cls)
    return is_frozen and inside(cls.__module__, _PARTS) and not issubclass(cls, Artifact)


def _not_annotated(cls: Any) -> str | None:
    """Return a parameter of the class's ``__init__`` without annotation; None if all have one."""
    if dataclasses.is_dataclass(cls) or hasattr(cls, "model_fields") or cls.__init__ is object.__init__:
        return None
    if not inspect.isfunction(cls.__init__):
        return "…"
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    return next((p.name for p in parameters if p.annotation is p.empty), None)
