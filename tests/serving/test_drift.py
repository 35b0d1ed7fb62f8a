"""Distributions of values in training and in service, and the drift between them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.stats import chi2

import tiny_models as tiny
from conftest import Cli
from model_server import ID, PASSWORD, Server, running
from small_pipeline import inside
from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Distribution, Summary, of_numbers, of_texts
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.monitoring.drift import Level, by_chance, compare, population_stability_index
from when_ml_pipeline_meets_hydra.serving.observations import daily, latencies
from when_ml_pipeline_meets_hydra.serving.observations.daily import Observation, Observed
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

numbers = st.lists(st.floats(allow_infinity=False, width=32), max_size=60).map(lambda xs: np.array(xs, dtype=float))
texts = st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=60).map(lambda xs: np.array(xs, dtype=object))


@given(numbers, numbers)
def test_each_number_is_counted_once(training: np.ndarray, live: np.ndarray) -> None:
    found = of_numbers(training)
    assert found.total == len(training)
    assert found.missing == int(np.isnan(training).sum())
    assert list(found.edges or ()) == sorted(set(found.edges or ()))
    assert found.count(live).total == len(live)
    assert found.count(training) == found
    assert len(found.names) == len(found.counts) + 1
    both = found.count(live) + found
    assert both == found.count(np.concatenate([training, live]))


@given(texts, texts)
def test_each_text_is_counted_once(training: np.ndarray, live: np.ndarray) -> None:
    found = of_texts(training)
    assert found.total == len(training)
    assert found.count(live) + found == found.count(np.concatenate([training, live]))
    assert "" not in (found.values or ())


def test_bins_are_about_equally_full() -> None:
    found = of_numbers(np.arange(1000.0))
    assert found.counts == (100,) * 10
    assert of_numbers(np.array([4.0, 4, 4, 6, 8, 8])).counts == (3, 1, 2, 0)
    assert of_numbers(np.array([])).counts == (0,)


def test_frequent_texts_have_a_bin() -> None:
    many = np.array([f"id {k}" for k in range(500)] + ["x"] * 300 + ["y"] * 200 + [""] * 7, dtype=object)
    found = of_texts(many)
    assert (found.values, found.counts, found.missing) == (("x", "y"), (300, 200, 500), 7)
    assert found.count(np.array(["y", "z", ""], dtype=object)).counts == (0, 1, 1)


@pytest.mark.parametrize(
    "content",
    [
        {"counts": [1]},
        {"edges": [1.0], "values": ["a"], "counts": [1, 1]},
        {"edges": [1.0], "counts": [1]},
        {"values": ["a"], "counts": [1, -1]},
    ],
)
def test_invalid_distributions(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Distribution).validate_python(content)


@pytest.mark.parametrize("free", [1, 4, 9, 30])
def test_quantile_of_the_index_by_chance(free: int) -> None:
    assert by_chance(free + 1, 200, 300) == pytest.approx(chi2.ppf(0.999, free) * (1 / 200 + 1 / 300), rel=0.04)
    assert by_chance(1, 200, 300) == 0


def test_samples_of_the_same_values_are_stable() -> None:
    chance = np.random.default_rng(0)
    training = of_numbers(chance.normal(size=2000))
    found = [seen(training, chance.normal(size=size)) for size in (50, 500, 5000) for _ in range(100)]
    assert Level.DRIFTED not in found
    assert Level.SHIFTED not in found
    assert set(found[100:]) == {Level.STABLE}


def one_request(day: datetime, found: Distribution) -> Observed:
    """Observations of a day whose column ``x`` and prediction have a distribution."""
    return Observed(
        first=day,
        last=day,
        requests=1,
        failures=0,
        seconds=latencies.EMPTY,
        columns={"x": found},
        prediction=found,
    )


def seen(training: Distribution, values: np.ndarray) -> Level:
    live = one_request(datetime.now(UTC), training.count(values))
    summary = Summary(columns={"x": training}, prediction=training)
    return compare(Observation(model="m", version=1, training=summary, observed=live)).features[0].level


def test_samples_of_other_values_drift() -> None:
    chance = np.random.default_rng(0)
    training = of_numbers(chance.normal(size=2000))
    assert seen(training, chance.normal(loc=0.4, size=2000)) is Level.SHIFTED
    assert seen(training, chance.normal(loc=1.0, size=2000)) is Level.DRIFTED
    assert seen(training, chance.normal(loc=3.0, size=40)) is Level.DRIFTED
    assert seen(training, chance.normal(size=5)) is Level.TOO_LITTLE
    assert seen(training, np.full(500, np.nan)) is Level.DRIFTED


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1))
def test_the_index_is_a_distance(pairs: list[tuple[int, int]]) -> None:
    before, after = zip(*pairs, strict=True)
    found = population_stability_index(before, after)
    assert found >= -1e-12
    assert found == pytest.approx(population_stability_index(after, before))
    assert population_stability_index(before, before) == pytest.approx(0)


def test_days_are_kept_for_a_while(tmp_path: Path) -> None:
    training = of_numbers(np.arange(10.0))
    now = datetime.now(UTC)
    for age in (200, 100, 30, 3, 3, 0):
        with daily.locked(tmp_path):
            daily.add(tmp_path, 1, one_request(now - timedelta(days=age), training))
    found = {days: one.requests for days in (90, 7, 1) if (one := daily.read(tmp_path, 1, days))}
    assert found == {90: 4, 7: 3, 1: 1}
    assert len(list((tmp_path / "observed" / "1").iterdir())) == 3
    (tmp_path / "observed" / "1" / f"{now.date()}.json").write_text("")
    assert daily.read(tmp_path, 1, 1) is None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    repository = Repository(tmp_path / "models")
    (tmp_path / "bundle").mkdir()
    bundling.build(tiny.prepared(tmp_path / "data"), tiny.regression(tmp_path / "model"), tmp_path / "bundle")
    repository.activate("things", repository.add("things", tmp_path / "bundle", "ann"), "ann")
    with running(tmp_path / "models", tmp_path / "log") as started:
        yield started


@pytest.mark.integration
def test_drift_of_a_served_model(server: Server, cli: Cli, tmp_path: Path) -> None:
    there = ["deployment/cluster=http", f"cluster.url={server.url}", f"cluster.id={ID}"]
    secret = {"WMH_CLUSTER_PW": PASSWORD}
    nothing = cli("cluster", "drift", "things", *there, env=secret)
    assert (nothing.code, nothing.err) == (0, "")
    assert "things version 1 on http received no requests in these days" in nothing.out
    rows = [tiny.json_row({**row, "weight": 50_000.0}) for row in tiny.ROWS] * 7
    for _ in range(2):
        assert server.call("POST", "/v2/models/things/predict", {"rows": rows})[0] == 200
    assert server.call("POST", "/v2/models/things/predict", {"rows": [{"weight": "heavy"}]})[0] == 422
    for _ in range(1200):
        if server.call("GET", "/v2/repository/models/things/observed")[1]["observed"]:
            break
        time.sleep(0.1)
    found = cli("cluster", "drift", "things", *there, "--picture", "drift.svg", "--check", env=secret)
    assert found.code == 3, found
    lines = found.out.splitlines()
    assert lines[1].split()[0] == "weight"
    assert "drifted" in lines[1]
    assert "> 3100: 10.0% → 100.0%" in lines[1]
    assert "things version 1 on http: 420 rows of 3 requests" in found.out
    assert Path("drift.svg").read_text().startswith("<?xml")
    report = json.loads(cli("cluster", "drift", "things", *there, "--json", env=secret).out)
    assert [report["features"][0]["name"], report["features"][0]["level"]] == ["weight", "drifted"]
    assert report["prediction"]["level"] == "drifted"
    assert sum(report["prediction"]["service"]["counts"]) == 420
    local = cli("cluster", "drift", "things", f"cluster.path={tmp_path / 'models'}")
    assert local.out.splitlines()[:-1] == lines[:-2]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing"], 3, "no version of 'nothing' is active"),
        (["a", "b"], 2, "one model at a time"),
        (["things", "--picture", "drift.txt"], 2, "has to end with .png or .svg"),
        (["things", "deployment/cluster=nowhere"], 2, "nowhere"),
        (["things", "--days", "0"], 2, "--days"),
    ],
)
def test_errors_of_the_user(words: list[str], code: int, message: str) -> None:
    done = inside("cluster", "drift", *words)
    assert (done.code, message in done.err + done.out) == (code, True), done
    assert "Traceback" not in done.err
