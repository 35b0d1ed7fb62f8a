"""What every model can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.ml.artifacts import Task

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import polars as pl

    Array = np.ndarray[Any, Any]


class FeatureRows(Protocol):
    """Features that stay in a file, [N, F]."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and F."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[Array]:
        """All rows in order, each time some of them: float32 [n, F], finite."""

    def frame(self) -> pl.DataFrame:
        """All rows, column by column: finite Float32, or Boolean for what is 0 or 1."""


class Estimator(Protocol):
    """A fitted model as scikit-learn has them; a classifier also has ``classes_`` and ``predict_proba``."""

    def predict(self, features: Array) -> Array:
        """The predictions, [N], for features [N, F]."""


@runtime_checkable
class Model(Protocol):
    """A kind of model and its own options.

    A class attribute ``takes`` names the class of its hyperparameters, where that is not ``TrainingParam``; one that
    says ``from_file = True`` is given ``FeatureRows`` instead of a matrix that holds all features in memory.
    """

    @property
    def name(self) -> str:
        """Name of the kind in reports."""

    def fit(self, task: Task, m_param: Any, features: Array, target: Array, progress: Progress) -> Estimator:
        """Train.

        Further parameters are given where they are named: ``image``, the shape (``Image``, or None) of the rows;
        ``one_hot``, which features are made of one column (see ``PreparedData``); and ``checkpoints``, a folder where
        an earlier attempt of the same training left what it had reached.

        Args:
            task: what to predict.
            m_param: the hyperparameters, of the class that the model takes.
            features: float32 [N, F], finite.
            target: [N]; float64, or int64 indices of at least two classes.
            progress: is told how many of the trees (or iterations) are done.

        Returns:
            An estimator. Where training goes step by step, its ``history_`` says how: ``step`` (epoch, tree),
            ``losses`` (whose rows → the loss after each step), ``best`` (the step, from 1, whose weights were kept).

        Raises:
            BadInput: a hyperparameter has a value that this kind of model cannot follow.
        """

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """The fitted model as ONNX.

        Returns:
            A graph with one input, float32 [N, F], whose last output is float32: the prediction [N, 1], or the
            probabilities [N, k] of ``estimator.classes_``. Names and versions may be anything.
        """
