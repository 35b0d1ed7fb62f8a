"""Images in requests: the file itself, in base64, in place of the columns of its pixels."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Image
from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, BadRow, Refusals

INPUT = "image"


def with_pixels(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], image: Image
) -> Sequence[Mapping[str, Any]]:
    """Return rows in which the pixels of a file stand in place of the key ``image``; other rows as they are.

    Raises:
        BadRow: a file that cannot be decoded, or one with pixels beside it.
    """
    if not any(INPUT in row for row in rows):
        return rows
    wrong, names = Refusals(), [column.name for column in columns]
    made: list[Mapping[str, Any]] = []
    for number, row in enumerate(rows):
        place = f"rows[{number}].{INPUT}"
        if INPUT not in row:
            made.append(row)
        elif len(row) > 1:
            wrong.add(f"{place}: a row has either the file of an image or its pixels")
        elif (pixels := wrong.during(partial(_decoded, row[INPUT], image, place))) is not None:
            made.append(dict(zip(names, pixels.reshape(-1).tolist(), strict=True)))
    wrong.raise_any()
    return made


def pixel_tensors(
    files: Sequence[Any] | Array, columns: Sequence[Column], image: Image
) -> dict[str, tuple[str, Sequence[Any] | Array]]:
    """Return the input of each pixel, as a tensor of the protocol's request, for N files.

    Raises:
        BadRow: a file that cannot be decoded.
    """
    import numpy as np

    wrong, place = Refusals(), f"inputs.{INPUT}.data"
    decoded = [wrong.during(partial(_decoded, file, image, f"{place}[{n}]")) for n, file in enumerate(files)]
    wrong.raise_any()
    pixels = np.array(decoded, dtype=float).reshape(len(files), -1)
    return {column.name: ("FP64", pixels[:, k]) for k, column in enumerate(columns)}


def _decoded(file: Any, image: Image, place: str) -> Array:
    from when_ml_pipeline_meets_hydra.ml.images import BadImage, decode

    try:
        return decode(base64.b64decode(file, validate=True), image)
    except (TypeError, ValueError) as error:
        why = str(error) if isinstance(error, BadImage) else "a file in base64 is needed"
        raise BadRow(f"{place}: {why}") from None
