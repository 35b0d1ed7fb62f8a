"""Files in a folder of this machine, or in an object store that Arrow reaches by a URI."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from when_ml_pipeline_meets_hydra.deploy.clusters.extra import library
from when_ml_pipeline_meets_hydra.errors import StepFailed

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Storage:
    """The folder at a URI (``s3://bucket/folder``, ``gs://…``, ``file:///…``), or at a path of this machine.

    Object stores need the extra ``kserve``; without it both methods raise ``BadInput``. Where files cannot be read or
    written, they raise ``StepFailed``.
    """

    def __init__(self, uri: str, filesystem: FileSystem | None = None) -> None:
        """``filesystem`` has the credentials, where they are not those of the environment."""
        self.uri, self._given = uri.rstrip("/"), filesystem

    def put(self, files: Mapping[str, Path]) -> None:
        """Write files into the folder: path inside it → file of this machine."""
        with self._reached() as place:
            for name, file in files.items():
                with file.open("rb") as source, place.writing(name) as target:
                    shutil.copyfileobj(source, target)

    def get(self, files: Mapping[str, Path]) -> None:
        """Copy files of the folder: path inside it → file of this machine."""
        with self._reached() as place:
            for name, file in files.items():
                with place.reading(name) as source, file.open("wb") as target:
                    shutil.copyfileobj(source, target)

    @contextmanager
    def _reached(self) -> Iterator[_Place]:
        scheme = self.uri.rpartition("://")[0]
        errors: tuple[type[Exception], ...] = (OSError,)
        if scheme not in ("", "file"):
            errors = (OSError, library("pyarrow", needed_by=self.uri).ArrowException)
        try:
            yield self._place(scheme)
        except errors as problem:
            raise StepFailed(f"{self.uri} cannot be read or written: {str(problem).splitlines()[0][:300]}") from None

    def _place(self, scheme: str) -> _Place:
        if not scheme:
            return _Folder(Path(self.uri).absolute())
        if scheme == "file":
            return _Folder(Path(unquote(urlsplit(self.uri).path)))
        if self._given is not None:
            return _ObjectStore(self._given, self.uri.partition("://")[2])
        return _ObjectStore(*library("pyarrow.fs", needed_by=self.uri).FileSystem.from_uri(self.uri))


class _Place(Protocol):
    """Where files are opened by their paths inside a folder."""

    def reading(self, name: str) -> IO[bytes]: ...

    def writing(self, name: str) -> IO[bytes]: ...


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def reading(self, name: str) -> IO[bytes]:
        return (self._path / name).open("rb")

    def writing(self, name: str) -> IO[bytes]:
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")


class _ObjectStore:
    def __init__(self, filesystem: Any, folder: str) -> None:
        self._filesystem, self._folder = filesystem, folder

    def reading(self, name: str) -> IO[bytes]:
        return self._filesystem.open_input_stream(f"{self._folder}/{name}")  # type: ignore[no-any-return]

    def writing(self, name: str) -> IO[bytes]:
        return self._filesystem.open_output_stream(f"{self._folder}/{name}")  # type: ignore[no-any-return]
