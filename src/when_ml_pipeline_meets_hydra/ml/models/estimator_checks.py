"""The training of an estimator of scikit-learn, and its checks before that: its class, its parameters, its export."""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils.validation import has_fit_parameter

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, StepFailed, did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models import sklearn_graphs
from when_ml_pipeline_meets_hydra.ml.models.calibrated import Calibrated

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.estimator import Estimator, EstimatorParam

Array = np.ndarray[Any, Any]
_LIBRARY = "sklearn"
_OURS = {"random_state": "seed", "n_jobs": "model.n_jobs"}
_ROWS, _FEATURES = 200, 20  # of made-up data
_OTHER = "Choose another estimator, or another modeling/model"


def build(model: Estimator, param: EstimatorParam) -> Any:
    """Return the estimator, not yet fitted. Raises ``BadInput``."""
    cls = _class(model.estimator)
    ours = {"random_state": param.seed, "n_jobs": model.n_jobs if model.n_jobs > 1 else None}
    known = inspect.signature(cls.__init__).parameters
    made = cls(**{k: v for k, v in ours.items() if k in known}, **{k: _plain(v) for k, v in param.own.items()})
    has_decisions = hasattr(made, "decision_function") and not hasattr(made, "predict_proba")
    return Calibrated(made, param.seed) if has_decisions and is_classifier(made) else made


class Fitted:
    """A fitted estimator that receives features in double precision, as it did in training."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        if hasattr(inner, "classes_"):
            self.classes_ = inner.classes_

    def predict(self, features: Array) -> Array:
        """Return the predictions, [N]."""
        predicted: Array = self.inner.predict(features.astype(np.float64))
        return predicted

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities, [N, K], of ``classes_``."""
        predicted: Array = self.inner.predict_proba(features.astype(np.float64))
        return predicted


def fit(
    model: Estimator, param: EstimatorParam, features: Array, target: Array, weights: Array | None = None
) -> Fitted:
    """Train; see ``Model.fit``. Raises ``StepFailed`` with what scikit-learn says."""
    weighted = {} if weights is None else {"sample_weight": weights}
    try:
        return Fitted(build(model, param).fit(features.astype(np.float64), target, **weighted))
    except ValueError as error:
        raise StepFailed(f"{model.estimator} cannot be trained on these rows: {error}") from error


def weighs_rows(model: Estimator) -> bool:
    """Return whether the class can be trained on rows with weights; also if there is no such class."""
    try:
        return bool(has_fit_parameter(_class(model.estimator), "sample_weight"))
    except BadInput:  # reported by ``refusals``
        return True


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert a fitted estimator to ONNX. Raises ``StepFailed`` if there is no graph that predicts the same."""
    try:
        return sklearn_graphs.to_graph(estimator.inner, n_features)
    except sklearn_graphs.NoGraph as error:
        raise StepFailed(f"The trained estimator cannot be exported to ONNX in double precision: {error}") from error


def refusals(model: Estimator, param: EstimatorParam, task: Task | None) -> Iterator[Problem]:
    """Yield the problems of the class, of each parameter, and of the export; ``task`` is None where it is unknown."""
    try:
        cls = _class(model.estimator)
    except BadInput as error:
        yield from error.problems
        return
    problems = [*_of_parameters(cls, param.own)]
    problems = problems or [*_of_task(model, build(model, param), task)]
    yield from problems or _of_export(model, param)


def parameters(name: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the parameters of a class for ``--help``: name, default, allowed values; none if there is no such class."""
    try:
        cls = _class(name)
    except BadInput:
        return
    for p in inspect.signature(cls.__init__).parameters.values():
        if p.name != "self" and p.name not in _OURS:
            yield p.name, json.dumps(p.default, default=repr), _invalid(cls, p.name, object()) or ""


def _class(name: str | None) -> Any:
    """The class, of scikit-learn's own modules. Raises ``BadInput``."""
    if name is None:
        raise _wrong(None, "a value is needed", "Give it: estimator=sklearn.svm.SVR, or another class")
    module, _, cls = name.rpartition(".")
    if not (module == _LIBRARY or module.startswith(f"{_LIBRARY}.")):
        remedy = "A class of your own is a model: see 'Extending', 'Add a model', in the docs"
        raise _wrong(name, "only estimators of scikit-learn may be named here, as sklearn.svm.SVR", remedy)
    try:
        inside = importlib.import_module(module)
    except ImportError as error:
        raise _wrong(name, f"there is no such module ({error})", None) from error
    found = getattr(inside, cls, None)
    if not (inspect.isclass(found) and issubclass(found, BaseEstimator) and cls[:1] != "_"):
        names = [f"{module}.{n}" for n in getattr(inside, "__all__", ())]
        raise _wrong(name, f"{module} has no such estimator", did_you_mean(name, names))
    if not (hasattr(found, "fit") and hasattr(found, "predict")):
        raise _wrong(name, "it predicts nothing", "Choose a regressor or a classifier")
    return found


