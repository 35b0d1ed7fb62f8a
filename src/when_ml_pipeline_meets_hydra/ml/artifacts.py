"""The artifacts of preprocessing and modeling: prepared data and a trained model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, ClassVar, Self

from pydantic import (
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_core import SchemaError

from when_ml_pipeline_meets_hydra.contracts import Artifact, Direction, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.ml.dates import pattern

# Graphs can be merged only if these are equal: the versions of the standard operators, of the operators for trees
# and text (domain ai.onnx.ml), and of the file format.
ONNX_OPSET = 21
ONNX_ML_OPSET = 5
ONNX_IR_VERSION = 10

# Which way each metric is better.
DIRECTIONS: Mapping[str, Direction] = MappingProxyType(
    {
        "r2": "maximize",
        "mae": "minimize",
        "rmse": "minimize",
        "mape": "minimize",
        "pinball": "minimize",
        "accuracy": "maximize",
        "balanced_accuracy": "maximize",
        "f1_macro": "maximize",
        "log_loss": "minimize",
        "roc_auc": "maximize",
        "average_precision": "maximize",
    }
)


class Task(StrEnum):
    """The kind of prediction: a number (regression) or a class (classification)."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"


class DType(StrEnum):
    """The type of a raw column.

    As a number a date is its days since 1970-01-01, and a datetime its seconds since that day began, of the day and
    time of day as they are written or as they are in the column's time zone.
    """

    FLOAT = "float"
    INT = "int"
    STRING = "string"
    BOOL = "bool"
    DATE = "date"
    DATETIME = "datetime"

    @property
    def is_text(self) -> bool:
        """Whether values of this type are encoded as categories: texts and booleans."""
        return self in (DType.STRING, DType.BOOL)

    @property
    def is_time(self) -> bool:
        """Whether values of this type are points in time: dates and timestamps."""
        return self in (DType.DATE, DType.DATETIME)


Bound = StrictInt | StrictFloat | StrictStr


class OnViolation(StrEnum):
    """What predictions do with a value that breaks a rule of its column: refuse it, or count it and predict."""

    REFUSE = "refuse"
    COUNT = "count"


@frozen
class ListedColumn:
    """A column in ``dataset.columns``: its name, and those of its facts that are not to be inferred."""

    name: Annotated[str, Field(min_length=1, description="Name in the file's header")]
    dtype: Annotated[DType | None, Field(description="Type of its values; null: inferred")] = None
    description: Annotated[str, Field(description="Meaning, with the unit"), Unkeyed()] = ""
    format: Annotated[
        str | None, Field(min_length=1, description="How dates are written in texts, as '%d/%m/%Y'; null: found")
    ] = None

    min: Annotated[Bound | None, Field(description="Smallest value: a number, or a date")] = None
    max: Annotated[Bound | None, Field(description="Largest value: a number, or a date")] = None
    allowed: Annotated[
        tuple[StrictBool | Bound, ...] | None, Field(min_length=1, description="The only values; null: any")
    ] = None
    pattern: Annotated[str | None, Field(min_length=1, description="Regular expression that texts match whole")] = None
    unique: Annotated[bool, Field(description="Whether no value may occur twice")] = False
    max_missing: Annotated[float | None, Field(ge=0, le=1, description="Largest share of missing values")] = None
    on_violation: Annotated[OnViolation, Field(description="What predictions do with a value that breaks a rule")] = (
        OnViolation.REFUSE
    )

    @property
    def has_contract(self) -> bool:
        """Whether there is any rule for its values."""
        rules = (self.min, self.max, self.allowed, self.pattern, self.max_missing)
        return self.unique or any(rule is not None for rule in rules)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, regex: str | None) -> str | None:
        if regex is not None:
            try:
                TypeAdapter(Annotated[str, Field(pattern=regex)])
            except SchemaError as error:
                reason = str(error).strip().splitlines()[-1].removeprefix("error: ")
                raise ValueError(f"this is no regular expression: {reason}") from None
        return regex

    @model_validator(mode="after")
    def _is_range(self) -> Self:
        low, high = self.min, self.max
        if low is not None and high is not None:
            if isinstance(low, str) != isinstance(high, str):
                raise ValueError("min and max are both numbers or both dates")
            if low > high:  # type: ignore[operator]
                raise ValueError(f"min {low} is above max {high}")
        return self

    @field_validator("format")
    @classmethod
    def _readable(cls, form: str | None) -> str | None:
        if form is not None:
            pattern(form)
        return form

    @model_validator(mode="after")
    def _of_dates(self) -> Self:
        if self.format is not None and self.dtype is not None and not self.dtype.is_time:
            raise ValueError(f"a format is for dates and datetimes, not for {self.dtype.value}")
        return self


@frozen
class Column(ListedColumn):
    """One raw column: a feature before preprocessing, or the target."""

    dtype: Annotated[DType, Field(description="Type of its values")]


