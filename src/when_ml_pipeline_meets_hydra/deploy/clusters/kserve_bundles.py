"""Bundles in the storage of KServe: each a model repository with one version, which is active."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.deploy.clusters.storage import Storage
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.serving.formats.manifest import (
    FILES,
    MANIFEST,
    BundleRefused,
    read_manifest,
    verified,
)
from when_ml_pipeline_meets_hydra.serving.formats.versions import Version

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Bundles:
    """The bundles below ``storage``; ``filesystem`` has the credentials if they are not in the environment."""

    def __init__(self, storage: str, filesystem: FileSystem | None) -> None:
        self._storage, self._filesystem = storage, filesystem

    def put(self, model: str, bundle: Path, version: Version, who: str) -> None:
        """Upload a bundle as that version of the model."""
        from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

        with tempfile.TemporaryDirectory(prefix="repository-") as name:
            repository = Repository(Path(name))
            number = repository.add(model, bundle, who, number=version.number)
            repository.activate(model, number, who)
            files = [file for file in Path(name).rglob("*") if file.is_file() and file.name != ".lock"]
            self._at(model, version).put({str(file.relative_to(name)): file for file in files})

    @contextmanager
    def downloaded(self, model: str, version: Version) -> Iterator[Path]:
        """The bundle of a version, in a temporary directory."""
        with tempfile.TemporaryDirectory(prefix="bundle-") as name:
            files = {f"{model}/versions/{version.number}/{file}": Path(name) / file for file in (MANIFEST, *FILES)}
            self._at(model, version).get(files)
            yield Path(name)

    def is_whole(self, model: str, version: Version) -> bool:
        """Whether the bundle of a version is complete and undamaged."""
        try:
            with self.downloaded(model, version) as folder:
                verified(folder)
                found = read_manifest(folder)[1]
        except (BundleRefused, StepFailed):
            return False
        return found == version.digest

    def _at(self, model: str, version: Version) -> Storage:
        return Storage(below(self._storage, model, version), self._filesystem)


def below(storage: str, model: str, version: Version) -> str:
    """The folder of a version; two pushed at once with the same number do not collide."""
    return f"{storage.rstrip('/')}/{model}/{version.number}-{version.digest[:12]}"
