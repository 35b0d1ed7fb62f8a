"""Context of the call of a step's function: ``HydraConfig``, working directory, environment and logging of its job."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

_HYDRA_CONFIG = "hydra.core.hydra_config"
_VERBOSE_LIBRARIES = ("httpx", "snowflake")  # they log each request at level INFO
_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"


@dataclass(kw_only=True)
class JobContext:
    """Context manager in which ``HydraConfig.get()`` returns the job's config; Hydra is loaded on first use only.

    ``hydra`` is Hydra's config of the job as plain values; ``config`` is that of the job, to which it may refer.
    """

    hydra: Mapping[str, Any]
    config: Mapping[str, Any]
    environment: Mapping[str, str]

    def __enter__(self) -> None:
        with ExitStack() as entered:
            entered.enter_context(_hydra_config(self))
            if self.hydra["job"].get("chdir"):
                folder = Path(self.hydra["runtime"]["output_dir"])
                folder.mkdir(parents=True, exist_ok=True)
                entered.enter_context(chdir(folder))
            entered.enter_context(_environment(self.environment))
            entered.enter_context(_logging(self.hydra.get("verbose")))
            self._entered = entered.pop_all()

    def __exit__(self, *error: object) -> None:
        self._entered.close()
        del self._entered


class _LazyConfig:
    """Takes the place of the config in ``HydraConfig``, and is built on first use."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            from when_ml_pipeline_meets_hydra.composing.hydra_config import whole_config

            self._made = whole_config(self._context.config, self._context.hydra)
        return getattr(self._made, name)


@contextmanager
def _hydra_config(context: JobContext) -> Iterator[None]:
    config = _LazyConfig(context)
    if module := sys.modules.get(_HYDRA_CONFIG):
        singleton = module.HydraConfig.instance()
        before, singleton.cfg = singleton.cfg, config
        try:
            yield
        finally:
            singleton.cfg = before
        return
    finder = _HydraConfigFinder(config)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if module := sys.modules.get(_HYDRA_CONFIG):
            module.HydraConfig.instance().cfg = None


class _HydraConfigFinder(importlib.abc.MetaPathFinder):
    """Import hook that sets the config of ``HydraConfig`` when a step is the first to import it."""

    def __init__(self, config: _LazyConfig) -> None:
        self._config = config

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _HYDRA_CONFIG:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader, self._config)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, config: _LazyConfig) -> None:
        self._loader, self._config = loader, config

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.HydraConfig.instance().cfg = self._config


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _ToStdout(logging.Handler):
    """Logging handler that prints to the current ``sys.stdout``, which is the output of the step."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(self.format(record) + "\n")


@contextmanager
def _logging(verbose: Any) -> Iterator[None]:
    """Print log messages of level INFO and above; with ``hydra.verbose`` (true, or names of loggers), of DEBUG."""
    root, handler = logging.getLogger(), _ToStdout()
    handler.setFormatter(logging.Formatter(_FORMAT))
    names = [verbose] if isinstance(verbose, str) else verbose if isinstance(verbose, list) else []
    levels = {root: logging.DEBUG if verbose is True else logging.INFO}
    if verbose is not True:
        levels |= {logging.getLogger(name): logging.WARNING for name in _VERBOSE_LIBRARIES}
    levels |= {logging.getLogger(str(name)): logging.DEBUG for name in names}
    before = {logger: logger.level for logger in levels}
    for logger, level in levels.items():
        logger.setLevel(level)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in before.items():
            logger.setLevel(level)
