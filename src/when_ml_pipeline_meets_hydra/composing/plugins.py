"""Loads Hydra's plugins; one that cannot be imported is left out, and named."""

from __future__ import annotations

import importlib.abc
import pkgutil
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from hydra.core import plugins

_failed: dict[str, BaseException] = {}  # module → the error of its import


def load() -> None:
    """Load the installed plugins, before Hydra does, which would fail with a plugin that fails."""
    module: Any = plugins
    module.pkgutil = _Walk
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*Error importing ")  # reported by ``left_out``
        plugins.Plugins.instance()


@cache
def left_out() -> tuple[str, ...]:
    """A note for each plugin that cannot be imported, with the remedy."""
    found: dict[str, tuple[str, BaseException]] = {}
    for module, error in _failed.items():
        found.setdefault(".".join(module.split(".")[:2]), (module, error))
    return tuple(_note(package, module, error) for package, (module, error) in found.items())


def _note(package: str, module: str, error: BaseException) -> str:
    name = _distribution(package) or package
    reason = (str(error).splitlines() or [""])[0]
    fails = f"importing {module} fails ({type(error).__name__}: {reason})"
    return f"Note: the Hydra plugin {name} is left out, since {fails}. Update it, or pip uninstall {name}"


def _distribution(package: str) -> str | None:
    """The name under which a package is installed."""
    folder = package.replace(".", "/") + "/"
    for distribution in metadata.distributions():
        if any(str(file).startswith(folder) for file in distribution.files or ()):
            return str(distribution.metadata["Name"])
    return None


class _Walk:
    """Takes the place of ``pkgutil`` where Hydra looks for plugins; errors of imports become ``ImportError``s."""

    @staticmethod
    def walk_packages(*args: Any, **named: Any) -> Iterator[tuple[Any, str, bool]]:
        for finder, name, is_package in pkgutil.walk_packages(*args, **named):
            yield _Finder(finder), name, is_package


class _Finder:
    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(self, name: str) -> ModuleSpec | None:
        spec: ModuleSpec | None = self._finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        name, spec = module.__name__, module.__spec__
        module.__loader__ = self._loader
        if spec is not None:
            spec.loader = self._loader
        try:
            self._loader.exec_module(module)
        except (Exception, SystemExit) as error:
            _failed[name] = error
            raise ImportError(f"{type(error).__name__}: {error}") from error
