"""A repository that follows what is active elsewhere, so that a server serves it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from when_ml_pipeline_meets_hydra.errors import PipelineError, briefly
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.formats.manifest import read_manifest
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where versions come from."""

    def active(self, model: str) -> int | None:
        """The active version; None where there is none."""

    def status(self, model: str) -> Status:
        """All about a model."""

    def downloaded(self, model: str, version: int) -> AbstractContextManager[Path]:
        """The bundle of a version."""


class Mirror:
    """Models of ``source`` in ``repository``, with the numbers that they have there; ``who`` is for the history."""

    def __init__(self, source: Source, models: Sequence[str], repository: Repository, who: str) -> None:
        self._source, self._models, self._repository, self._who = source, models, repository, who
        self._said: dict[str, str] = {}

    @contextmanager
    def kept(self, seconds: float, announce: Callable[[str], None]) -> Iterator[None]:
        """Fetch what is active, and then look every ``seconds`` whether something else is, until the block ends.

        Raises:
            PipelineError: the source says no, or cannot be reached, and there is nothing from before to serve.
        """
        for model in self._models:
            try:
                self.refresh(model)
            except PipelineError as problem:
                pointer = self._repository.pointer(model)
                if pointer is None or pointer.active is None:
                    raise
                announce(f"{problem}\n{model} version {pointer.active} is served, as it was active last.")
        ended = threading.Event()
        thread = threading.Thread(target=self._follow, args=(seconds, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()

    def refresh(self, model: str) -> None:
        """Make the version active here that is active there; where that fails, the one from before stays.

        Raises:
            PipelineError: the source says no or cannot be reached, or what it has is no bundle that can be served.
        """
        wanted, pointer = self._source.active(model), self._repository.pointer(model)
        here = pointer.active if pointer else None
        if wanted == here:
            return
        if wanted is None:
            self._repository.undeploy(model, self._who)
            log.info("no version of %s is active any more", model)
            return
        if not self._has(model, wanted):
            with self._source.downloaded(model, wanted) as folder:
                scorer.check(folder)
                self._repository.add(model, folder, self._who, number=wanted)
        self._repository.activate(model, wanted, self._who)
        log.info("%s version %d is active", model, wanted)

    def _has(self, model: str, number: int) -> bool:
        if number not in self._repository.numbers(model):
            return False
        found = self._source.status(model).version(number)
        return found is not None and found.digest == read_manifest(self._repository.folder(model, number))[1]

    def _follow(self, seconds: float, ended: threading.Event) -> None:
        while not ended.wait(seconds):
            for model in self._models:
                self._try(model)

    def _try(self, model: str) -> None:
        try:
            self.refresh(model)
        except PipelineError as problem:
            said = str(problem)
        except Exception as problem:  # such as a full disk; the next look may find it mended
            said = briefly(problem)
            if said != self._said.get(model):
                log.exception("%s cannot be looked up", model)
            self._said[model] = said
            return
        else:
            said = ""
        if said != self._said.get(model, ""):  # not the same line again and again
            log.warning("%s: %s", model, said or "looked up again")
        self._said[model] = said
