"""Stage modeling: train a model, export it as ONNX, and evaluate the exported graph on the held-out rows."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

from when_ml_pipeline_meets_hydra.contracts import (
    Claim,
    Progress,
    Wanted,
    agreed,
    agreed_with_data,
    claims,
    preceded_by,
)
from when_ml_pipeline_meets_hydra.errors import Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Remote, data_of, weight_of
from when_ml_pipeline_meets_hydra.ml.evaluation import Validated
from when_ml_pipeline_meets_hydra.ml.metrics.interface import NONE, Metrics
from when_ml_pipeline_meets_hydra.ml.models.interface import Model, takes_weights
from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Threshold
from when_ml_pipeline_meets_hydra.ml.thresholds.most_likely import MostLikely
from when_ml_pipeline_meets_hydra.ml.training.class_weights import (
    ClassWeight,
    class_problems,
    classes_of,
    row_weights,
)
from when_ml_pipeline_meets_hydra.ml.training.decisions import given, threshold_problems
from when_ml_pipeline_meets_hydra.ml.training.param import Hyperparameters, TrainingParam
from when_ml_pipeline_meets_hydra.ml.validation.auto import is_of_models
from when_ml_pipeline_meets_hydra.ml.validation.interface import Validation


def _suits(
    model: Model,
    m_param: Hyperparameters,
    dataset: Any,
    class_weight: ClassWeight | None,
    metrics: Metrics | None,
) -> Iterator[Problem]:
    """The model has to take the hyperparameters, the kind of rows, and weights if there are any."""
    takes = getattr(model, "takes", TrainingParam)
    if not isinstance(m_param, takes):
        wanted = f"{takes.__module__}.{takes.__name__}"
        message = f"these hyperparameters ({type(m_param).__name__}) are not those of the model {model.name}"
        remedy = f"Files in modeling/param/{model.name} (small.yaml, …) with _target_: {wanted} give it its own"
        yield Problem(key="m_param", message=message, remedy=remedy)
    if hasattr(model, "misfit") and hasattr(dataset, "image"):
        yield from model.misfit(dataset.image)
    if metrics is not None:
        yield from metrics.problems()
    if not takes_weights(model):
        yield from _weight_problems(f"the model {model.name}", dataset, class_weight)


def _weight_problems(model: str, dataset: Any, class_weight: ClassWeight | None) -> Iterator[Problem]:
    """Yield the weights that a model cannot be trained with."""
    weights = {
        "dataset.weight": weight_of(dataset),
        "class_weight": None if class_weight is None else str(class_weight),
    }
    for key, value in weights.items():
        if value is not None:
            message, remedy = f"{model} cannot weight rows", "Leave it out, or choose another model"
            yield Problem(key=key, value=value, message=message, remedy=remedy)


def _can_be_trained(
    model: Model,
    m_param: Hyperparameters,
    dataset: Any,
    class_weight: ClassWeight | None,
    threshold: Threshold | None,
) -> Iterator[Problem]:
    """A model may refuse the device or the task; weights are of classes that the target has, thresholds of two."""
    if hasattr(model, "unsupported"):
        yield from model.unsupported(m_param)
    if hasattr(model, "refusals"):
        yield from model.refusals(m_param, _task_of(dataset))
    if hasattr(model, "weighs_rows") and not model.weighs_rows():
        yield from _weight_problems(f"the estimator of the model {model.name}", dataset, class_weight)
    if class_weight is not None and (classes := classes_of(dataset)) is not None:
        yield from class_problems(class_weight, classes)
    if threshold is not None and threshold.is_wanted and (classes := classes_of(dataset)) is not None:
        yield from threshold_problems(threshold, classes)


def _task_of(dataset: Any) -> Task | None:
    """The task of a data set; None where its rows would have to be fetched from a server."""
    if dataset is None or isinstance(dataset, Remote):
        return None
    from when_ml_pipeline_meets_hydra.ml.datasets.table import table

    return table(dataset.rows(), with_empty=False).task


def _is_validated(validation: Validation, metrics: Metrics = NONE) -> bool:
    return validation.is_wanted or is_of_models(getattr(validation, "metric", None), metrics.directions)


def _is_decided(threshold: Threshold, metrics: Metrics) -> bool:
    return threshold.is_wanted or bool(metrics.own)


def _is_chosen(threshold: Threshold) -> bool:
    return threshold.is_chosen


def _kept(dataset: Any) -> Claim:
    """Of all models of a data set one is kept, if there is an objective."""
    data = data_of(dataset)
    text = f"the model of {getattr(dataset, 'name', '')}"
    return Claim(place=f"the model of {data}", text=text, among=data, exclusive=False)


@preceded_by("validation", when=_is_validated)
@claims(_kept)
@agreed(_suits)
@agreed_with_data(_can_be_trained)
def train(
    model: Model,
    m_param: Hyperparameters,
    preprocessing: PreparedData,
    class_weight: ClassWeight | None = None,
    threshold: Annotated[Threshold, Wanted(_is_decided)] = MostLikely(),  # noqa: B008
    metrics: Annotated[Metrics, Wanted(_is_decided)] = NONE,
    validation: Annotated[Validated | None, Wanted(_is_chosen)] = None,
    modeling: Annotated[TrainedModel | None, Wanted(_is_decided)] = None,
    *,
    out: Path,
    progress: Progress,
    checkpoints: Path | None = None,
) -> TrainedModel:
    """Train a model, evaluate it against a naive baseline, and export it.

    The exported graph is what is evaluated, so that the metrics are those of what is deployed. Rows count by their
    weights in training and in the metrics, classes by theirs in training alone. With a threshold or metrics of the
    run's own, the model is that of ``modeling``, which does not depend on them.

    Raises:
        StepFailed: the data has a single class, the exported model's predictions differ, or it is too large for ONNX.
        BadInput: the model does not support the value of a hyperparameter.
    """
    from when_ml_pipeline_meets_hydra.ml.training import results

    if modeling is not None:
        decision = validation.decision if validation else given(threshold, preprocessing.classes)
        return results.decided(modeling, preprocessing, decision, metrics, out)
    return _trained(model, m_param, preprocessing, class_weight, out, progress, checkpoints)


def _trained(
    model: Model,
    m_param: Hyperparameters,
    data: PreparedData,
    class_weight: ClassWeight | None,
    out: Path,
    progress: Progress,
    checkpoints: Path | None,
) -> TrainedModel:
    from when_ml_pipeline_meets_hydra.ml import onnx_size
    from when_ml_pipeline_meets_hydra.ml.models import frequent_categories
    from when_ml_pipeline_meets_hydra.ml.training import graph, predictions, results
    from when_ml_pipeline_meets_hydra.ml.training.matrices import read_split
    from when_ml_pipeline_meets_hydra.ml.training.partial_scores import InUnits
    from when_ml_pipeline_meets_hydra.ml.training.target_scale import TargetScale

    task, n_classes = data.task, len(data.classes)
    known = read_split(data, "train")
    if task is Task.CLASSIFICATION and known.target.min() == known.target.max():
        raise StepFailed(f"The training split of {data.dataset} has a single class; nothing can be learnt from it")
    held_out = read_split(data, "test").rows

    scale = TargetScale.of(known.target) if task is Task.REGRESSION else None
    fit: Any = model.fit
    weights = row_weights(known.target, data.classes, known.weights, class_weight)
    named = _further(inspect.signature(fit).parameters.keys(), data, checkpoints, weights)
    if weights is not None and "sample_weight" not in named:
        raise StepFailed(f"The rows of {data.dataset} have weights, and the model {model.name} cannot weight rows")
    n_features = len(data.features)
    places = frequent_categories.places(model, n_features, data.rare)
    rows = known.rows if places is None else known.rows.of(places)
    _check_features(model, data, len(rows.names))
    features = rows if getattr(model, "from_file", False) else rows.matrix()
    target = known.target if scale is None else scale.apply(known.target)
    reported = progress if scale is None else InUnits(progress, scale.spread)
    estimator = fit(task, m_param, features, target, reported, **named)
    if places is not None:
        estimator = frequent_categories.Kept(estimator, places)
    del features

    classes = getattr(estimator, "classes_", None)
    own = frequent_categories.export(model, estimator, n_features)
    exported = graph.standardise(own, n_features, classes, n_classes, scale)
    serialised = onnx_size.serialised(
        exported, f"The model {model.name}", "choose a smaller one (modeling/param=small)"
    )
    predicted = graph.exported_predictions(serialised, held_out)
    graph.verify(predicted, predictions.predict(estimator, held_out, n_classes, scale), scale)
    results.write_history(getattr(estimator, "history_", None), out)
    results.write_members(estimator, out)
    of_model = results.Exported(
        graph=serialised,
        model=model.name,
        quantile=_quantile(task, m_param),
        spread=scale.spread if scale else None,
    )
    return results.evaluated(of_model, data, known, predicted, out)


def _check_features(model: Model, data: PreparedData, taken: int) -> None:
    """Say how many features the model gets without those of rare categories.

    Raises:
        StepFailed: it gets none.
    """
    if not taken:
        raise StepFailed(
            f"{model.name} gets no feature: all categories of {data.dataset} are rare; set p_param.min_frequency, or "
            "choose a modeling/model that splits by categories, as hist_gradient_boosting does"
        )
    if taken < len(data.features):
        why = "without rare categories (p_param.max_categories, p_param.min_frequency)"
        print(f"{model.name} gets {taken:,} of the {len(data.features):,} features: {why}")


def _quantile(task: Task, m_param: Hyperparameters) -> float | None:
    """The quantile that a regression predicts, if it does."""
    is_quantile = task is Task.REGRESSION and getattr(m_param, "loss", None) == "quantile"
    return getattr(m_param, "quantile", None) if is_quantile else None


def _further(names: Collection[str], data: PreparedData, checkpoints: Path | None, weights: Any) -> dict[str, Any]:
    """Those of the further arguments of ``Model.fit`` that it takes."""
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

    simple = {name: getattr(data, name) for name in ("image", "one_hot", "rare", "indicators")}
    simple |= {"checkpoints": checkpoints, "sample_weight": weights}
    named: dict[str, Any] = {name: value for name, value in simple.items() if name in names}
    return {**named, "apart": KeptApart.of(data)} if "apart" in names else named
