"""Background monitoring in each worker: saves the request counters, and promotes or takes back canaries.

There is no leader: the first worker with a verdict takes the model's lock, and the others find the change made.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from random import random
from weakref import WeakKeyDictionary

from when_ml_pipeline_meets_hydra.errors import briefly
from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Distribution, Summary
from when_ml_pipeline_meets_hydra.serving.formats.reference import read_training
from when_ml_pipeline_meets_hydra.serving.formats.versions import Canary
from when_ml_pipeline_meets_hydra.serving.http.models import LoadedVersions, ServedVersion
from when_ml_pipeline_meets_hydra.serving.monitoring.agreement import agreement
from when_ml_pipeline_meets_hydra.serving.observations import daily, latencies
from when_ml_pipeline_meets_hydra.serving.observations.canary_counts import Counts, add_counts
from when_ml_pipeline_meets_hydra.serving.observations.counters import RequestCounters, Snapshot
from when_ml_pipeline_meets_hydra.serving.observations.daily import Observed
from when_ml_pipeline_meets_hydra.serving.repository.active_version import Pointer

log = logging.getLogger(__name__)

WHO = "server"
INTERVAL_SECONDS = 1.0  # between two checks
CHECKS_PER_SAVE = 2  # checks between two updates of the day's file


class Monitor:
    """Monitors the versions that a worker has in memory."""

    def __init__(self, loaded: LoadedVersions) -> None:
        self._loaded, self._repository = loaded, loaded.repository
        self._training: WeakKeyDictionary[RequestCounters, tuple[Summary, Distribution]] = WeakKeyDictionary()
        self._unsaved: dict[tuple[str, int], Observed] = {}
        self._logged: set[str] = set()
        self._checks = 0
        self._checking = threading.Lock()  # the last check may start while the previous one runs

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check every second until the block ends, and once more at the end."""
        task = asyncio.create_task(self._check_forever())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(self.check, last=True)

    async def _check_forever(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await asyncio.to_thread(self.check)

    def check(self, *, last: bool = False) -> None:
        """Save the counts since the previous check, and judge the canaries. Errors are logged."""
        with self._checking:
            for served in self._loaded.in_memory():
                if any(snapshot := served.counters.snapshot()):
                    with self._logging_errors(served.model):
                        self._count(served, snapshot)
            self._checks += 1
            if last or self._checks % CHECKS_PER_SAVE == 0:
                self._save()
            for model, broken in self._loaded.canaries().items():
                with self._logging_errors(model):
                    self._judge(model, broken)

    @contextmanager
    def _logging_errors(self, model: str) -> Iterator[None]:
        """Log an exception, once per message, so that one model's errors do not stop the others."""
        try:
            yield
        except Exception as problem:
            message = f"{model}: the observations cannot be saved: {briefly(problem)}"
            if message not in self._logged:
                self._logged.add(message)
                log.exception(message)

    def _count(self, served: ServedVersion, snapshot: Snapshot) -> None:
        if served.counters not in self._training:
            folder = self._repository.folder(served.model, served.number)
            self._training[served.counters] = read_training(folder, served.scorer.manifest)
        observed = daily.summarize(snapshot, *self._training[served.counters])
        key = served.model, served.number
        self._unsaved[key] = self._unsaved[key] + observed if key in self._unsaved else observed
        pointer = self._repository.pointer(served.model)
        if pointer and pointer.canary and served.number in (pointer.active, pointer.canary.version):
            counts = self._counts(served, snapshot, pointer)
            folder = self._repository.root / served.model
            with daily.locked(folder):
                now = self._repository.pointer(served.model)
                if now and now.canary == pointer.canary:  # not into the counts of the next canary
                    add_counts(folder, pointer.canary, counts)

    def _counts(self, served: ServedVersion, snapshot: Snapshot, pointer: Pointer) -> Counts:
        assert pointer.canary
        times = latencies.histogram(snapshot.seconds)
        if served.number == pointer.active:
            return Counts(active=times)
        terms = pointer.canary.terms
        sample = [rows for rows in snapshot.rows if random() < terms.sample]
        active = self._loaded.active(served.model).scorer
        compared, agreed = agreement(sample, served.scorer.manifest, active, terms.tolerance)
        return Counts(canary=times, errors=snapshot.failures, compared=compared, agreed=agreed)

    def _save(self) -> None:
        for model, number in list(self._unsaved):
            observed = self._unsaved.pop((model, number))
            folder = self._repository.root / model
            with self._logging_errors(model):
                if (folder / "versions" / str(number)).is_dir():  # it may have been removed
                    with daily.locked(folder):
                        daily.add(folder, number, observed)

    def _judge(self, model: str, broken: tuple[Canary, str] | None) -> None:
        event = self._repository.judge_canary(model, WHO, broken)
        if event:
            log.info("%s version %d: %s: %s", model, event.version, event.action.value, event.why)
