"""The training of an ensemble: candidates in folds until the time is up, then the choice of its members."""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from joblib import cpu_count

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models import ensemble_selection, frequent_categories
from when_ml_pipeline_meets_hydra.ml.models.ensemble_candidates import Candidate, candidates
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.models.interface import takes_weights
from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Part
from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.ensemble import Ensemble, EnsembleParam

Array = np.ndarray[Any, Any]
Ends = tuple[float, float] | None  # the least and the greatest prediction of a member
_MARGIN = 0.1  # beyond the targets of the training rows, in their range
_FOR_CANDIDATES = 0.85  # part of the time; the rest is for members that are trained on all rows in the end
_FOR_CANDIDATES_IN_TIME = 0.5  # if all members are
_FOLDS = ((2000, 8), (50_000, 5), (200_000, 3), (math.inf, 2))  # up to a number of rows
_FEWEST_ROWS_FOR_THREADS = 5000  # with fewer, threads cost more than they save


class Rows(NamedTuple):
    """The training rows: ``features`` [N, F], ``target`` [N] and their ``weights`` [N]; see ``Model.fit``."""

    task: Task
    features: Array
    target: Array
    one_hot: tuple[tuple[int, int], ...]
    indicators: tuple[tuple[int, int], ...]
    rare: tuple[int, ...]
    apart: KeptApart | None
    weights: Array | None


class TimeIsUp(Exception):
    """The training of a candidate does not end in time."""


class Clock:
    """Reports the time that has passed, and ends the training of candidates; the first one is always completed."""

    def __init__(self, limit: float | None, part: float, total: int, progress: Progress) -> None:
        self._limit, self._progress, self._total = limit, progress, total
        self._start, self.models = time.monotonic(), 0
        self._end = np.inf if limit is None else self._start + part * limit

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left for candidates."""
        return self._end - time.monotonic()

    def __call__(self, done: float = 0, total: float | None = None, message: str = "") -> None:
        """Do as ``tick``: a clock is the ``Progress`` of candidates."""
        self.tick()

    def report(self, step: int, /, **metrics: float) -> bool:
        """Return False: the partial scores of a candidate are not those of the ensemble."""
        return False

    def tick(self) -> None:
        """Report the time. Raises ``TimeIsUp`` if it is over, and a candidate is trained already."""
        if self._limit is not None:
            self._progress(min(self.passed, self._limit), self._limit, f"seconds, {self.models} models")
        else:
            self._progress(self.models, self._total, "models")
        if self.models and self.left <= 0:
            raise TimeIsUp

    def finish(self) -> None:
        """Report the end."""
        end = self._total if self._limit is None else self._limit
        self._progress(end, end, "models" if self._limit is None else f"seconds, {self.models} models")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A candidate, its out-of-fold predictions [N, K], and the model that predicts like them; None: there is none."""

    candidate: Candidate
    predictions: Array
    fitted: Any | None
    seconds: float


class WeightedMean:
    """The sum of members' predictions, each with the matrix [k, K] of its weight at the places of its own classes.

    Predicted numbers of each member are within ``ends``: those of lines may be anywhere, far from the training rows.
    """

    members_: list[dict[str, Any]]
    summary_: str

    def __init__(self, parts: Sequence[tuple[Candidate, Any, Array]], ends: Ends) -> None:
        self.parts, self.ends = parts, ends

    def predict(self, features: Array) -> Array:
        """Return the predictions, [N]."""
        return self.sums(features)[:, 0]

    def sums(self, features: Array) -> Array:
        """Return the weighted sums, [N, K]."""
        own = (_predictions(fitted, features, self.ends) @ places for _, fitted, places in self.parts)
        sums: Array = np.sum(list(own), axis=0)
        return sums