@frozen
class Reading:
    """How the raw values of a data set are read: in training, in batch predictions, and in requests to the model.

    ``missing`` are the texts that stand for a missing value, besides the empty one; one that is a number stands for
    this number in any spelling and type. ``strip``: blanks around a text do not count. ``decimal`` and ``thousands``
    are the characters in a number that is written as a text.
    """

    missing: tuple[str, ...] = ()
    strip: bool = False
    decimal: Annotated[str, Field(min_length=1, max_length=1)] = "."
    thousands: Annotated[str, Field(max_length=1)] = ""

    @cached_property
    def missing_numbers(self) -> frozenset[float]:
        """The finite numbers in ``missing``."""
        return frozenset(n for text in self.missing if math.isfinite(n := self._number(text)))

    def _number(self, text: str) -> float:
        try:
            plain = text.replace(self.thousands, "") if self.thousands else text
            return float(plain.replace(self.decimal, ".").replace("\u2212", "-"))
        except ValueError:
            return math.nan


@frozen
class Image:
    """The shape of an image whose pixels are the columns of a row: by channel, then line, then from left to right."""

    channels: Annotated[int, Field(ge=1, le=65_535, description="1: shades of grey; 3: red, green and blue")] = 1
    height: Annotated[int, Field(ge=1, le=65_535, description="Pixels from top to bottom")]
    width: Annotated[int, Field(ge=1, le=65_535, description="Pixels from left to right")]
    decoded: Annotated[
        bool, Field(description="Pixels from 0 to 255, as of an image file: requests may send the file itself")
    ] = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    def __str__(self) -> str:
        return f"{self.channels} × {self.height} × {self.width}"


@frozen
class PreparedData(Artifact):
    """A data set, split and converted to matrices, with an ONNX graph that converts raw rows in the same way.

    Files: ``train.parquet`` and ``test.parquet`` (the columns ``features`` in order, Float32, or Boolean for what
    is 0 or 1, then ``__target__``: Float64 for regression, Int64 index into ``classes`` for classification; if the data
    have a column ``weight``, then ``__weight__``: its positive numbers, Float64);
    ``holdout.parquet`` (the raw columns of the first rows, at most 1,000, of ``test.parquet``, in the same order);
    ``rows.parquet`` (``row``: the number in the data set, from 0, of each row of ``test.parquet``);
    ``separated.parquet``, if the split keeps the values of a column apart (``value``, and ``held_out``, for each row);
    ``summary.json`` (the distribution of each raw column over at most about 100,000 training rows);
    ``preprocessing.onnx`` (one input per raw column, named as the column, shape [N, 1]: double for float, int, date and
    datetime (NaN: missing), string for string ("": missing) and bool ("true", "false"); one output, float32 [N, F]:
    ``features``, unless a column has that name).
    ``reading`` is how raw values become those of the columns; ``fingerprint`` is that of the data set. If the rows are
    images, ``features`` are their pixels in the order of ``image``. ``one_hot`` has the range of features of each text
    column: the index of the first one, and the end. At most one of them is 1 in a row. ``rare`` are those of rare
    categories, which only models that receive ``one_hot`` get. ``indicators`` has the features of numbers that are
    missing in some training rows, each with the feature that is 1 where it is. ``separated`` is the column of which no
    value is in both splits or, if ``in_time``, no later one in the training split.
    """

    dataset: str
    task: Task
    target: Column
    classes: tuple[str, ...] = ()
    columns: tuple[Column, ...]
    reading: Reading = Reading()
    features: tuple[str, ...]
    one_hot: tuple[tuple[int, int], ...] = ()
    rare: tuple[int, ...] = ()
    indicators: tuple[tuple[int, int], ...] = ()
    image: Image | None = None
    remarks: str = ""
    separated: str | None = None
    in_time: bool = False
    weight: str | None = None
    rows_train: int
    rows_test: int
    fingerprint: str = ""


@frozen
class Decision:
    """A row gets the class with the index ``positive``, of two, if its probability is at least ``threshold``."""

    positive: Annotated[int, Field(ge=0, le=1)]
    threshold: float


@frozen
class TrainedModel(Artifact):
    """A trained model and its metrics on the held-out rows.

    Files: ``model.onnx`` (input ``features``, float32 [N, F]; regression: output ``prediction``, float64 [N, 1];
    classification: outputs ``label``, int64 [N] (index into ``PreparedData.classes``: of the most probable class, or by
    the ``decision``), and ``probabilities``, float32 [N, K]);
    ``metrics.json``; ``predictions.parquet`` (the graph's predictions, one row per row of
    ``test.parquet``, in order: ``target``, ``prediction``, and for classification ``probability_<class>``); if training
    is iterative, ``history.json``, and if it is an ensemble, ``members.json`` (see ``Model.fit``). The metrics are
    those of the graph. ``spread`` is the standard deviation of a numeric target over the training rows, in its unit;
    ``quantile`` is the one that is predicted, of which ``pinball`` is the loss. If rows have weights, the metrics are
    weighted, and ``predictions.parquet`` has a column ``weight``. ``further`` are metrics of the run's own, with their
    directions.
    """

    directions: ClassVar[Mapping[str, Direction]] = DIRECTIONS
    scored_on: ClassVar[str | None] = "test"

    model: str
    task: Task
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    spread: float | None = None
    quantile: float | None = None
    decision: Decision | None = None
    further: Mapping[str, Direction] = Field(default_factory=dict)

    @property
    def measured(self) -> Mapping[str, float | None]:
        """Its metrics, and ``model_bytes``, the size of the ONNX graph."""
        return {**self.metrics, "model_bytes": float((self.path / "model.onnx").stat().st_size)}

    def is_minimized(self, metric: str) -> bool:
        """Return whether a metric is better the smaller it is."""
        return {**DIRECTIONS, **self.further}.get(metric) == "minimize"
