"""Files of records, kept once: equal ones are the same file on the disk, known by its digest.

``<store>/files/<first two digits>/<digest>`` and the files of the records are hard links to one content. A file to
which no record links any more is removed by ``store gc``. Without hard links, records keep their own copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from when_ml_pipeline_meets_hydra.storage import durable_files

FILES = "files"
SMALLEST = 4096  # bytes; a smaller file takes as much room as its name


def share(folder: Path, store: Path) -> None:
    """Replace each file below ``folder`` by a link to the equal one in the store; those that are new become its files.

    They can only be read from then on, since a change would change each record of an equal file.
    """
    for path in sorted(folder.rglob("*")):
        with suppress(OSError):  # no links here, or too many: the record keeps its copy
            if path.is_file() and not path.is_symlink() and path.stat().st_size >= SMALLEST:
                _share(path, store)


def unreferenced(store: Path, *, remove: bool = False) -> Iterator[int]:
    """Yield the size of each file in the store to which no record links any more."""
    for path in sorted((store / FILES).glob("*/*")):
        with suppress(OSError):
            facts = path.stat()
            if facts.st_nlink == 1:
                if remove:
                    path.unlink()
                yield facts.st_size


def _share(path: Path, store: Path) -> None:
    digest = durable_files.sha256(path)
    kept = store / FILES / digest[:2] / digest
    kept.parent.mkdir(parents=True, exist_ok=True)
    path.chmod(0o444)
    try:
        kept.hardlink_to(path)
        return
    except FileExistsError:
        if kept.samefile(path) or durable_files.sha256(kept) != digest:  # a damaged one is not used
            return
    link = path.with_name(f".{path.name}.{uuid4().hex}")
    link.hardlink_to(kept)
    try:
        link.replace(path)
    finally:
        link.unlink(missing_ok=True)
