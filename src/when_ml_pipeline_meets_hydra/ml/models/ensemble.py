"""A weighted mean of models of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.param import Seed

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart


@frozen
class EnsembleParam:
    """The hyperparameters of an ensemble; those of its members are varied by itself."""

    n_candidates: Annotated[
        int, Field(ge=1, le=1000, description="Most models that are trained, of which the members are chosen")
    ] = 40
    rounds: Annotated[
        int, Field(ge=1, le=10_000, description="Choices of the member that improves the mean most, with replacement")
    ] = 100
    folds: Annotated[
        int | None,
        Field(
            ge=2,
            le=100,
            description="Parts of the rows, each predicted by models trained without it; null: by the number of rows",
        ),
    ] = None
    seed: Seed = 0


@frozen
class Ensemble:
    """A weighted mean of models (Caruana et al., "Ensemble selection from libraries of models", 2004).

    Models of the kinds at hand, with varied hyperparameters, are trained in folds of the training rows until the time
    is up. Then the member whose out-of-fold predictions improve the mean most is chosen again and again. The folds
    keep groups together, and with a split by time the newest rows are predicted by models of the earlier ones.
    """

    takes: ClassVar[type] = EnsembleParam

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "ensemble"
    time_limit: Annotated[
        float | None,
        Field(ge=1, le=1_000_000, description="Seconds of training; null: until all candidates are trained"),
    ] = 60
    n_jobs: Annotated[
        int | None, Field(ge=1, le=1024, description="Processor cores to train on; null: all"), Unkeyed()
    ] = None

    def fit(
        self,
        task: Task,
        m_param: EnsembleParam,
        features: Array,
        target: Array,
        progress: Progress,
        one_hot: Sequence[tuple[int, int]] = (),
        indicators: Sequence[tuple[int, int]] = (),
        apart: KeptApart | None = None,
        rare: Sequence[int] = (),
        sample_weight: Array | None = None,
    ) -> Estimator:
        """Train; see ``Model.fit``. The ``members_`` of the estimator are those that were chosen.

        Where rows have weights, kinds that cannot weight rows are left out.
        """
        from when_ml_pipeline_meets_hydra.ml.models.ensemble_training import Rows, train

        rows = Rows(task, features, target, tuple(one_hot), tuple(indicators), tuple(rare), apart, sample_weight)
        return train(self, m_param, rows, progress)

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.ensemble_export import to_graph

        return to_graph(estimator, n_features)
