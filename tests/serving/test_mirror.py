"""Sync of a repository with a registry: same versions, same numbers, and never a bad one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster_life import eventually, regressions
from when_ml_pipeline_meets_hydra.errors import PipelineError, Refused, StepFailed
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status
from when_ml_pipeline_meets_hydra.serving.mirror import Mirror
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository


class Elsewhere:
    """A registry backed by a repository; raises ``problem`` if it is set."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.problem: PipelineError | None = None
        self.downloads = 0

    def active(self, model: str) -> int | None:
        if self.problem:
            raise self.problem
        return self.status(model).active

    def status(self, model: str) -> Status:
        return self.repository.status(model)

    @contextmanager
    def downloaded(self, model: str, version: int) -> Iterator[Path]:
        self.downloads += 1
        yield self.repository.folder(model, version)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return regressions(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def source(tmp_path: Path, bundles: list[Path]) -> Elsewhere:
    """Versions 1 and 2, of which 2 is active."""
    repository = Repository(tmp_path / "elsewhere")
    for folder in bundles:
        repository.activate("things", repository.add("things", folder, "ann"), "ann")
    return Elsewhere(repository)


@pytest.fixture
def here(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "here")


def mirror(source: Elsewhere, here: Repository) -> Mirror:
    return Mirror(source, ["things"], here, "the mirror")


def test_the_active_version_of_the_source_is_activated(source: Elsewhere, here: Repository) -> None:
    copy = mirror(source, here)
    copy.refresh("things")
    assert (here.active("things"), here.numbers("things")) == (2, (2,))
    source.repository.rollback("things", "ann")
    copy.refresh("things")
    assert (here.active("things"), here.numbers("things")) == (1, (1, 2))
    source.repository.activate("things", 2, "ann")
    for _ in range(3):
        copy.refresh("things")
    assert (here.active("things"), source.downloads) == (2, 2), "what is here already is not fetched again"
    source.repository.undeploy("things", "ann")
    copy.refresh("things")
    pointer = here.pointer("things")
    assert pointer
    assert pointer.active is None
    assert {event.who for event in here.status("things").history} == {"the mirror"}


def test_a_bad_version_is_not_added(source: Elsewhere, here: Repository) -> None:
    source.repository.rollback("things", "ann")
    copy = mirror(source, here)
    copy.refresh("things")
    source.repository.activate("things", 2, "ann")
    model = source.repository.folder("things", 2) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(Refused, match="checksum"):
        copy.refresh("things")
    assert (here.active("things"), here.numbers("things")) == (1, (1,))


def test_another_bundle_of_the_same_number_is_refused(
    source: Elsewhere, here: Repository, bundles: list[Path], tmp_path: Path
) -> None:
    copy = mirror(source, here)
    copy.refresh("things")
    source.repository.rollback("things", "ann")
    copy.refresh("things")
    shutil.rmtree(tmp_path / "elsewhere" / "things")  # the model was deleted there, and created again
    for folder in reversed(bundles):
        source.repository.activate("things", source.repository.add("things", folder, "ann"), "ann")
    with pytest.raises(Refused, match="another version 2 of 'things'"):
        copy.refresh("things")
    assert here.active("things") == 1


def test_a_source_that_is_unavailable_for_a_while(source: Elsewhere, here: Repository) -> None:
    messages: list[str] = []
    source.problem = StepFailed("connection refused")
    with pytest.raises(StepFailed), mirror(source, here).syncing(0.01, messages.append):
        pytest.fail("there is nothing to serve")
    source.problem = None
    mirror(source, here).refresh("things")
    source.problem = StepFailed("connection refused")
    with mirror(source, here).syncing(0.01, messages.append):
        assert messages == ["connection refused\nthings version 2, which was active last, is served."]
        source.repository.rollback("things", "ann")
        source.problem = None
        eventually(lambda: here.active("things") == 1)
