"""Files in object stores and file systems: whatever Arrow reaches by a URI."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.errors import StepFailed

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Storage:
    """The folder at a URI (``s3://bucket/folder``, ``gs://…``, ``file:///…``), or at a path of this machine."""

    def __init__(self, uri: str, filesystem: FileSystem | None = None) -> None:
        """``filesystem`` has the credentials, where they are not those of the environment."""
        self.uri, self._given = uri.rstrip("/"), filesystem

    def put(self, files: Mapping[str, Path]) -> None:
        """Write files into the folder: path inside it → file of this machine."""
        with self._reached() as (filesystem, folder):
            for name, file in files.items():
                path = f"{folder}/{name}"
                if filesystem.type_name == "local":  # object stores have no folders
                    filesystem.create_dir(path.rpartition("/")[0], recursive=True)
                with file.open("rb") as source, filesystem.open_output_stream(path) as target:
                    shutil.copyfileobj(source, target)

    def get(self, files: Mapping[str, Path]) -> None:
        """Copy files of the folder: path inside it → file of this machine."""
        with self._reached() as (filesystem, folder):
            for name, file in files.items():
                with filesystem.open_input_stream(f"{folder}/{name}") as source, file.open("wb") as target:
                    shutil.copyfileobj(source, target)

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem, LocalFileSystem

        try:
            if "://" not in self.uri:
                yield LocalFileSystem(), str(Path(self.uri).absolute())
            elif self._given is not None:
                yield self._given, self.uri.partition("://")[2]
            else:
                yield FileSystem.from_uri(self.uri)
        except (OSError, ArrowException) as problem:
            raise StepFailed(f"{self.uri} cannot be read or written: {str(problem).splitlines()[0][:300]}") from None
