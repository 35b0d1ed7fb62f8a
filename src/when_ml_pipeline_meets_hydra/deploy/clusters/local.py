"""A model repository on this machine's disk; it needs no server, and ``serve`` serves it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, frozen

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, Row
    from when_ml_pipeline_meets_hydra.serving.formats.versions import Status, Terms
    from when_ml_pipeline_meets_hydra.serving.observations.daily import Observation
    from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository


@frozen
class Local:
    """The model repository below ``path``."""

    name: Annotated[str, Field(min_length=1, description="Name of the cluster in messages")] = "local"
    path: Annotated[NamedPath, Field(description="Directory of the model repository")]

    @property
    def place(self) -> str:
        """Which cluster this is, whatever its name."""
        return str(self.path.absolute())

    def push(self, model: str, bundle: Path, *, run: str | None = None) -> int:
        """Copy the bundle into the repository, if it loads and passes its smoke test."""
        from when_ml_pipeline_meets_hydra.serving.engine import scorer

        scorer.check(bundle)
        return self._repository.add(model, bundle, _who(), run)

    def activate(self, model: str, version: int, *, run: str | None = None) -> Status:
        """Switch the pointer to ``version``."""
        return self._repository.activate(model, version, _who(), run)

    def canary(self, model: str, version: int, terms: Terms, *, run: str | None = None) -> Status:
        """Make ``version`` the canary in the pointer; a server of the repository routes to it."""
        return self._repository.canary(model, version, terms, _who(), run)

    def rollback(self, model: str, *, run: str | None = None) -> Status:
        """Switch the pointer back."""
        return self._repository.rollback(model, _who(), run)

    def undeploy(self, model: str, *, run: str | None = None) -> Status:
        """Switch the pointer to no version."""
        return self._repository.undeploy(model, _who(), run)

    def status(self, model: str) -> Status:
        """The versions, the active one, the canary and the history in the repository."""
        return self._repository.status(model)

    def observation(self, model: str, version: int | None, days: int) -> Observation:
        """The requests that a server of the repository has counted."""
        return self._repository.observation(model, version, days)

    def predict(self, model: str, rows: Sequence[Row], version: int | None = None) -> Predictions:
        """Load a version and predict."""
        from when_ml_pipeline_meets_hydra.serving.engine import scorer

        repository = self._repository
        number = repository.active(model) if version is None else version
        return scorer.load(repository.folder(model, number)).predict(rows)

    @property
    def _repository(self) -> Repository:
        from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

        return Repository(self.path)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        return f"uid {os.getuid()}"
