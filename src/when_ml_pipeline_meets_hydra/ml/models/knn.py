"""The nearest neighbours among the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.param import Seed, Weights

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator


@frozen
class NeighboursParam:
    """The hyperparameters of nearest neighbours."""

    n_neighbors: Annotated[
        int | None, Field(ge=1, le=1000, description="Training rows that count; null: the number of the lowest loss")
    ] = None
    weights: Annotated[Weights, Field(description="How neighbours count: all the same, or closer ones more")] = (
        Weights.DISTANCE
    )
    seed: Seed = 0


@frozen
class Neighbours:
    """The mean of the nearest training rows (Fix and Hodges, 1951), or the shares of the classes among them.

    Numbers are standardised, and clipped to the range of the training rows; equal rows count as one neighbour. All rows
    that are as far as the last neighbour count, too. With ``weights=distance`` a row at distance d counts 1 - d²/h²,
    where h² is 1.5 times the square of the last neighbour's distance (Epanechnikov's kernel). To the shares of the
    classes that of all training rows is added, with the weight of one row, so that no class is impossible.
    """

    takes: ClassVar[type] = NeighboursParam

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "knn"
    max_rows: Annotated[
        int, Field(ge=1, le=100_000, description="Most training rows that are kept; of more, so many at random")
    ] = 5000

    def fit(
        self, task: Task, m_param: NeighboursParam, features: Array, target: Array, progress: Progress
    ) -> Estimator:
        """Keep the training rows, and choose the number of neighbours; see ``Model.fit``."""
        from when_ml_pipeline_meets_hydra.ml.models.knn_training import fit

        progress(0, 1, "fitting")
        fitted = fit(task, m_param, self.max_rows, features, target)
        progress(1, 1, "fitted")
        return fitted

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.knn_training import to_graph

        return to_graph(estimator, n_features)
