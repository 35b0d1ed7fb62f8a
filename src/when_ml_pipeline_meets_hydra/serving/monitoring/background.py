"""What each worker does beside answering: it adds what it has seen to what all have, and judges canaries.

No worker is in charge: whichever comes first with a verdict takes the model's lock, and the others find it done.
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
from when_ml_pipeline_meets_hydra.serving.http.models import Loaded, Served
from when_ml_pipeline_meets_hydra.serving.monitoring.agreement import agreement
from when_ml_pipeline_meets_hydra.serving.observations import daily, latencies
from when_ml_pipeline_meets_hydra.serving.observations.canary_counts import Counts, add_counts
from when_ml_pipeline_meets_hydra.serving.observations.counters import Noted, Seen
from when_ml_pipeline_meets_hydra.serving.observations.daily import Observed
from when_ml_pipeline_meets_hydra.serving.repository.active_version import Pointer

log = logging.getLogger(__name__)

WHO = "server"
PAUSE = 1.0  # s between two looks
SAVES = 2  # looks between two additions to the day's file


class Watch:
    """Looks after the versions that a worker has in memory."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded, self._repository = loaded, loaded.repository
        self._training: WeakKeyDictionary[Seen, tuple[Summary, Distribution]] = WeakKeyDictionary()
        self._unsaved: dict[tuple[str, int], Observed] = {}
        self._said: set[str] = set()
        self._looks = 0
        self._looking = threading.Lock()  # the last look may find the one before it still at work

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look every second until the block ends, and once more then."""
        task = asyncio.create_task(self._go_on())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(self.look, last=True)

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            await asyncio.to_thread(self.look)

    def look(self, *, last: bool = False) -> None:
        """Add what was seen since the last time, and judge the canaries. Whatever goes wrong is logged."""
        with self._looking:
            for served in self._loaded.in_memory():
                if any(noted := served.seen.take()):
                    with self._going_on(served.model):
                        self._note(served, noted)
            self._looks += 1
            if last or self._looks % SAVES == 0:
                self._save()
            for model, broken in self._loaded.canaries().items():
                with self._going_on(model):
                    self._judge(model, broken)

    @contextmanager
    def _going_on(self, model: str) -> Iterator[None]:
        """What goes wrong with one model keeps nobody from the others, and is logged when it is new."""
        try:
            yield
        except Exception as problem:
            said = f"{model}: what was seen cannot be written down: {briefly(problem)}"
            if said not in self._said:
                self._said.add(said)
                log.exception(said)

    def _note(self, served: Served, noted: Noted) -> None:
        if served.seen not in self._training:
            folder = self._repository.folder(served.model, served.number)
            self._training[served.seen] = read_training(folder, served.scorer.manifest)
        found = daily.of(noted, *self._training[served.seen])
        key = served.model, served.number
        self._unsaved[key] = self._unsaved[key] + found if key in self._unsaved else found
        pointer = self._repository.pointer(served.model)
        if pointer and pointer.canary and served.number in (pointer.active, pointer.canary.version):
            counts = self._counts(served, noted, pointer)
            folder = self._repository.root / served.model
            with daily.adding(folder):
                now = self._repository.pointer(served.model)
                if now and now.canary == pointer.canary:  # not into the counts of the next one
                    add_counts(folder, pointer.canary, counts)

    def _counts(self, served: Served, noted: Noted, pointer: Pointer) -> Counts:
        assert pointer.canary
        times = latencies.bucketed(noted.seconds)
        if served.number == pointer.active:
            return Counts(active=times)
        terms = pointer.canary.terms
        sample = [rows for rows in noted.rows if random() < terms.sample]
        active = self._loaded.active(served.model).scorer
        compared, agreed = agreement(sample, served.scorer.manifest, active, terms.tolerance)
        return Counts(canary=times, errors=noted.failures, compared=compared, agreed=agreed)

    def _save(self) -> None:
        for model, number in list(self._unsaved):
            found = self._unsaved.pop((model, number))
            folder = self._repository.root / model
            with self._going_on(model):
                if (folder / "versions" / str(number)).is_dir():  # it may have been removed
                    with daily.adding(folder):
                        daily.add(folder, number, found)

    def _judge(self, model: str, broken: tuple[Canary, str] | None) -> None:
        event = self._repository.settle(model, WHO, broken)
        if event:
            log.info("%s version %d: %s: %s", model, event.version, event.action.value, event.why)
