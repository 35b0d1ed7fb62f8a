"""What the stages hand to one another: the prepared data and the trained model."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Artifact, frozen

# Two graphs can be merged only where they agree on these: the versions of the standard operators, of the operators
# for trees and text (domain ai.onnx.ml), and of the file format.
ONNX_OPSET = 18
ONNX_ML_OPSET = 3
ONNX_IR_VERSION = 8


class Task(StrEnum):
    """What is predicted: a number or a class."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"


class DType(StrEnum):
    """The type of a raw column. A date counts as days since 1970-01-01 wherever a number is needed."""

    FLOAT = "float"
    INT = "int"
    STRING = "string"
    BOOL = "bool"
    DATE = "date"

    @property
    def is_text(self) -> bool:
        """Whether a column of this type is one of texts wherever a number is needed; a truth value is a text, too."""
        return self in (DType.STRING, DType.BOOL)


@frozen
class Column:
    """One raw column: a feature before preprocessing, or the target."""

    name: Annotated[str, Field(min_length=1, description="Name in the file's header")]
    dtype: Annotated[DType, Field(description="Type of its values")]
    description: Annotated[str, Field(description="What it means, with its unit")] = ""


@frozen
class Image:
    """That the columns of a row are the pixels of an image: channel by channel, each line by line from the top left."""

    channels: Annotated[int, Field(ge=1, le=65_535, description="1: shades of grey; 3: red, green and blue")] = 1
    height: Annotated[int, Field(ge=1, le=65_535, description="Pixels from top to bottom")]
    width: Annotated[int, Field(ge=1, le=65_535, description="Pixels from left to right")]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    def __str__(self) -> str:
        return f"{self.channels} × {self.height} × {self.width}"


@frozen
class PreparedData(Artifact):
    """A data set, split and turned into matrices, with the ONNX graph that does the same to raw rows.

    Files: ``train.parquet`` and ``test.parquet`` (the columns ``features`` in order, Float32, or Boolean for what
    is 0 or 1, then ``__target__``: Float64 for regression, Int64 index into ``classes`` for classification);
    ``holdout.parquet`` (the raw columns of the first rows, at most 1,000, of ``test.parquet``, in the same order);
    ``summary.json`` (how the values of each raw column spread over at most about 100,000 training rows);
    ``preprocessing.onnx`` (one input per raw column, named as the column, shape [N, 1]: double for float, int and date
    (NaN: missing), string ("" : missing),
    string for bool too ("true", "false"); one output, float32 [N, F]: ``features``, unless a column has that name).
    Where the rows are images, ``features`` are their pixels in the order of ``image``. ``one_hot`` says for each raw
    column of texts which features are made of it: the index of the first one, and the end. At most one is 1 in a row.
    """

    dataset: str
    task: Task
    target: Column
    classes: tuple[str, ...] = ()
    columns: tuple[Column, ...]
    features: tuple[str, ...]
    one_hot: tuple[tuple[int, int], ...] = ()
    image: Image | None = None
    rows_train: int
    rows_test: int


@frozen
class TrainedModel(Artifact):
    """A trained model and how good it is on the held-out rows.

    Files: ``model.onnx`` (input ``features``, float32 [N, F]; regression: output ``prediction``, float32 [N, 1];
    classification: outputs ``label``, int64 [N] (index into ``PreparedData.classes``), and ``probabilities``,
    float32 [N, K]); ``metrics.json``; ``predictions.parquet`` (one row per row of ``test.parquet``, in order:
    ``target``, ``prediction``, and for classification ``probability_<class>``); where training went step by step,
    ``history.json`` (see ``Model.fit``).
    """

    model: str
    task: Task
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
