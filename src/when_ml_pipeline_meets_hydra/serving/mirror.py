"""Keep the active versions of a local repository in sync with a model registry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from when_ml_pipeline_meets_hydra.errors import PipelineError, briefly
from when_ml_pipeline_meets_hydra.serving import checking
from when_ml_pipeline_meets_hydra.serving.formats.manifest import read_manifest
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

log = logging.getLogger(__name__)

CHECK_SECONDS, CHECK_MEMORY = 60, 2048 * checking.MEGABYTE


class Source(Protocol):
    """A registry that the versions are downloaded from."""

    def active(self, model: str) -> int | None:
        """Return the active version; None if there is none."""

    def status(self, model: str) -> Status:
        """Return the status of a model."""

    def downloaded(self, model: str, version: int) -> AbstractContextManager[Path]:
        """Download the bundle of a version into a temporary directory."""


class Mirror:
    """Copies models of ``source`` to ``repository`` under the same version numbers; ``who`` is for the history."""

    def __init__(self, source: Source, models: Sequence[str], repository: Repository, who: str) -> None:
        self._source, self._models, self._repository, self._who = source, models, repository, who
        self._messages: dict[str, str] = {}

    @contextmanager
    def syncing(self, seconds: float, announce: Callable[[str], None]) -> Iterator[None]:
        """Download the active versions, then check for changes every ``seconds`` until the block ends.

        Raises:
            PipelineError: the source fails or cannot be reached, and the repository has no active version to serve.
        """
        for model in self._models:
            try:
                self.refresh(model)
            except PipelineError as problem:
                pointer = self._repository.pointer(model)
                if pointer is None or pointer.active is None:
                    raise
                announce(f"{problem}\n{model} version {pointer.active}, which was active last, is served.")
        ended = threading.Event()
        thread = threading.Thread(target=self._follow, args=(seconds, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()

    def refresh(self, model: str) -> None:
        """Activate the version that is active in the source; on failure the previous one stays active.

        Raises:
            PipelineError: the source fails or cannot be reached, or its bundle cannot be served.
        """
        wanted, pointer = self._source.active(model), self._repository.pointer(model)
        here = pointer.active if pointer else None
        if wanted == here:
            return
        if wanted is None:
            self._repository.undeploy(model, self._who)
            log.info("%s has no active version any more", model)
            return
        if not self._has(model, wanted):
            with self._source.downloaded(model, wanted) as folder:
                checking.check(folder, CHECK_SECONDS, CHECK_MEMORY)
                self._repository.add(model, folder, self._who, number=wanted)
        self._repository.activate(model, wanted, self._who)
        log.info("%s version %d is active", model, wanted)

    def _has(self, model: str, number: int) -> bool:
        if number not in self._repository.numbers(model):
            return False
        version = self._source.status(model).version(number)
        return version is not None and version.digest == read_manifest(self._repository.folder(model, number))[1]

    def _follow(self, seconds: float, ended: threading.Event) -> None:
        while not ended.wait(seconds):
            for model in self._models:
                self._try(model)

    def _try(self, model: str) -> None:
        try:
            self.refresh(model)
        except PipelineError as problem:
            message = str(problem)
        except Exception as problem:  # such as a full disk; the next refresh may succeed
            message = briefly(problem)
            if message != self._messages.get(model):
                log.exception("%s cannot be refreshed", model)
            self._messages[model] = message
            return
        else:
            message = ""
        if message != self._messages.get(model, ""):  # log a repeated message once
            log.warning("%s: %s", model, message or "refreshed again")
        self._messages[model] = message
