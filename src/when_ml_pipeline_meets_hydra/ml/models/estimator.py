"""Any further estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.param import Seed

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array
    from when_ml_pipeline_meets_hydra.ml.models.interface import Estimator as Fitted

_OPEN = "_further_keys_"  # says in an option file that keys may be added


@frozen
class EstimatorParam:
    """The parameters of an estimator; all keys but the seed are its own, such as ``C`` of ``sklearn.svm.SVR``."""

    seed: Seed = 0
    own: Annotated[
        Mapping[str, Any],
        Field(description="Its parameters; others are as scikit-learn has them", json_schema_extra={"chosen": True}),
    ]

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):  # made in Python
            return given
        own = {name: value for name, value in given.items() if name not in ("seed", _OPEN)}
        return {"own": own, **{name: given[name] for name in ("seed",) if name in given}}

    @staticmethod
    def further_keys(config: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
        """Yield the parameters of the estimator in a config for ``--help``: name, default, allowed values."""
        from when_ml_pipeline_meets_hydra.ml.models.estimator_checks import parameters

        return parameters((config.get("model") or {}).get("estimator"))


@frozen
class Estimator:
    """An estimator of scikit-learn for numbers or classes, whose graph can be written in double precision."""

    takes: ClassVar[type] = EstimatorParam

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "estimator"
    estimator: Annotated[
        str | None, Field(min_length=1, description="Its class, such as sklearn.svm.SVR; needed to train")
    ] = None
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    def refusals(self, m_param: EstimatorParam, task: Task | None) -> Iterable[Problem]:
        """Yield the problems of its class and parameters, or that it cannot be exported; nothing is trained yet."""
        from when_ml_pipeline_meets_hydra.ml.models.estimator_checks import refusals

        return refusals(self, m_param, task)

    def weighs_rows(self) -> bool:
        """Return whether its class can be trained on rows with weights; also if there is no such class."""
        from when_ml_pipeline_meets_hydra.ml.models.estimator_checks import weighs_rows

        return weighs_rows(self)

    def fit(
        self,
        task: Task,
        m_param: EstimatorParam,
        features: Array,
        target: Array,
        progress: Progress,
        sample_weight: Array | None = None,
    ) -> Fitted:
        """Train; see ``Model.fit``."""
        from when_ml_pipeline_meets_hydra.ml.models import estimator_checks

        progress(0, 1, "fitting")
        fitted = estimator_checks.fit(self, m_param, features, target, sample_weight)
        progress(1, 1, "fitted")
        return fitted

    def export(self, estimator: Fitted, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.estimator_checks import to_graph

        return to_graph(estimator, n_features)
