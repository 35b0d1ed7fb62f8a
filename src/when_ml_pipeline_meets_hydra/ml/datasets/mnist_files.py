"""MNIST's own files, in the format idx: images and labels of a training and a test part."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.datasets.contents import is_there

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

WHITE = 255
# The part of the rows, then its images and its labels.
_FILES = (
    ("train", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("test", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
_INSIDE = (".", "raw", "MNIST/raw", "mnist", "MNIST")  # where programs that download them put them
_UNSIGNED_BYTES = 8  # the type of the values, in the format's header


class Digits(NamedTuple):
    """Grey images, uint8 [N, height, width], their digits, [N], and the part of each, [N]."""

    grey: Array
    digits: Array
    parts: list[str]


def files(root: Path) -> list[Path]:
    """Return the four files below ``root``, compressed or not. Raises ``BadInput`` with those that are missing."""
    names = [name for _, *both in _FILES for name in both]
    for folder in (root / inside for inside in _INSIDE):
        found = [_existing(folder, name) for name in names]
        if any(found):
            break
    if missing := [name for name, file in zip(names, found, strict=True) if file is None]:
        there = "there is no such folder" if not is_there(root) else f"it has no {', '.join(missing)}"
        remedy = "Name the folder with MNIST's four files, also compressed ones (.gz), or leave it out"
        raise BadInput(Problem(key="root", value=str(root), message=there, remedy=remedy))
    return [file for file in found if file is not None]


def _existing(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{text}{end}" for text in (name, name.replace("-idx", ".idx")) for end in ("", ".gz"))
    return next((file for file in candidates if is_there(file)), None)


def read(root: Path) -> Digits:
    """Read both parts, the training part first. Raises ``BadInput`` for a file that is damaged or of another kind."""
    import numpy as np

    arrays = [_read(file) for file in files(root)]
    images, labels = arrays[0::2], arrays[1::2]
    if problems := list(_misfits(root, images, labels)):
        raise BadInput(*problems)
    parts = [part for (part, *_), of in zip(_FILES, labels, strict=True) for _ in range(len(of))]
    return Digits(np.concatenate(images), np.concatenate(labels), parts)


def _misfits(root: Path, images: list[Array], labels: list[Array]) -> Iterator[Problem]:
    for (part, *_), grey, digits in zip(_FILES, images, labels, strict=True):
        if grey.ndim != 3 or digits.ndim != 1 or len(grey) != len(digits):
            message = f"the images of the part '{part}' and its labels do not fit: {grey.shape} and {digits.shape}"
            yield Problem(key="root", value=str(root), message=message)
        elif len(digits) and digits.max() > 9:
            message = f"the part '{part}' has the label {digits.max()}, and digits are 0 to 9"
            yield Problem(key="root", value=str(root), message=message)
    if images[0].shape[1:] != images[1].shape[1:]:
        message = "the images of both parts have different sizes"
        yield Problem(key="root", value=str(root), message=message)


def _read(file: Path) -> Array:
    """Read an array of bytes: two zeros, the type, the number of dimensions, their sizes (32 bits), the values."""
    import numpy as np

    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(Problem(key="root", value=str(file), message=f"the file cannot be read: {error}")) from None
    dimensions = content[3] if len(content) > 3 else 0
    begin = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[n : n + 4], "big") for n in range(4, begin, 4)]
    is_idx = content[:3] == bytes((0, 0, _UNSIGNED_BYTES)) and dimensions in (1, 3)
    if not is_idx or len(content) != begin + int(np.prod(sizes)):
        message = "it is no file of MNIST (idx, unsigned bytes), or it is cut off"
        raise BadInput(Problem(key="root", value=str(file), message=message))
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape(sizes)
