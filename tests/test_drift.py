"""How values spread, in training and in service, and what is said of the difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.profiles.distributions import Distribution, of_numbers, of_texts

numbers = st.lists(st.floats(allow_infinity=False, width=32), max_size=60).map(lambda xs: np.array(xs, dtype=float))
texts = st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=60).map(lambda xs: np.array(xs, dtype=object))


@given(numbers, numbers)
def test_each_number_is_counted_once(training: np.ndarray, live: np.ndarray) -> None:
    found = of_numbers(training)
    assert found.total == len(training)
    assert found.missing == int(np.isnan(training).sum())
    assert list(found.edges or ()) == sorted(set(found.edges or ()))
    assert found.of(live).total == len(live)
    assert found.of(training) == found
    assert len(found.names) == len(found.counts) + 1
    both = found.of(live) + found
    assert both == found.of(np.concatenate([training, live]))


@given(texts, texts)
def test_each_text_is_counted_once(training: np.ndarray, live: np.ndarray) -> None:
    found = of_texts(training)
    assert found.total == len(training)
    assert found.of(live) + found == found.of(np.concatenate([training, live]))
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
    assert found.of(np.array(["y", "z", ""], dtype=object)).counts == (0, 1, 1)


@pytest.mark.parametrize(
    "content",
    [
        {"counts": [1]},
        {"edges": [1.0], "values": ["a"], "counts": [1, 1]},
        {"edges": [1.0], "counts": [1]},
        {"values": ["a"], "counts": [1, -1]},
    ],
)
def test_distributions_that_are_none(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Distribution).validate_python(content)
