"""The quality of the shipped options on the shipped data, averaged over five splits."""

from __future__ import annotations

from statistics import mean

import pytest

from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.errors import ExitCode

LIGHTGBM = [pytest.param("lightgbm", marks=pytest.mark.lightgbm)]


def quality(dataset: str, metric: str, *overrides: str, seeds: int = 5) -> float:
    """The mean of a metric over the split seeds from 0."""
    found = []
    for seed in range(seeds):
        done = run(["c=modeling", f"preprocessing/dataset={dataset}", f"split.seed={seed}", *overrides])
        assert done.exit_code is ExitCode.DONE
        found.append(done.metrics[f"modeling.{metric}"])
    return mean(found)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(
    ("dataset", "metric", "least"),
    [("cars", "r2", 0.85), ("wine", "accuracy", 0.93), ("breast_cancer", "accuracy", 0.95), ("diabetes", "r2", 0.38)],
)
def test_the_default_options_are_good_and_better_than_small_ones(dataset: str, metric: str, least: float) -> None:
    assert quality(dataset, metric) >= least
    loss = {"r2": "rmse", "accuracy": "log_loss"}[metric]  # of some splits no row is in the wrong class
    assert quality(dataset, loss) < quality(dataset, loss, "modeling/param=small")


@pytest.mark.slow
@pytest.mark.integration
def test_the_default_options_read_digits() -> None:
    assert quality("digits", "accuracy", seeds=2) >= 0.95
    assert quality("digits", "accuracy", "modeling/model=random_forest", seeds=2) >= 0.96


def test_another_hyperparameter_trains_again_and_prepares_nothing_again() -> None:
    first = run(["c=modeling", "modeling/param=small"])
    other = run(["c=modeling", "modeling/param=small", "m_param.learning_rate=0.5"])
    assert first.metrics != other.metrics
    assert first.artifact("preprocessing").path == other.artifact("preprocessing").path
    assert first.artifact("modeling").path != other.artifact("modeling").path


@pytest.mark.parametrize("model", ["random_forest", "extra_trees", "linear", "knn", *LIGHTGBM])
def test_every_option_of_model_trains_on_cars(model: str) -> None:
    done = run(["c=modeling", f"modeling/model={model}"])
    assert done.metrics["modeling.r2"] > 0.75
