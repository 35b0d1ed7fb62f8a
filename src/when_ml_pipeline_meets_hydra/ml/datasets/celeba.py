"""CelebA: photographs of faces with 40 attributes (Liu et al., "Deep Learning Face Attributes in the Wild", 2015)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Image
from when_ml_pipeline_meets_hydra.ml.datasets.contents import is_there
from when_ml_pipeline_meets_hydra.ml.datasets.image_files import MOST_NAMED, ImageFiles, Listing

ATTRIBUTES, PARTITION, IMAGES = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"
_PARTS = ("train", "validation", "test")  # 0, 1 and 2 in the file of the partition
# Where the official download, torchvision and people put the files, below ``root``.
_FOLDERS = (".", "celeba", "CelebA")
_INSIDE = {ATTRIBUTES: (".", "Anno"), PARTITION: (".", "Eval"), IMAGES: (".", "Img", IMAGES)}


class _Attributes(NamedTuple):
    """The table of attributes: their names, the files, and for each file whether it has each of them."""

    names: tuple[str, ...]
    files: tuple[str, ...]
    values: tuple[tuple[bool, ...], ...]


@frozen
class Celeba(ImageFiles):
    """The faces below ``root``: predict the attribute ``superclass``; rows may be split by ``subclass``."""

    root: Annotated[NamedPath, Field(description=f"Folder with {ATTRIBUTES} and {IMAGES}, or with celeba/ in it")]
    superclass: Annotated[str, Field(min_length=1, description="Attribute to predict, in any case: SMILING")] = (
        "Smiling"
    )
    subclass: Annotated[str, Field(min_length=1, description="Attribute that is a column to split by, no feature")] = (
        "Male"
    )
    default_res: Annotated[int, Field(ge=8, le=128, description="Height and width to which faces are scaled")] = 28

    @property
    def image(self) -> Image:
        """The shape to which faces are scaled."""
        return Image(channels=3, height=self.default_res, width=self.default_res, decoded=True)

    @property
    def label(self) -> Column:
        """The attribute to predict."""
        name = self._names()[0]
        return Column(name=name, dtype=DType.BOOL, description=f"Whether the face has the attribute {name}")

    def files(self) -> Iterable[Path]:
        """Return the table of attributes, that of the partition if it is there, and the images."""
        partition = self._find(PARTITION)
        return [self._existing(ATTRIBUTES), *([partition] if partition else []), *self.listing().files]

    def listing(self) -> Listing:
        """Return the faces with their attributes, and their part of the published partition. Raises ``BadInput``."""
        table, images = self._table(), self._existing(IMAGES)
        superclass, subclass = map(table.names.index, self._names())
        there = {file.name for file in images.iterdir()}
        if missing := [file for file in table.files if file not in there]:
            shown = ", ".join(missing[:MOST_NAMED]) + (f" and {len(missing) - MOST_NAMED:,} more" * (len(missing) > 10))
            message = f"{len(missing):,} of the images in {ATTRIBUTES} are not there: {shown}"
            raise BadInput(Problem(key="root", value=str(images), message=message))
        further: dict[str, Sequence[str]] = {}
        if superclass != subclass:
            further[table.names[subclass]] = [str(row[subclass]).lower() for row in table.values]
        if parts := self._parts():
            further["partition"] = [parts.get(file, "") for file in table.files]
        labels = [row[superclass] for row in table.values]
        if len(set(labels)) < 2:
            message = f"no image {'is without' if labels[0] else 'has'} it: two classes are needed"
            raise BadInput(Problem(key="superclass", value=table.names[superclass], message=message))
        return Listing(files=[images / file for file in table.files], labels=labels, further=further)

    def _names(self) -> tuple[str, str]:
        """The names of both attributes. Raises ``BadInput`` with those that are none."""
        known, problems = self._table().names, []
        found = {}
        for key, given in {"superclass": self.superclass, "subclass": self.subclass}.items():
            matching = attributes_like(given, known)
            if len(matching) == 1:
                found[key] = matching[0]
                continue
            message = f"it may be {' or '.join(matching)}" if matching else "there is no such attribute"
            problems.append(Problem(key=key, value=given, message=message, remedy=did_you_mean(given, known, most=3)))
        if problems:
            raise BadInput(*problems)
        return found["superclass"], found["subclass"]

    def _table(self) -> _Attributes:
        file = self._existing(ATTRIBUTES)
        return _read_attributes(str(file), file.stat().st_mtime_ns, file.stat().st_size)

    def _parts(self) -> Mapping[str, str]:
        file = self._find(PARTITION)
        lines = (line.split() for line in file.read_text().splitlines()) if file else ()
        return {line[0]: _PARTS[int(line[1])] for line in lines if len(line) == 2 and line[1] in ("0", "1", "2")}

    def _find(self, name: str) -> Path | None:
        places = (self.root / folder / inside / name for folder in _FOLDERS for inside in _INSIDE[name])
        found = next(filter(is_there, places), None)
        nested = found / name if found and name == IMAGES else None  # an archive unpacked into a folder of its name
        return nested if nested and nested.is_dir() else found

    def _existing(self, name: str) -> Path:
        if (found := self._find(name)) is None:
            message = f"there is no {name} in it" if is_there(self.root) else "there is no such folder"
            remedy = f"Download CelebA, and name the folder that holds {ATTRIBUTES} and {IMAGES}"
            raise BadInput(Problem(key="root", value=str(self.root), message=message, remedy=remedy))
        return found


def attributes_like(given: str, known: Sequence[str]) -> list[str]:
    """Return the attributes with this name in any case; if there is none, those that begin with this word."""
    wanted = given.lower().replace(" ", "_")
    exact = [name for name in known if name.lower() == wanted]
    return exact or [name for name in known if name.lower().startswith(f"{wanted}_")]


@lru_cache(maxsize=4)
def _read_attributes(path: str, modified: int, size: int) -> _Attributes:
    """Read the table: a line with the number of images, one with the names, then a file with 1 or -1 for each name.

    Raises ``BadInput`` for a line that is none; ``modified`` (ns) and ``size`` are those of the file.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    has_count = bool(lines) and lines[0].strip().isdigit()
    names = tuple(lines[has_count].split()) if len(lines) > has_count else ()
    files, values = [], []
    for number, line in enumerate(lines[has_count + 1 :], has_count + 2):
        file, *marks = line.split() or [""]
        if not file:
            continue
        if len(marks) != len(names) or not {*marks} <= {"1", "-1", "0"}:
            message = f"line {number} is no file with {len(names)} times 1 or -1"
            raise BadInput(Problem(key="root", value=path, message=message))
        files.append(file)
        values.append(tuple(mark == "1" for mark in marks))
    if not files:
        message = "it lists no images: a line with their number, one with the names of attributes, a line for each file"
        raise BadInput(Problem(key="root", value=path, message=message))
    if has_count and int(lines[0]) != len(files):
        message = f"its first line promises {int(lines[0]):,} images, and {len(files):,} follow: is it cut off?"
        raise BadInput(Problem(key="root", value=path, message=message))
    return _Attributes(names, tuple(files), tuple(values))
