"""Dynamic batching: concurrent calls are combined, and each gets its own outputs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models as tiny
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.engine.batching import MAX_BATCH_ROWS, DynamicBatcher

Feeds = dict[str, np.ndarray[Any, Any]]


class Model:
    """Doubles ``x`` once ``may`` is set; records the rows of each run; fails if a row is negative."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.may = threading.Event()
        self.began = threading.Event()

    def __call__(self, feeds: Feeds, until: float | None) -> list[np.ndarray[Any, Any]]:
        self.began.set()
        assert self.may.wait(30)
        x = feeds["x"]
        if (x < 0).any():
            raise ValueError("negative")
        self.runs.append(len(x))
        return [x * 2, np.array([f"{value}" for value in x.reshape(-1)], dtype=object)]


def column(*values: float) -> Feeds:
    return {"x": np.array(values).reshape(-1, 1)}


def results(model: Model, requests: list[Feeds]) -> list[Any]:
    """Return the result of each request; the first one runs while all others arrive."""
    batcher = DynamicBatcher(model)

    def call(feeds: Feeds) -> Any:
        try:
            return batcher(feeds, len(feeds["x"]))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(requests)) as pool:
        first = pool.submit(call, requests[0])
        assert model.began.wait(30)
        others = [pool.submit(call, request) for request in requests[1:]]
        while len(batcher._waiting) < len(others):
            time.sleep(0.001)
        model.may.set()
        return [future.result(30) for future in (first, *others)]


def test_waiting_requests_are_one_batch() -> None:
    model = Model()
    found = results(model, [column(1), column(2), column(3, 4), column(5)])
    assert model.runs == [1, 4]
    assert [part[0].reshape(-1).tolist() for part in found] == [[2], [4], [6, 8], [10]]
    assert [part[1].tolist() for part in found] == [["1"], ["2"], ["3", "4"], ["5"]]


def test_the_rows_of_a_batch_are_limited() -> None:
    model = Model()
    results(model, [column(0), *[column(*range(30)) for _ in range(5)]])
    assert model.runs == [1, 60, 60, 30]
    assert MAX_BATCH_ROWS == 64


def test_a_request_that_fails_fails_alone() -> None:
    found = results(Model(), [column(1), column(2), column(-1), column(3)])
    assert found[2] == "negative"
    assert [found[number][0].tolist() for number in (0, 1, 3)] == [[[2]], [[4]], [[6]]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 9), min_size=1, max_size=40), min_size=1, max_size=12))
def test_each_request_gets_its_own_outputs(requests: list[list[int]]) -> None:
    model = Model()
    model.may.set()
    batcher = DynamicBatcher(model)
    batcher(column(1), 1)

    def call(values: list[int]) -> Any:
        try:
            return batcher(column(*values), len(values))[0].reshape(-1).tolist()
        except ValueError:
            return None

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(call, requests))
    assert found == [None if min(values) < 0 else [2 * value for value in values] for values in requests]
    assert not batcher._busy


def test_a_slow_model_is_batched_with_the_right_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").mkdir()
    bundling.build(tiny.prepared(tmp_path / "data"), tiny.regression(tmp_path / "model"), tmp_path / "bundle")
    assert not scorer.load(tmp_path / "bundle").slow
    monkeypatch.setattr(scorer, "SLOW_SECONDS", 0)
    loaded = scorer.load(tmp_path / "bundle")
    assert loaded.slow

    def price(row: Mapping[str, Any]) -> Any:
        return loaded.predict([tiny.json_row(row)]).values[0]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(price, tiny.ROWS * 5))
    assert found == pytest.approx([tiny.price(row) for row in tiny.ROWS * 5], rel=1e-6)
    assert loaded.predict([]).values == ()
