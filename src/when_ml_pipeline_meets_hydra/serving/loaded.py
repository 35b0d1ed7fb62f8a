"""The versions that a server has in memory."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import NamedTuple

from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.serving import scorer
from when_ml_pipeline_meets_hydra.serving.repository import Repository
from when_ml_pipeline_meets_hydra.serving.scorer import Scorer

log = logging.getLogger(__name__)

_Key = tuple[str, int, int, int]


class Served(NamedTuple):
    """A version of a model, in memory."""

    model: str
    number: int
    scorer: Scorer


class Loaded:
    """Loads versions when they are asked for, and notices when another one becomes active.

    A request that has its version keeps it: a switch only changes what later requests get.
    """

    def __init__(self, repository: Repository, capacity: int = 16) -> None:
        self.repository = repository
        self._capacity = capacity
        # One load at a time: a switch under load must not load the same version a hundred times.
        self._loading = threading.Lock()
        self._versions: OrderedDict[_Key, Served] = OrderedDict()
        self._active: dict[str, tuple[tuple[int, int] | None, Served]] = {}

    def load_active_versions(self) -> None:
        """Load what is active now, so that the first requests need not wait for it."""
        for model in self.repository.models():
            try:
                self.active(model)
            except Refused as problem:
                log.error("%s cannot be served: %s", model, problem.message)

    def active_in_memory(self, model: str) -> Served | None:
        """The active version, if it is loaded and still the active one. Costs one ``stat``."""
        stamp, served = self._active.get(model, (None, None))
        return served if served is not None and stamp == self.repository.stamp(model) else None

    def active(self, model: str) -> Served:
        """The active version, loaded if need be; blocks meanwhile.

        Raises:
            Unknown: no version of the model is active.
            BundleRefused: it cannot be loaded, and no other version was serving.
        """
        with self._loading:
            if served := self.active_in_memory(model):
                return served
            # Read the stamp first: if the pointer moves on between the two, the next request looks again.
            stamp = self.repository.stamp(model)
            served = self._load_active(model)
            self._active[model] = stamp, served
        return served

    def version_in_memory(self, model: str, number: int) -> Served | None:
        """A version, active or not, if it is loaded.

        Raises:
            Unknown: there is no such version.
        """
        return self._versions.get(self._key(model, number))

    def version(self, model: str, number: int) -> Served:
        """A version, active or not, loaded if need be; blocks meanwhile.

        Raises:
            Unknown: there is no such version.
            BundleRefused: it cannot be loaded.
        """
        with self._loading:
            return self._load(model, number)

    def _load_active(self, model: str) -> Served:
        try:
            return self._load(model, self.repository.active(model))
        except Refused as problem:
            _, serving = self._active.get(model, (None, None))
            if serving is None:
                raise
            log.error("%s: the active version cannot be served, the one before goes on: %s", model, problem.message)
            return serving

    def _load(self, model: str, number: int) -> Served:
        key = self._key(model, number)
        served = self._versions.pop(key, None)
        if served is None:
            served = Served(model, number, scorer.load(self.repository.folder(model, number)))
        self._versions[key] = served  # the last one is the youngest
        while len(self._versions) > self._capacity:
            self._versions.popitem(last=False)
        return served

    def _key(self, model: str, number: int) -> _Key:
        found = self.repository.folder(model, number).stat()
        return model, number, found.st_ino, found.st_mtime_ns
