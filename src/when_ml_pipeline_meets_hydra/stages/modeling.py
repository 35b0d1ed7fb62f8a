"""Stage modeling: train a model, export it as ONNX, and evaluate the exported graph on the held-out rows."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.contracts import Claim, Progress, agreed, agreed_with_data, claims, preceded_by
from when_ml_pipeline_meets_hydra.errors import Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Remote, data_of
from when_ml_pipeline_meets_hydra.ml.models.interface import Model
from when_ml_pipeline_meets_hydra.ml.training.param import Hyperparameters, TrainingParam
from when_ml_pipeline_meets_hydra.ml.validation.interface import Validation


def _suits(model: Model, m_param: Hyperparameters, dataset: Any) -> Iterator[Problem]:
    """The hyperparameters, and the kind of rows, have to be those that the model takes."""
    takes = getattr(model, "takes", TrainingParam)
    if not isinstance(m_param, takes):
        wanted = f"{takes.__module__}.{takes.__name__}"
        message = f"these hyperparameters ({type(m_param).__name__}) are not those of the model {model.name}"
        remedy = f"Files in modeling/param/{model.name} (small.yaml, …) with _target_: {wanted} give it its own"
        yield Problem(key="m_param", message=message, remedy=remedy)
    if hasattr(model, "misfit") and hasattr(dataset, "image"):
        yield from model.misfit(dataset.image)


def _can_be_trained(model: Model, m_param: Hyperparameters, dataset: Any) -> Iterator[Problem]:
    """What a model says of its hyperparameters, device and task, if it looks at them before it is trained."""
    if hasattr(model, "unsupported"):
        yield from model.unsupported(m_param)
    if hasattr(model, "refusals"):
        yield from model.refusals(m_param, _task_of(dataset))


def _task_of(dataset: Any) -> Task | None:
    """The task of a data set; None where its rows would have to be fetched from a server."""
    if dataset is None or isinstance(dataset, Remote):
        return None
    from when_ml_pipeline_meets_hydra.ml.datasets.table import table

    return table(dataset.rows(), with_empty=False).task


def _is_validated(validation: Validation) -> bool:
    return validation.is_wanted


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
    *,
    out: Path,
    progress: Progress,
    checkpoints: Path | None = None,
) -> TrainedModel:
    """Train a model, evaluate it against a naive baseline, and export it.

    The exported graph is what is evaluated, so that the metrics are those of what is deployed.

    Raises:
        StepFailed: the data has a single class, the exported model's predictions differ, or it is too large for ONNX.
        BadInput: the model does not support the value of a hyperparameter.
    """
    from when_ml_pipeline_meets_hydra.ml import onnx_size
    from when_ml_pipeline_meets_hydra.ml.models import frequent_categories
    from when_ml_pipeline_meets_hydra.ml.training import graph, predictions
    from when_ml_pipeline_meets_hydra.ml.training.matrices import read_split
    from when_ml_pipeline_meets_hydra.ml.training.target_scale import TargetScale

    data, task, n_classes = preprocessing, preprocessing.task, len(preprocessing.classes)
    known, held_out = read_split(data, "train"), read_split(data, "test")
    if task is Task.CLASSIFICATION and known.target.min() == known.target.max():
        raise StepFailed(f"The training split of {data.dataset} has a single class; nothing can be learnt from it")

    scale = TargetScale.of(known.target) if task is Task.REGRESSION else None
    fit: Any = model.fit
    named = _further(inspect.signature(fit).parameters.keys(), data, checkpoints)
    n_features = len(data.features)
    places = frequent_categories.places(model, n_features, data.rare)
    rows = known.rows if places is None else known.rows.of(places)
    _check_features(model, data, len(rows.names))
    features = rows if getattr(model, "from_file", False) else rows.matrix()
    target = known.target if scale is None else scale.apply(known.target)
    estimator = fit(task, m_param, features, target, progress, **named)
    if places is not None:
        estimator = frequent_categories.Kept(estimator, places)
    del features

    classes = getattr(estimator, "classes_", None)
    own = frequent_categories.export(model, estimator, n_features)
    exported = graph.standardise(own, n_features, classes, n_classes, scale)
    serialised = onnx_size.serialised(
        exported, f"The model {model.name}", "choose a smaller one (modeling/param=small)"
    )
    predicted = graph.exported_predictions(serialised, held_out.rows)
    graph.verify(predicted, predictions.predict(estimator, held_out.rows, n_classes, scale), scale)
    metrics = predictions.evaluate(held_out.target, predicted)
    naive = predictions.naive(task, known.target, len(held_out.target), n_classes)
    baseline = predictions.evaluate(held_out.target, naive)

    (out / "model.onnx").write_bytes(serialised)
    predictions.write(out / "predictions.parquet", held_out.target, predicted, data.classes)
    _write_metrics(out / "metrics.json", metrics, baseline)
    _write_history(out / "history.json", getattr(estimator, "history_", None))
    _write_members(out / "members.json", estimator)
    _report(model.name, metrics, baseline)
    spread = scale.spread if scale else None
    return TrainedModel(path=out, model=model.name, task=task, metrics=metrics, baseline=baseline, spread=spread)


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


def _further(names: Collection[str], data: PreparedData, checkpoints: Path | None) -> dict[str, Any]:
    """Those of the further arguments of ``Model.fit`` that it takes."""
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

    simple = {name: getattr(data, name) for name in ("image", "one_hot", "rare", "indicators")}
    named = {name: value for name, value in {**simple, "checkpoints": checkpoints}.items() if name in names}
    return {**named, "apart": KeptApart.of(data)} if "apart" in names else named


def _write_metrics(path: Path, metrics: Mapping[str, float], baseline: Mapping[str, float]) -> None:
    text = json.dumps({"metrics": metrics, "baseline": baseline}, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _write_history(path: Path, history: Mapping[str, Any] | None) -> None:
    losses = [loss for values in history["losses"].values() for loss in values] if history else []
    if losses and all(map(math.isfinite, losses)):
        path.write_text(json.dumps(history, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _write_members(path: Path, estimator: Any) -> None:
    if members := getattr(estimator, "members_", None):
        path.write_text(json.dumps(members, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(estimator.summary_)


def _report(model: str, metrics: Mapping[str, float], baseline: Mapping[str, float]) -> None:
    shown = ", ".join(f"{name} {value:.4g} (naive {baseline[name]:.4g})" for name, value in metrics.items())
    print(f"{model} on held-out rows: {shown}")
