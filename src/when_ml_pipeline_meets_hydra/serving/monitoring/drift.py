"""Drift of the inputs and predictions of a served version from its training data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import NormalDist

from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Distribution
from when_ml_pipeline_meets_hydra.serving.observations.daily import Observation

SHIFT, DRIFT = 0.1, 0.25  # the usual bounds of the population stability index
CONFIDENCE = 0.999
PREDICTION = "prediction"


class Level(StrEnum):
    """Degree of drift of a feature."""

    STABLE = "stable"
    SHIFTED = "shifted"
    DRIFTED = "drifted"
    TOO_LITTLE = "too little data"


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Drift of one input or the prediction: its population stability index, and the index expected by chance."""

    name: str
    psi: float | None
    chance: float | None
    level: Level
    training: Distribution
    service: Distribution

    @property
    def change(self) -> str:
        """The bin whose share has changed most."""
        if not self.training.total or not self.service.total:
            return ""
        before, after = ([n / one.total for n in _counts(one)] for one in (self.training, self.service))
        place = max(range(len(before)), key=lambda k: abs(after[k] - before[k]))
        return f"{self.training.names[place]}: {before[place]:.1%} → {after[place]:.1%}"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Drift of a version: its features, the largest drift first, and its prediction."""

    model: str
    version: int
    first: datetime | None
    last: datetime | None
    requests: int
    rows: int
    features: tuple[Feature, ...]
    prediction: Feature

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the features that have drifted."""
        return tuple(one.name for one in (*self.features, self.prediction) if one.level is Level.DRIFTED)

    @property
    def has_too_little_data(self) -> bool:
        """Whether there are too few data to judge any feature."""
        return all(one.level is Level.TOO_LITTLE for one in (*self.features, self.prediction))


def compare(observation: Observation) -> Drift:
    """Compare the observed inputs and predictions of a version with those of its training."""
    observed, training = observation.observed, observation.training
    assert training.prediction is not None, "a bundle has one"
    features = (
        _feature(name, before, observed.columns[name] if observed else before.empty())
        for name, before in training.columns.items()
    )
    before = training.prediction
    prediction = _feature(PREDICTION, before, observed.prediction if observed else before.empty())
    return Drift(
        model=observation.model,
        version=observation.version,
        first=observed.first if observed else None,
        last=observed.last if observed else None,
        requests=observed.requests if observed else 0,
        rows=prediction.service.total,
        features=tuple(sorted(features, key=lambda one: (-(one.psi or 0), one.name))),
        prediction=prediction,
    )


def population_stability_index(training: Sequence[int], service: Sequence[int]) -> float:
    """Return the sum of (q - p) ln(q / p) over the bins' shares p in training and q in service.

    Half a value is added to each bin, so that an empty bin does not give infinity.
    """
    bins, n, m = len(training), sum(training), sum(service)
    total = 0.0
    for before, after in zip(training, service, strict=True):
        p, q = (before + 0.5) / (n + bins / 2), (after + 0.5) / (m + bins / 2)
        total += (q - p) * math.log(q / p)
    return total


def by_chance(bins: int, training: int, service: int) -> float:
    """Return the index that two samples of one distribution exceed only once in a thousand times.

    It is about (1/n + 1/m) times a χ² variable with one degree of freedom less than there are bins (B. Yurdakul,
    Statistical Properties of Population Stability Index, 2018), whose quantile is that of Wilson and Hilferty (1931).
    """
    free = bins - 1
    if not free:
        return 0.0
    part = 2 / (9 * free)
    quantile = free * (1 - part + NormalDist().inv_cdf(CONFIDENCE) * math.sqrt(part)) ** 3
    return quantile * (1 / training + 1 / service)


def _feature(name: str, training: Distribution, service: Distribution) -> Feature:
    psi = chance = None
    level = Level.TOO_LITTLE
    if training.total and service.total:
        pairs = [pair for pair in zip(_counts(training), _counts(service), strict=True) if any(pair)]
        before, after = zip(*pairs, strict=True)
        psi = population_stability_index(before, after)
        chance = by_chance(len(pairs), training.total, service.total)
        level = _level(psi, chance)
    return Feature(name=name, psi=psi, chance=chance, level=level, training=training, service=service)


def _level(psi: float, chance: float) -> Level:
    if psi > max(DRIFT, chance):
        return Level.DRIFTED
    if chance > DRIFT:
        return Level.TOO_LITTLE
    return Level.SHIFTED if psi > max(SHIFT, chance) else Level.STABLE


def _counts(distribution: Distribution) -> tuple[int, ...]:
    return (*distribution.counts, distribution.missing)


def table(drift: Drift) -> Iterator[tuple[str, ...]]:
    """Yield a row per feature, and the prediction last: name, index, level, bin that changed most."""
    for one in (*drift.features, drift.prediction):
        yield one.name, "" if one.psi is None else f"{one.psi:.3f}", one.level.value, one.change


def summary(drift: Drift, version: str) -> str:
    """Return what a version received, and what has drifted, in a line; ``version`` names it."""
    if drift.first is None:
        return f"{version} received no requests in these days: there is nothing to compare"
    days = f"{drift.first:%Y-%m-%d} to {drift.last:%Y-%m-%d}"
    counts = f"{version}: {drift.rows} rows of {drift.requests} requests, {days}"
    if drift.has_too_little_data:
        return f"{counts}: too little to tell drift from chance"
    return f"{counts}: {', '.join(drift.drifted) or 'nothing'} drifted"
