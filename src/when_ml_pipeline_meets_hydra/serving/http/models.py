"""The versions that a server holds in memory."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from random import random
from typing import NamedTuple

from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.engine.scorer import Scorer
from when_ml_pipeline_meets_hydra.serving.formats.manifest import BundleRefused
from when_ml_pipeline_meets_hydra.serving.formats.versions import Canary
from when_ml_pipeline_meets_hydra.serving.observations.counters import RequestCounters
from when_ml_pipeline_meets_hydra.serving.repository.repository import NotFound, Repository

log = logging.getLogger(__name__)

RETRY_SECONDS = 30
START_SECONDS = 3  # a worker begins to serve without versions that take longer to be loaded
LOADS_AT_START = 4

_Key = tuple[str, int, int, int]


class ServedVersion(NamedTuple):
    """A version of a model, in memory. ``fallback`` serves the requests that fail on this version, a canary."""

    model: str
    number: int
    scorer: Scorer
    counters: RequestCounters
    fallback: ServedVersion | None = None


class _TrafficSplit(NamedTuple):
    """The versions that serve a model, read from the pointer when its stamp was ``stamp``."""

    stamp: tuple[int, int] | None
    active: ServedVersion
    canary: ServedVersion | None = None
    share: float = 0.0


class LoadedVersions:
    """Loads versions on demand, and reloads when other versions become active.

    A request keeps the version that it got: a switch affects later requests only.
    """

    def __init__(self, repository: Repository, capacity: int = 16, check: Callable[[Path], None] | None = None) -> None:
        self.repository, self._check = repository, check
        self._broken: dict[str, tuple[Canary, str]] = {}
        self._refused: dict[_Key, tuple[float, BundleRefused]] = {}  # until when, and why
        self._capacity = capacity
        # One load of a model at a time: a switch under load must not load the same version a hundred times.
        self._loading: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._versions: OrderedDict[_Key, ServedVersion] = OrderedDict()
        self._serving: dict[str, _TrafficSplit] = {}

    def load_active_versions(self) -> None:
        """Load the versions that serve now, so that the first requests need not wait; slow ones load meanwhile."""
        pool = ThreadPoolExecutor(LOADS_AT_START, thread_name_prefix="load")
        wait([pool.submit(self._load_active, model) for model in self.repository.models()], START_SECONDS)
        pool.shutdown(wait=False)

    def _load_active(self, model: str) -> None:
        try:
            self.active(model)
        except NotFound:
            return  # no active version
        except Refused as problem:
            log.error("%s cannot be served: %s", model, problem.message)
        except Exception:
            log.exception("%s cannot be served", model)

    def in_memory(self) -> tuple[ServedVersion, ...]:
        """Return all loaded versions, each once."""
        serving = [one for entry in list(self._serving.values()) for one in (entry.active, entry.canary) if one]
        return tuple({id(one.counters): one for one in (*serving, *list(self._versions.values()))}.values())

    def canaries(self) -> dict[str, tuple[Canary, str] | None]:
        """Return the models with a canary; for one that cannot be loaded, the canary and the reason."""
        models = [model for model, entry in list(self._serving.items()) if entry.canary]
        return dict.fromkeys(models) | self._broken

    def active_in_memory(self, model: str) -> ServedVersion | None:
        """Return the active version, if it is loaded and still active. Costs one ``stat``."""
        serving = self._serving_in_memory(model)
        return serving and serving.active

    def active(self, model: str) -> ServedVersion:
        """Return the active version; blocks while it is loaded.

        Raises:
            NotFound: no version of the model is active.
            BundleRefused: it cannot be loaded, and no other version was serving.
        """
        return self._serving_now(model).active

    def routed_in_memory(self, model: str) -> ServedVersion | None:
        """Return the version for one request, the canary or the active one by share; see ``active_in_memory``."""
        serving = self._serving_in_memory(model)
        return serving and _routed(serving)

    def routed(self, model: str) -> ServedVersion:
        """Return the version for one request; blocks while it is loaded. Raises what ``active`` does."""
        return _routed(self._serving_now(model))

    def version_in_memory(self, model: str, number: int) -> ServedVersion | None:
        """Return a version, active or not, if it is loaded.

        Raises:
            NotFound: there is no such version.
        """
        return self._versions.get(self._key(model, number))

    def version(self, model: str, number: int) -> ServedVersion:
        """Return a version, active or not; blocks while it is loaded.

        Raises:
            NotFound: there is no such version.
            BundleRefused: it cannot be loaded.
        """
        with self._loading[model]:
            return self._load(model, number)

    def _serving_in_memory(self, model: str) -> _TrafficSplit | None:
        serving = self._serving.get(model)
        return serving if serving is not None and serving.stamp == self.repository.stamp(model) else None

    def _serving_now(self, model: str) -> _TrafficSplit:
        with self._loading[model]:
            if serving := self._serving_in_memory(model):
                return serving
            # Read the stamp first: if the pointer changes between the two, the next request reads it again.
            stamp = self.repository.stamp(model)
            serving = self._load_serving(model)._replace(stamp=stamp)
            self._serving[model] = serving
        return serving

    def _load_serving(self, model: str) -> _TrafficSplit:
        pointer = None
        try:
            pointer = self.repository.pointer(model)
            if pointer and pointer.active is None:
                self._serving.pop(model, None)
            active = self._with_counters(model, self.repository.active(model))
        except Refused as problem:
            if model not in self._serving:
                raise
            log.error("%s: serving the previous version; the active one cannot be served: %s", model, problem.message)
            return self._serving[model]._replace(canary=None)
        canary = pointer.canary if pointer else None
        self._broken.pop(model, None)
        if canary is None:
            return _TrafficSplit(None, active)
        try:
            candidate = self._with_counters(model, canary.version)._replace(fallback=active)
        except Refused as problem:
            log.error("%s: the canary cannot be served: %s", model, problem.message)
            self._broken[model] = canary, problem.message
            return _TrafficSplit(None, active)
        return _TrafficSplit(None, active, candidate, canary.terms.share)

    def _with_counters(self, model: str, number: int) -> ServedVersion:
        """Load a version, and count its rows from now on."""
        served = self._load(model, number)
        served.scorer.on_run = served.counters.record_rows
        return served

    def _load(self, model: str, number: int) -> ServedVersion:
        key = self._key(model, number)
        served = self._versions.pop(key, None)
        if served is None:
            served = ServedVersion(model, number, self._scorer(key), RequestCounters())
        self._versions[key] = served  # most recently used last
        while len(self._versions) > self._capacity:
            self._versions.popitem(last=False)
        return served

    def _scorer(self, key: _Key) -> Scorer:
        """Load a version; one that was refused is tried again after a while, not for each request."""
        until, refused = self._refused.get(key, (0.0, None))
        if refused is not None and time.monotonic() < until:
            raise refused
        try:
            return scorer.load_for_serving(self.repository.folder(key[0], key[1]), self._check)
        except BundleRefused as problem:
            self._refused[key] = time.monotonic() + RETRY_SECONDS, problem
            raise

    def _key(self, model: str, number: int) -> _Key:
        stat = self.repository.folder(model, number).stat()
        return model, number, stat.st_ino, stat.st_mtime_ns


def _routed(serving: _TrafficSplit) -> ServedVersion:
    return serving.canary if serving.canary is not None and random() < serving.share else serving.active
