"""The models of which the members of an ensemble are chosen, the most promising ones first."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost, CatBoostParam
from when_ml_pipeline_meets_hydra.ml.models.extra_trees import ExtraTrees
from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting import (
    HistGradientBoosting,
    HistGradientBoostingParam,
)
from when_ml_pipeline_meets_hydra.ml.models.knn import Neighbours, NeighboursParam
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBM, LightGBMParam
from when_ml_pipeline_meets_hydra.ml.models.linear import Linear, LinearParam
from when_ml_pipeline_meets_hydra.ml.models.random_forest import ForestParam, RandomForest
from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost, XGBoostParam

_LEAVES_OF_A_FOREST = 4000  # about so many rows have a leaf of their own; otherwise the graph would be too large
_MOST_ROWS_OF_NEIGHBOURS = 20_000


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model and its hyperparameters; ``varied`` are those that differ from the usual ones of an ensemble."""

    model: Any
    param: Any
    varied: Mapping[str, Any]

    @property
    def text(self) -> str:
        """Its kind and what is varied."""
        varied = ", ".join(f"{name} {value:.4g}" for name, value in self.varied.items())
        return f"{self.model.name} ({varied})" if varied else str(self.model.name)


_Make = Callable[[Mapping[str, Any], int], Candidate]


def candidates(rows: int, seed: int, n_jobs: int, most: int) -> Iterator[Candidate]:
    """Yield at most ``most`` candidates for a number of training rows: good ones of each kind, then random ones."""
    makers = _makers(rows, n_jobs)
    kinds = ["hist_gradient_boosting", *(k for k in ("catboost", "lightgbm", "xgboost") if importlib.util.find_spec(k))]
    named = (makers[kind](varied, seed) for kind, varied in _first() if kind in (*kinds, *_OTHERS))
    kept = (c for c in named if c.model.name != "knn" or rows <= _MOST_ROWS_OF_NEIGHBOURS)
    return islice(chain(kept, _random(makers, kinds, seed)), most)


_OTHERS = ("extra_trees", "random_forest", "linear", "knn")


def _first() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "hist_gradient_boosting", {}
    yield "linear", {}
    yield "extra_trees", {}
    yield "catboost", {}
    yield "xgboost", {}
    yield "lightgbm", {}
    yield "hist_gradient_boosting", {"num_leaves": 6, "learning_rate": 0.08}
    yield "random_forest", {}
    yield "hist_gradient_boosting", {"num_leaves": 48, "learning_rate": 0.05, "max_features": 0.5}
    yield "extra_trees", {"max_features": 1.0, "min_samples_leaf": 3}
    yield "knn", {}
    yield "catboost", {"max_depth": 4, "learning_rate": 0.08}
    yield "xgboost", {"max_depth": 3, "learning_rate": 0.08}
    yield "xgboost", {"max_depth": 8, "max_features": 0.4, "min_child_weight": 2.0}
    yield "lightgbm", {"num_leaves": 48, "min_samples_leaf": 4}


def _random(makers: Mapping[str, _Make], kinds: list[str], seed: int) -> Iterator[Candidate]:
    """Yield variants of boosted trees and forests without end, each with a seed of its own."""
    rng = np.random.default_rng(seed)
    turns = [*kinds, "extra_trees"]
    while True:
        for kind in turns:
            seed += 1
            yield makers[kind](_drawn(kind, rng), seed)


def _drawn(kind: str, rng: np.random.Generator) -> Mapping[str, Any]:
    part = round(float(rng.uniform(0.3, 1)), 2)
    if kind == "extra_trees":
        return {"max_features": part, "min_samples_leaf": int(rng.choice([1, 2, 3, 5, 8]))}
    rate = round(float(np.exp(rng.uniform(np.log(0.03), np.log(0.15)))), 3)
    shrinkage = round(float(np.exp(rng.uniform(np.log(0.1), np.log(30)))), 2)
    shared = {"learning_rate": rate, "max_features": part, "l2": shrinkage}
    if kind == "xgboost":
        weight = float(rng.choice([1, 2, 5, 10]))
        return {**shared, "max_depth": int(rng.integers(3, 9)), "min_child_weight": weight}
    if kind == "catboost":
        return {**shared, "max_depth": int(rng.integers(4, 9)), "random_strength": float(rng.choice([0, 1, 3]))}
    leaves, rows_of_leaf = int(rng.choice([6, 10, 16, 31, 63])), int(rng.choice([3, 5, 10, 20]))
    return {**shared, "num_leaves": leaves, "min_samples_leaf": rows_of_leaf}


def _makers(rows: int, n_jobs: int) -> Mapping[str, _Make]:
    leaf = max(1, rows // _LEAVES_OF_A_FOREST)

    def maker(kind: Any, param: Any, usual: Mapping[str, Any]) -> _Make:
        def make(varied: Mapping[str, Any], seed: int) -> Candidate:
            fields: Any = kind.__dataclass_fields__
            values = {**usual, **varied, **({"n_jobs": n_jobs} if "n_jobs" in fields else {})}
            if "min_samples_leaf" in values:
                values["min_samples_leaf"] = max(leaf, values["min_samples_leaf"])
            own = {name: value for name, value in values.items() if name in fields}
            rest = {name: value for name, value in values.items() if name not in fields}
            return Candidate(model=kind(**own), param=param(**rest, seed=seed), varied=varied)

        return make

    forest = {"n_estimators": 200, "min_samples_leaf": 1}
    return {
        "hist_gradient_boosting": maker(HistGradientBoosting, HistGradientBoostingParam, {}),
        "lightgbm": maker(LightGBM, LightGBMParam, {"num_leaves": 16, "folds": 1}),
        "xgboost": maker(XGBoost, XGBoostParam, {"max_depth": 5, "min_child_weight": 5.0}),
        "catboost": maker(CatBoost, CatBoostParam, {"learning_rate": 0.06}),
        "extra_trees": maker(ExtraTrees, ForestParam, forest),
        "random_forest": maker(RandomForest, ForestParam, forest),
        "linear": maker(Linear, LinearParam, {}),
        "knn": maker(Neighbours, NeighboursParam, {}),
    }
