"""Images in files as rows of pixels: one reading for training, batch predictions and requests to the server."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.ml.artifacts import Image

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MOST_PIXELS = 50_000_000  # of a file; more may be an attack on the memory
_MODES = {1: "L", 3: "RGB"}
_CHANNELS: dict[int, tuple[str, ...]] = {1: ("grey",), 3: ("red", "green", "blue")}


class BadImage(ValueError):
    """A file that cannot be decoded as an image; the text says why."""


def pixel_names(image: Image) -> list[str]:
    """Return the names of the columns with the pixels of an image: ``red_0_0``, by channel, then line by line."""
    places = [(y, x) for y in range(image.height) for x in range(image.width)]
    return [f"{channel}_{y}_{x}" for channel in _CHANNELS[image.channels] for y, x in places]


def decode(source: Path | bytes, image: Image) -> Array:
    """Decode a file as pixels, uint8 [channels, height, width].

    It is turned as its camera says, cut to the shape of ``image`` around its centre, and scaled (bilinear).

    Raises:
        BadImage: it is damaged, no image, or too large.
    """
    import numpy as np
    import PIL.Image
    from PIL import ImageOps

    try:
        with warnings.catch_warnings(), PIL.Image.open(_opened(source), formats=FORMATS) as opened:
            warnings.simplefilter("ignore")  # of odd metadata; its size is checked here
            if opened.width * opened.height > MOST_PIXELS:
                raise BadImage(f"it has {opened.width} × {opened.height} pixels, more than {MOST_PIXELS:,}")
            opened.draft(None, (2 * image.width, 2 * image.height))  # a large photograph is decoded in less detail
            turned = _eight_bits(ImageOps.exif_transpose(opened)).convert(_MODES[image.channels])
            fitted = ImageOps.fit(turned, (image.width, image.height), PIL.Image.Resampling.BILINEAR)
    except BadImage:
        raise
    except FileNotFoundError:
        raise BadImage("there is no such file") from None
    except PIL.UnidentifiedImageError:
        raise BadImage(f"it is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise many kinds
        raise BadImage(f"it is damaged ({str(error) or type(error).__name__})") from None
    pixels = np.asarray(fitted, dtype=np.uint8).reshape(image.height, image.width, image.channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bits(picture: Any) -> Any:
    """A picture of 16 bits with the upper 8 of each; Pillow would make white of all that is brighter than 255."""
    if not picture.mode.startswith("I"):
        return picture
    import numpy as np
    import PIL.Image

    return PIL.Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


def _opened(source: Path | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def decode_all(sources: Sequence[Path], image: Image) -> list[Array | BadImage]:
    """Decode files in threads; in place of one that cannot be decoded stands the exception."""
    from concurrent.futures import ThreadPoolExecutor

    def decoded(source: Path) -> Array | BadImage:
        try:
            return decode(source, image)
        except BadImage as bad:
            return bad

    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(decoded, sources))
