"""The versions that a server has in memory."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from random import random
from typing import NamedTuple

from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.engine.scorer import Scorer
from when_ml_pipeline_meets_hydra.serving.formats.versions import Canary
from when_ml_pipeline_meets_hydra.serving.observations.counters import Seen
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository, Unknown

log = logging.getLogger(__name__)

_Key = tuple[str, int, int, int]


class Served(NamedTuple):
    """A version of a model, in memory. ``stand_in`` answers what it, a canary, cannot."""

    model: str
    number: int
    scorer: Scorer
    seen: Seen
    stand_in: Served | None = None


class _Serving(NamedTuple):
    """What answers requests to a model, as the pointer said when its stamp was ``stamp``."""

    stamp: tuple[int, int] | None
    active: Served
    canary: Served | None = None
    share: float = 0.0


class Loaded:
    """Loads versions when they are asked for, and notices when others serve than before.

    A request that has its version keeps it: a switch only changes what later requests get.
    """

    def __init__(self, repository: Repository, capacity: int = 16) -> None:
        self.repository = repository
        self._broken: dict[str, tuple[Canary, str]] = {}
        self._capacity = capacity
        # One load at a time: a switch under load must not load the same version a hundred times.
        self._loading = threading.Lock()
        self._versions: OrderedDict[_Key, Served] = OrderedDict()
        self._serving: dict[str, _Serving] = {}

    def load_active_versions(self) -> None:
        """Load what serves now, so that the first requests need not wait for it."""
        for model in self.repository.models():
            try:
                self.active(model)
            except Unknown:
                continue  # none shall serve
            except Refused as problem:
                log.error("%s cannot be served: %s", model, problem.message)

    def not_ready(self) -> tuple[str, ...]:
        """The models of which a version shall serve and cannot."""
        return tuple(name for name in self.repository.models() if self._cannot_serve(name))

    def in_memory(self) -> tuple[Served, ...]:
        """All versions that are loaded, each once; waits for one that is being loaded."""
        with self._loading:
            serving = [one for entry in self._serving.values() for one in (entry.active, entry.canary) if one]
            return tuple({id(one.seen): one for one in (*serving, *self._versions.values())}.values())

    def canaries(self) -> dict[str, tuple[Canary, str] | None]:
        """The models of which a canary stands, each with that and why it cannot be loaded, if so."""
        with self._loading:
            standing = [model for model, entry in self._serving.items() if entry.canary]
            return dict.fromkeys(standing) | self._broken

    def active_in_memory(self, model: str) -> Served | None:
        """The active version, if it is loaded and still the active one. Costs one ``stat``."""
        serving = self._serving_in_memory(model)
        return serving and serving.active

    def active(self, model: str) -> Served:
        """The active version, loaded if need be; blocks meanwhile.

        Raises:
            Unknown: no version of the model is active.
            BundleRefused: it cannot be loaded, and no other version was serving.
        """
        return self._serving_now(model).active

    def chosen_in_memory(self, model: str) -> Served | None:
        """The version for one request: by its share the canary, otherwise the active one; as ``active_in_memory``."""
        serving = self._serving_in_memory(model)
        return serving and _chosen(serving)

    def chosen(self, model: str) -> Served:
        """The same, loaded if need be; blocks meanwhile. Raises what ``active`` does."""
        return _chosen(self._serving_now(model))

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

    def _cannot_serve(self, model: str) -> bool:
        try:
            self.active(model)
        except Unknown:
            return False
        except Refused:
            return True
        return False

    def _serving_in_memory(self, model: str) -> _Serving | None:
        serving = self._serving.get(model)
        return serving if serving is not None and serving.stamp == self.repository.stamp(model) else None

    def _serving_now(self, model: str) -> _Serving:
        with self._loading:
            if serving := self._serving_in_memory(model):
                return serving
            # Read the stamp first: if the pointer moves on between the two, the next request looks again.
            stamp = self.repository.stamp(model)
            serving = self._load_serving(model)._replace(stamp=stamp)
            self._serving[model] = serving
        return serving

    def _load_serving(self, model: str) -> _Serving:
        pointer = self.repository.pointer(model)
        if pointer and pointer.active is None:
            self._serving.pop(model, None)
            raise Unknown("model_name", f"no version of '{model}' is active")
        try:
            active = self._watched(model, self.repository.active(model))
        except Refused as problem:
            if model not in self._serving:
                raise
            log.error("%s: the active version cannot be served, the one before goes on: %s", model, problem.message)
            return self._serving[model]._replace(canary=None)
        canary = pointer.canary if pointer else None
        self._broken.pop(model, None)
        if canary is None:
            return _Serving(None, active)
        try:
            stand_by = self._watched(model, canary.version)._replace(stand_in=active)
        except Refused as problem:
            log.error("%s: the canary cannot be served: %s", model, problem.message)
            self._broken[model] = canary, problem.message
            return _Serving(None, active)
        return _Serving(None, active, stand_by, canary.terms.share)

    def _watched(self, model: str, number: int) -> Served:
        """A version whose rows are noted from now on."""
        served = self._load(model, number)
        served.scorer.watch = served.seen.rows
        return served

    def _load(self, model: str, number: int) -> Served:
        key = self._key(model, number)
        served = self._versions.pop(key, None)
        if served is None:
            served = Served(model, number, scorer.load(self.repository.folder(model, number)), Seen())
        self._versions[key] = served  # the last one is the youngest
        while len(self._versions) > self._capacity:
            self._versions.popitem(last=False)
        return served

    def _key(self, model: str, number: int) -> _Key:
        found = self.repository.folder(model, number).stat()
        return model, number, found.st_ino, found.st_mtime_ns


def _chosen(serving: _Serving) -> Served:
    return serving.canary if serving.canary is not None and random() < serving.share else serving.active
