"""Loads of versions: each checked once in a process of its own if it might hang, each awaited without a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

from when_ml_pipeline_meets_hydra.serving import checking
from when_ml_pipeline_meets_hydra.serving.formats.manifest import BundleRefused, read_manifest
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings
from when_ml_pipeline_meets_hydra.storage.durable_files import write

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

CHECKS_AT_ONCE = 2
REFUSED_SECONDS = 600  # then it is checked again: the machine may have been busy
LOADS_AT_ONCE = 16


class LoadCheck:
    """Checks that a bundle can be loaded within the limits; all workers of a server share the results, by content."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = threading.Semaphore(CHECKS_AT_ONCE)

    def __call__(self, folder: Path) -> None:
        """Check the bundle in ``folder``, unless it has been found to be good.

        Raises:
            BundleRefused: it cannot be loaded, or goes beyond a limit.
        """
        if self._settings.checks is None:
            self._check(folder)
            return
        result = self._settings.checks / read_manifest(folder)[1]
        if not result.exists() or (result.stat().st_size and time.time() - result.stat().st_mtime > REFUSED_SECONDS):
            self._check_and_keep(folder, result)
        if problem := result.read_text():
            raise BundleRefused(problem)

    def _check_and_keep(self, folder: Path, result: Path) -> None:
        problem = ""
        try:
            self._check(folder)
        except BundleRefused as refused:
            problem = refused.message
        write(result, problem.encode())

    def _check(self, folder: Path) -> None:
        with self._turn:
            checking.check_load(folder, self._settings.load_timeout, self._settings.memory_limit)


@dataclass(eq=False)
class Loads:
    """Loads that are in progress; requests that need the same one share it. Use it in one event loop."""

    _tasks: dict[Hashable, asyncio.Task[Any]] = field(default_factory=dict)
    _limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(LOADS_AT_ONCE))

    async def shared(self, load: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Return what ``load`` returns for these arguments, in a thread; it goes on if this call is cancelled."""
        key = load, arguments
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(self._load(partial(load, *arguments)))
            task.add_done_callback(lambda done: self._end(key, done))
        result: Result = await asyncio.shield(task)
        return result

    async def _load(self, load: Callable[[], Result]) -> Result:
        return await to_thread.run_sync(load, limiter=self._limiter)

    def _end(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # it is raised where it is awaited, if it still is