def _of_parameters(cls: Any, given: Mapping[str, Any]) -> Iterator[Problem]:
    parameters = [p for p in inspect.signature(cls.__init__).parameters.values() if p.name != "self"]
    names = [p.name for p in parameters]
    for p in parameters:
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in given:
            message = f"{cls.__name__} cannot be made without it, and it is no value of a config"
            yield Problem(key=f"m_param.{p.name}", message=message, remedy="Choose another estimator")
    for name, value in given.items():
        if name in _OURS:
            yield Problem(key=f"m_param.{name}", value=str(value), message=f"it is set by {_OURS[name]}")
        elif name not in names:
            remedy = did_you_mean(f"m_param.{name}", [f"m_param.{n}" for n in names if n not in _OURS])
            yield Problem(key=f"m_param.{name}", message=f"{cls.__name__} has no such parameter", remedy=remedy)
        elif wrong := _invalid(cls, name, _plain(value)):
            yield Problem(key=f"m_param.{name}", value=str(value), message=f"expected {wrong}")


def _invalid(cls: Any, name: str, value: Any) -> str | None:
    """What scikit-learn says of a parameter that it refuses."""
    try:
        from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints
    except ImportError:  # it is no public module; then scikit-learn says it when it is trained
        return None
    constraints = getattr(cls, "_parameter_constraints", {})
    if name not in constraints:
        return None
    try:
        validate_parameter_constraints({name: constraints[name]}, {name: value}, cls.__name__)
    except InvalidParameterError as error:
        _, _, expected = str(error).partition(" must be ")
        return expected.partition(". Got ")[0] or str(error)
    return None


def _of_task(model: Estimator, made: Any, task: Task | None) -> Iterator[Problem]:
    kind = _kind(made)
    if kind is None:
        yield from _wrong(model.estimator, "it is neither a regressor nor a classifier", None).problems
    elif task is not None and kind is not task:
        wanted = "numbers, for which a regressor is needed" if task is Task.REGRESSION else "classes: a classifier"
        yield from _wrong(model.estimator, f"the target holds {wanted}", None).problems
    elif kind is Task.CLASSIFICATION and not hasattr(made, "predict_proba"):
        message = "it has no probabilities (predict_proba) and no decision values, by which classes are predicted here"
        yield from _wrong(model.estimator, message, "Choose another classifier").problems


def _kind(made: Any) -> Task | None:
    try:
        found = made.inner if isinstance(made, Calibrated) else made
        return Task.CLASSIFICATION if is_classifier(found) else Task.REGRESSION if is_regressor(found) else None
    except AttributeError:  # a mere frame for another estimator
        return None


def _of_export(model: Estimator, param: EstimatorParam) -> Iterator[Problem]:
    """Fit it to made-up data, and export it."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(_ROWS, _FEATURES))
    numbers = features[:, 0] + 0.5 * rng.normal(size=_ROWS)
    made = build(model, param)
    target = rng.permutation(_ROWS) % 3 if _kind(made) is Task.CLASSIFICATION else numbers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sklearn_graphs.to_graph(made.fit(features, target), _FEATURES)
        except sklearn_graphs.NoGraph as error:
            message = f"it cannot be exported to ONNX in double precision: {str(error).rstrip('.')}"
            yield from _wrong(model.estimator, message, _OTHER).problems
        except Exception as error:  # whatever estimators raise
            message = f"it cannot be trained on standardised numbers: {str(error).strip().splitlines()[0].rstrip('.')}"
            yield from _wrong(model.estimator, message, _OTHER).problems


def _wrong(value: str | None, message: str, remedy: str | None) -> BadInput:
    return BadInput(Problem(key="model.estimator", value=value, message=message, remedy=remedy))


def _plain(value: Any) -> Any:
    """A value as scikit-learn takes it: lists as tuples."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value
