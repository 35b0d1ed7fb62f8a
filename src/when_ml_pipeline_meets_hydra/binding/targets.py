"""Import the class or function of a ``_target_``, within an allow-list of packages."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

from when_ml_pipeline_meets_hydra.composing.environment import PACKAGES, packages
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


def allowed_packages(named: Iterable[str] = ()) -> tuple[str, ...]:
    """Return this package, those of the environment variable, and those ``named`` on the command line."""
    return tuple(dict.fromkeys([__name__.partition(".")[0], *packages(), *named]))


def locate(target: Any, allowed: Iterable[str], *, key: str, origin: Callable[[str], str | None]) -> Callable[..., Any]:
    """Return the class or function that ``target`` names.

    Raises ``BadInput`` if it is outside the allowed packages, cannot be imported, or is neither class nor function.
    """
    allowed = tuple(allowed)

    def wrong(message: str, remedy: str | None = None) -> BadInput:
        place, value = f"{key}._target_", target if isinstance(target, str) else json.dumps(target)
        return BadInput(Problem(key=place, value=value, message=message, origin=origin(place), remedy=remedy))

    module, _, name = str(target).rpartition(".")
    if not (module and isinstance(target, str)):
        raise wrong("has to be a class or function with its module", "Write package.module.Name")
    if not inside(str(target), allowed):
        package = str(target).partition(".")[0]
        remedy = f"If it is code of yours, add packages=[{package}] or set ${PACKAGES}"
        is_python = package in sys.stdlib_module_names
        raise wrong(f"only {', '.join(allowed)} may be named here", None if is_python else remedy)
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        remedy = "Is the package installed, or its folder on $PYTHONPATH?"
        raise wrong(f"cannot import {module} ({error})", remedy) from error
    except AttributeError as error:
        raise wrong(f"{module} has no '{name}'") from error
    except (Exception, SystemExit) as error:
        raise wrong(f"importing {module} fails: {type(error).__name__}: {error}") from error
    if not (inspect.isclass(found) or inspect.isfunction(found)) or not inside(found.__module__, allowed):
        raise wrong(f"neither a class nor a function of {', '.join(allowed)}")
    return found


def inside(name: str, allowed: Iterable[str]) -> bool:
    """Return whether a module is one of the ``allowed`` packages or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in allowed)
