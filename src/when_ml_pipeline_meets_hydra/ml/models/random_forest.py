"""A random forest (scikit-learn)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.sklearn_export import SklearnModel
from when_ml_pipeline_meets_hydra.ml.training.param import LOSS, Depth, RowsOfLeaf, Seed, TreeLoss, Trees

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator

_CHUNKS = 20


@frozen
class ForestParam:
    """The hyperparameters of forests."""

    loss: Annotated[TreeLoss, Field(description=LOSS)] = TreeLoss.SQUARED_ERROR
    n_estimators: Trees = 200
    max_depth: Annotated[Depth | None, Field(description="Levels of each tree; null: until its leaves are pure")] = None
    min_samples_split: Annotated[int, Field(ge=2, lt=2**31, description="Rows that a node needs to be split")] = 2
    min_samples_leaf: RowsOfLeaf = 1
    seed: Seed = 0


@frozen
class Forest(SklearnModel, ABC):
    """Base class of the averages of deep trees; each kind only creates its estimator."""

    takes: ClassVar[type] = ForestParam

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")]
    max_features: Annotated[float, Field(gt=0, le=1, description="Part of the features tried at each split")] = 0.3
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    def fit(
        self,
        task: Task,
        m_param: ForestParam,
        features: Array,
        target: Array,
        progress: Progress,
        sample_weight: Array | None = None,
    ) -> Estimator:
        """Train; see ``Model.fit``."""
        estimator = self._build(task, m_param)
        total = m_param.n_estimators
        step = -(-total // _CHUNKS)
        for start in range(0, total, step):
            done = min(start + step, total)
            # With warm_start each call only adds trees; the forest is the same as that of one call.
            estimator.set_params(n_estimators=done).fit(features, target, sample_weight)
            progress(done, total, "trees")
        return estimator  # type: ignore[no-any-return]

    @abstractmethod
    def kind(self, task: Task) -> Any:
        """Return scikit-learn's class for a task."""

    def _build(self, task: Task, m_param: ForestParam) -> Any:
        criterion = "log_loss" if task is Task.CLASSIFICATION else m_param.loss.value
        return self.kind(task)(
            criterion=criterion,
            max_depth=m_param.max_depth,
            min_samples_split=m_param.min_samples_split,
            min_samples_leaf=m_param.min_samples_leaf,
            max_features=self.max_features,
            random_state=m_param.seed,
            n_jobs=self.n_jobs,
            warm_start=True,
        )


@frozen
class RandomForest(Forest):
    """The average of trees on random samples of the rows and features (Breiman, "Random forests", 2001)."""

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "random_forest"

    def kind(self, task: Task) -> Any:
        """Return scikit-learn's class for a task."""
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        return RandomForestClassifier if task is Task.CLASSIFICATION else RandomForestRegressor
