"""The Protocols of models and of fitted estimators."""

from __future__ import annotations

import inspect
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
    """Features [N, F] in a file."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and F."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[Array]:
        """Yield all rows in order, in batches: float32 [n, F], finite."""

    def frame(self) -> pl.DataFrame:
        """Return all rows by columns: finite Float32, or Boolean for features that are 0 or 1."""


class Estimator(Protocol):
    """A fitted model with scikit-learn's interface; a classifier also has ``classes_`` and ``predict_proba``."""

    def predict(self, features: Array) -> Array:
        """Return the predictions, [N], for features, float32 [N, F]."""


@runtime_checkable
class Model(Protocol):
    """A kind of model and its own options.

    The class attribute ``takes`` is the class of its hyperparameters, if not ``TrainingParam``; with
    ``from_file = True`` it receives ``FeatureRows`` instead of a matrix with all features in memory.
    """

    @property
    def name(self) -> str:
        """Name of the kind in reports."""

    def fit(self, task: Task, m_param: Any, features: Array, target: Array, progress: Progress) -> Estimator:
        """Train.

        Further parameters are passed if the signature has them: ``image``, the shape (``Image``, or None) of the rows;
        ``one_hot``, ``rare`` and ``indicators``, the features of each text column, those of rare categories and those
        of missing numbers (see ``PreparedData``); ``apart``, the groups or times (``KeptApart``, or None) that the
        split keeps apart, for choices on parts of the rows; ``checkpoints``, a folder that keeps the checkpoints of an
        interrupted training; and ``sample_weight``, the weights of the rows, float64 [N] with mean 1, or None. Without
        ``one_hot`` the features are those without rare categories. A model without ``sample_weight``, or whose method
        ``weighs_rows()`` returns False, is refused where rows or classes have weights.

        Args:
            task: what to predict.
            m_param: the hyperparameters, of the class ``takes``.
            features: float32 [N, F], finite.
            target: [N]; float64 with mean 0 and standard deviation 1 (predictions are converted back to its unit), or
                int64 indices of at least two classes.
            progress: called with the number of trees (or iterations) that are done. Its method ``report`` takes metrics
                on rows that the training holds out, of the target as it is given here: ``r2``, ``rmse``, ``log_loss``,
                …, never of the rows that it trains on.

        Returns:
            The fitted estimator. If training is iterative, it has a ``history_``: ``step`` (epoch, tree), ``losses``
            (name of the rows → the loss after each step), ``best`` (the step, from 1, whose weights were kept). If it
            is a mean of others, it has ``members_``, a list of what they are, and ``summary_``, the same in a line.

        Raises:
            BadInput: this kind of model does not support the value of a hyperparameter.
            Pruned: ``progress.report`` has returned True.
        """

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX.

        Returns:
            A graph with one input, float32 or float64 [N, F], whose last output is float32 or float64: the prediction
            [N, 1], or the probabilities [N, k] of ``estimator.classes_``. Names and versions may be anything.
        """


def takes_weights(model: Model) -> bool:
    """Return whether a kind of model can be trained on rows with weights."""
    return "sample_weight" in inspect.signature(model.fit).parameters
