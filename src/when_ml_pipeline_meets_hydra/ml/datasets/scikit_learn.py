"""Data sets that are part of scikit-learn."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Image
from when_ml_pipeline_meets_hydra.ml.datasets import contents
from when_ml_pipeline_meets_hydra.ml.datasets.computed import Expressions, problems
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice

if TYPE_CHECKING:
    import polars as pl


class ToyDataset(StrEnum):
    """The toy datasets of scikit-learn, which need no download."""

    WINE = "wine"
    BREAST_CANCER = "breast_cancer"
    DIGITS = "digits"
    DIABETES = "diabetes"


_FILES: Mapping[ToyDataset, tuple[str, ...]] = {
    ToyDataset.WINE: ("wine_data.csv",),
    ToyDataset.BREAST_CANCER: ("breast_cancer.csv",),
    ToyDataset.DIGITS: ("digits.csv.gz",),
    ToyDataset.DIABETES: ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"),
}


@frozen
class ScikitLearn:
    """The data set ``load`` of scikit-learn; all of its columns are numbers."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")]
    load: Annotated[ToyDataset, Field(description="Which of scikit-learn's data sets")]
    target: Annotated[str, Field(min_length=1, description="Name for the column to predict")]
    description: Annotated[str, Field(description="What the target means, with its unit"), Unkeyed()] = ""
    image: Annotated[Image | None, Field(description="The shape of the image whose pixels a row holds")] = None
    features: Expressions = field(default_factory=dict)

    def rows(self) -> RawRows:
        """Return the rows; classes are texts."""
        frame = self._frame()
        columns = tuple(Column(name=name, dtype=DType.FLOAT) for name in frame.columns if name != self.target)
        regression = self.load is ToyDataset.DIABETES
        kind = DType.FLOAT if regression else DType.STRING
        target = Column(name=self.target, dtype=kind, description=self.description)
        task = TaskChoice.REGRESSION if regression else TaskChoice.CLASSIFICATION
        return RawRows(
            frame=frame.lazy(),
            target=self.target,
            columns=(*columns, target),
            task=task,
            image=self.image,
            features=self.features,
        )

    def _frame(self) -> pl.DataFrame:
        import polars as pl
        import sklearn.datasets

        loaded: Any = getattr(sklearn.datasets, f"load_{self.load.value}")()
        names = [str(name) for name in loaded.feature_names]
        target = loaded.target
        if self.load is not ToyDataset.DIABETES:
            target = [str(loaded.target_names[index]) for index in target]
        return pl.DataFrame(loaded.data, schema=names).with_columns(pl.Series(self.target, target))

    def files(self) -> Iterable[Path]:
        """Return scikit-learn's files of this data set, without importing it."""
        spec = importlib.util.find_spec("sklearn")
        folder = Path((spec.submodule_search_locations or [""])[0] if spec else "") / "datasets" / "data"
        return [folder / file for file in _FILES[self.load]]

    def fingerprint(self) -> str:
        """The digest of scikit-learn's files."""
        return contents.digest(*self.files())

    def check(self) -> Iterable[Problem]:
        """Check the name of the target and the size of the image; the data themselves need no check."""
        from when_ml_pipeline_meets_hydra.ml.datasets.checks import wrong_image

        columns = self._frame().columns[:-1]
        if self.target in columns:
            yield Problem(key="target", value=self.target, message="a feature has this name already")
        yield from wrong_image(self.image, len(columns) + len(self.features))
        yield from problems(self.features, dict.fromkeys(columns, DType.FLOAT), self.target)
