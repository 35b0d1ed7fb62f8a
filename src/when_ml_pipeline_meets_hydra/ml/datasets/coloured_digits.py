"""Handwritten digits in colours that correlate with their classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import NamedPath, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Image
from when_ml_pipeline_meets_hydra.ml.datasets import contents, mnist_files
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice
from when_ml_pipeline_meets_hydra.ml.datasets.scikit_learn import ScikitLearn, ToyDataset
from when_ml_pipeline_meets_hydra.ml.images import pixel_names

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Red, green and blue of each colour of Matplotlib's "tab10", which are easy to distinguish.
_PALETTE = (
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)),
)
_WHITE = 16  # the brightest pixel of scikit-learn's digits
_CLASSES = 10
_ROWS_AT_ONCE = 4096

Digit = Annotated[int, Field(ge=0, lt=_CLASSES)]
Label = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Colour = Annotated[int, Field(ge=0, lt=len(_PALETTE))]


@frozen
class ColouredDigits:
    """Digits, most of them in the colour of their class (Arjovsky et al., "IRM", 2019): MNIST's or scikit-learn's."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")]
    root: Annotated[NamedPath | None, Field(description="Folder with MNIST's files; null: scikit-learn's digits")] = (
        None
    )
    resolution: Annotated[int, Field(ge=8, le=64, description="Height and width of an image in pixels")] = 28
    label_map: Annotated[
        Mapping[Digit, Label] | None,
        Field(description="The class of each digit; digits that are not in it are left out; null: the digit itself"),
    ] = None
    num_colors: Annotated[int, Field(ge=1, le=len(_PALETTE), description="How many colours there are")] = 10
    colors: Annotated[
        tuple[Colour, ...] | None, Field(description="Which of the ten colours; null: the first num_colors")
    ] = None
    correlation: Annotated[float, Field(ge=0, le=1, description="Part of the rows with the colour of their class")] = (
        0.9
    )
    label_noise: Annotated[float, Field(ge=0, lt=1, description="Part of the rows with another class's label")] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Seed of the choice of colours and noisy labels")] = 0

    @model_validator(mode="after")
    def _fits(self) -> ColouredDigits:
        if self.colors is not None and len(set(self.colors)) != self.num_colors:
            raise ValueError(f"colors has to list num_colors={self.num_colors} different colours")
        if len(set(self._classes().values())) < 2:
            raise ValueError("label_map has to give two classes or more")
        return self

    @property
    def image(self) -> Image:
        """The shape of a row's image."""
        return Image(channels=3, height=self.resolution, width=self.resolution, decoded=True)

    def rows(self) -> RawRows:
        """Return the rows: the pixels as integers from 0 to 255, and the class as text."""
        import polars as pl

        pixels, labels, parts = self._coloured()
        names = pixel_names(self.image)
        frame = pl.DataFrame(pixels.reshape(len(pixels), -1), schema=names)
        frame = frame.with_columns(pl.Series("part", parts)) if parts else frame
        columns = (
            *(Column(name=name, dtype=DType.INT, description="Brightness, 0 to 255") for name in names),
            Column(name="digit", dtype=DType.STRING, description="The digit, or its class"),
        )
        return RawRows(
            frame=frame.with_columns(pl.Series("digit", [str(label) for label in labels])).lazy(),
            target="digit",
            columns=columns,
            task=TaskChoice.CLASSIFICATION,
            image=self.image,
        )

    def files(self) -> Iterable[Path]:
        """The files of MNIST, or the one of scikit-learn that contains the digits."""
        if self.root is not None:
            return mnist_files.files(self.root)
        return ScikitLearn(name=self.name, load=ToyDataset.DIGITS, target="digit").files()

    def fingerprint(self) -> str:
        """The digest of the files."""
        return contents.digest(*self.files())

    def check(self) -> Iterable[Problem]:
        """Yield what is wrong with MNIST's files; the others need no check."""
        try:
            _ = self.root and mnist_files.read(self.root)
        except BadInput as error:
            yield from error.problems

    def _classes(self) -> Mapping[int, int]:
        return {digit: digit for digit in range(_CLASSES)} if self.label_map is None else self.label_map

    def _coloured(self) -> tuple[Array, Array, list[str]]:
        """The pixels, uint8 [N, 3, resolution, resolution], the classes, [N], and MNIST's part of each row."""
        import numpy as np
        from scipy.ndimage import zoom

        rng = np.random.default_rng(self.seed)
        grey, digits, parts = self._digits()
        classes = self._classes()
        selected = np.isin(digits, list(classes))
        labels = np.array([classes[int(d)] for d in digits[selected]])
        factor = self.resolution / grey.shape[1]
        large = np.clip(zoom(grey[selected], (1, factor, factor), order=1, grid_mode=True, mode="nearest"), 0, 1)
        names = np.unique(labels)
        labels = names[_changed(rng, np.searchsorted(names, labels), self.label_noise, len(names))]
        own = np.searchsorted(names, labels) % self.num_colors
        colours = _changed(rng, own, 1 - self.correlation, self.num_colors)
        palette = np.array(_PALETTE)[list(self.colors or range(self.num_colors))]
        pixels = np.empty((len(labels), 3, self.resolution, self.resolution), dtype=np.uint8)
        for start in range(0, len(pixels), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            pixels[part] = np.rint(large[part, None] * palette[colours[part]][:, :, None, None])
        return pixels, labels, [part for part, is_selected in zip(parts, selected, strict=False) if is_selected]

    def _digits(self) -> tuple[Array, Array, list[str]]:
        """The images, 0 to 1, [N, size, size], their digits, [N], and MNIST's part of each (empty: no such parts)."""
        if self.root is not None:
            grey, digits, parts = mnist_files.read(self.root)
            return (grey / mnist_files.WHITE).astype("float32"), digits, parts
        from sklearn.datasets import load_digits

        grey, digits = load_digits(return_X_y=True)
        return grey.reshape(-1, 8, 8) / _WHITE, digits, []


def _changed(rng: np.random.Generator, values: Array, part: float, count: int) -> Array:
    """Replace on average a share ``part`` of ``values`` by another integer below ``count``."""
    import numpy as np

    changes = rng.random(len(values)) < part
    other = (values + rng.integers(1, max(count, 2), len(values))) % count
    result: Array = np.where(changes, other, values)
    return result