class WeightedMeanClassifier(WeightedMean):
    """The weighted mean of probabilities of ``classes_``, indices."""

    def __init__(self, parts: Sequence[tuple[Candidate, Any, Array]], classes: Array) -> None:
        super().__init__(parts, None)
        self.classes_ = classes

    def predict(self, features: Array) -> Array:
        """Return the indices of the most likely classes, [N]."""
        predicted: Array = self.classes_[self.sums(features).argmax(axis=1)]
        return predicted

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities, [N, K], of ``classes_``."""
        return self.sums(features)


def train(model: Ensemble, param: EnsembleParam, rows: Rows, progress: Progress) -> WeightedMean:
    """Train candidates, choose members, and train those on all rows that are no mean over the folds."""
    classes = None
    if rows.task is Task.CLASSIFICATION:
        classes, codes = np.unique(rows.target, return_inverse=True)
        rows = rows._replace(target=codes)
    folds = param.folds or next(number for most, number in _FOLDS if len(rows.target) < most)
    divided = inner_folds(rows.target, folds, param.seed, is_classes=classes is not None, apart=rows.apart)
    if not divided:
        raise StepFailed("An ensemble needs rows that some models are trained without; each class has a single row")
    in_time = rows.apart is not None and rows.apart.in_time
    part = _FOR_CANDIDATES_IN_TIME if in_time else _FOR_CANDIDATES
    clock = Clock(model.time_limit, part, param.n_candidates, progress)
    training = _Training(rows, divided, 1 if classes is None else len(classes), clock, keeps_means=not in_time)
    cores = 1 if len(rows.target) < _FEWEST_ROWS_FOR_THREADS else model.n_jobs or cpu_count()
    found = training.all(candidates(len(rows.target), param.seed, cores, param.n_candidates))
    predictions = [t.predictions for t in found]
    weights = ensemble_selection.weights(predictions, rows.target, param.rounds, param.seed, rows.weights)
    chosen = sorted((k for k in range(len(found)) if weights[k] > 0), key=lambda k: -weights[k])
    parts = [training.part(found[k], float(weights[k])) for k in chosen]
    made = WeightedMean(parts, training.ends) if classes is None else WeightedMeanClassifier(parts, classes)
    made.members_ = [_described(found[k], float(weights[k]), rows) for k in chosen]
    mean = np.sum([weights[k] * found[k].predictions for k in chosen], axis=0)
    loss = ensemble_selection.loss_of(mean, rows.target, rows.weights)
    made.summary_ = _summary(made.members_, len(found), clock, loss, rows.task) + training.left_out
    clock.finish()
    return made


class _Training:
    def __init__(self, rows: Rows, parts: Sequence[Part], width: int, clock: Clock, *, keeps_means: bool) -> None:
        self._rows, self._parts, self._width, self._clock, self._keeps = rows, parts, width, clock, keeps_means
        self._unweighted: dict[str, None] = {}
        self.ends: Ends = None
        if rows.task is Task.REGRESSION:
            low, high = float(rows.target.min()), float(rows.target.max())
            self.ends = low - _MARGIN * (high - low), high + _MARGIN * (high - low)

    def all(self, wanted: Any) -> list[Trained]:
        """Train the candidates that the time is enough for."""
        found: list[Trained] = []
        slowest: dict[str, float] = {}
        for candidate in wanted:
            if not self._has_features(candidate):
                continue
            if self._rows.weights is not None and not takes_weights(candidate.model):
                self._unweighted[candidate.model.name] = None
                continue
            # A kind that was not trained yet is taken to be as fast as the fastest one.
            if found and self._clock.left < slowest.get(candidate.model.name, min(slowest.values())):
                continue
            try:
                self._clock.tick()
                trained = self._trained(candidate)
            except TimeIsUp:
                if self._clock.left <= 0:
                    break
                continue
            found.append(trained)
            self._clock.models += 1
            name = candidate.model.name
            slowest[name] = max(slowest.get(name, 0.0), trained.seconds)
        return found

    def _features_of(self, candidate: Candidate) -> Array | None:
        return frequent_categories.places(candidate.model, self._rows.features.shape[1], self._rows.rare)

    def _has_features(self, candidate: Candidate) -> bool:
        places = self._features_of(candidate)
        return places is None or len(places) > 0

    @property
    def left_out(self) -> str:
        """The kinds of models that were left out, since rows have weights, as the end of a line."""
        return f"; cannot weight rows: {', '.join(self._unweighted)}" if self._unweighted else ""

    def _trained(self, candidate: Candidate) -> Trained:
        start = time.monotonic()
        if "parts" in inspect.signature(candidate.model.fit).parameters:
            fitted = self._fit(candidate, parts=self._parts)
            predictions = _within(fitted.out_of_fold(self._rows.features, self._parts), self.ends)
        else:
            fitted, predictions = None, self._by_fold(candidate, start)
        kept = fitted if self._keeps else None
        seconds = time.monotonic() - start
        return Trained(candidate=candidate, predictions=predictions, fitted=kept, seconds=seconds)

    def _by_fold(self, candidate: Candidate, start: float) -> Array:
        made = np.full((len(self._rows.target), self._width), np.nan)
        for done, (train, held) in enumerate(self._parts, 1):
            fitted = self._fit(candidate, train)
            made[held] = _predictions(fitted, self._rows.features[held], self.ends) @ self._places(fitted)
            more = (time.monotonic() - start) / done * (len(self._parts) - done)
            if self._clock.models and more > self._clock.left:
                raise TimeIsUp
        return made

    def part(self, trained: Trained, weight: float) -> tuple[Candidate, Any, Array]:
        """Return a member, trained on all rows unless it is the mean of its folds."""
        fitted = trained.fitted
        if fitted is None:
            fitted = self._fit(trained.candidate, ends=False)
        return trained.candidate, fitted, weight * self._places(fitted)

    def _fit(self, candidate: Candidate, some: Array | None = None, *, ends: bool = True, **given: Any) -> Any:
        """Train on all rows, or on some."""
        rows, fit = self._rows, candidate.model.fit
        features, target, apart, weights = rows.features, rows.target, rows.apart, rows.weights
        if some is not None:
            features, target = features[some], target[some]
            apart = KeptApart(values=apart.values[some], in_time=apart.in_time) if apart else None
            weights = weights if weights is None else weights[some] / weights[some].mean()
        of_rows = {name: getattr(rows, name) for name in ("one_hot", "indicators", "rare")}
        further = {**of_rows, "apart": apart, "sample_weight": weights, **given}
        named = {name: further[name] for name in inspect.signature(fit).parameters.keys() & further.keys()}
        places = self._features_of(candidate)
        taken = features if places is None else features[:, places]
        fitted = fit(rows.task, candidate.param, taken, target, self._clock if ends else NoProgress(), **named)
        return fitted if places is None else frequent_categories.Kept(fitted, places)

    def _places(self, fitted: Any) -> Array:
        """The matrix [k, K] that maps the predictions of a model to those of all classes."""
        own = getattr(fitted, "classes_", np.arange(self._width))
        places = np.zeros((len(own), self._width))
        places[np.arange(len(own)), own] = 1
        return places


def _predictions(fitted: Any, features: Array, ends: Ends) -> Array:
    """The predictions of a model, [N, k]."""
    if hasattr(fitted, "classes_"):
        return np.asarray(fitted.predict_proba(features), dtype=np.float64)
    return _within(np.asarray(fitted.predict(features), dtype=np.float64).reshape(-1, 1), ends)


def _within(predictions: Array, ends: Ends) -> Array:
    return predictions if ends is None else np.clip(predictions, *ends)


def _described(trained: Trained, weight: float, rows: Rows) -> dict[str, Any]:
    candidate = trained.candidate
    param = {f.name: getattr(candidate.param, f.name) for f in dataclasses.fields(candidate.param)}
    return {
        "model": candidate.model.name,
        "weight": weight,
        "loss": ensemble_selection.loss_of(trained.predictions, rows.target, rows.weights),
        "varied": dict(candidate.varied),
        "hyperparameters": {k: v.value if isinstance(v, Enum) else v for k, v in param.items()},
    }


def _summary(members: Sequence[dict[str, Any]], trained: int, clock: Clock, loss: float, task: Task) -> str:
    """The members in a line, with the loss of their mean on the parts of the rows that each was trained without."""

    def shown(member: dict[str, Any]) -> str:
        varied = ", ".join(f"{name} {value:.4g}" for name, value in member["varied"].items())
        return f"{member['model']} {member['weight']:.2f}" + (f" ({varied})" if varied else "")

    name = "log loss" if task is Task.CLASSIFICATION else "error in standard deviations of the target"
    text = ", ".join(map(shown, members))
    return f"{len(members)} members of {trained} models in {clock.passed:.0f} s: {text}; out-of-fold {name} {loss:.4g}"
