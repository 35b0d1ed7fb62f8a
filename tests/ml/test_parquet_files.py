"""Parquet files: nothing that a column says is lost without a word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conftest import Finished
from small_pipeline import inside

ROWS = 60


def frame(**columns: Sequence[Any] | pl.Series) -> pl.DataFrame:
    return pl.DataFrame({**columns, "b": [k % 7 for k in range(ROWS)], "y": [k * 2.5 for k in range(ROWS)]})


def prepare(data: pl.DataFrame | None, *words: str, path: str = "data.parquet") -> Finished:
    if data is not None:
        data.write_parquet(path)
    return inside(
        "c=preprocessing", "preprocessing/dataset=parquet", f"dataset.path={path}", "dataset.target=y", *words
    )


def test_types_that_a_file_has_are_features_or_left_out_with_a_word() -> None:
    data = frame(
        at=[datetime(2024, 1, 1) + timedelta(hours=7 * k) for k in range(ROWS)],
        __index_level_0__=range(ROWS),
        nothing=[None] * ROWS,
        nan=pl.Series([float("nan")] * ROWS),
        unsigned=pl.Series([2**63 + 4096 * k for k in range(ROWS)], dtype=pl.UInt64),
        price=pl.Series([Decimal(k) / 8 for k in range(ROWS)], dtype=pl.Decimal(20, 3)),
    )
    done = prepare(data)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "data: 48 rows to train on, 12 held out, 6 features",  # of at: also month, weekday, hour
        "data: no feature from: nothing (empty), nan (empty), __index_level_0__ (the index of a data frame)",
    ]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([2**63 + k % 30 for k in range(ROWS)], dtype=pl.UInt64),
        pl.Series([Decimal(10) ** 25 + k % 30 for k in range(ROWS)], dtype=pl.Decimal(38, 0)),
        pl.Series([Decimal(2**53) / 1000 + Decimal(k % 30) / 10**7 for k in range(ROWS)], dtype=pl.Decimal(38, 7)),
        pl.Series([2**53 + k % 30 for k in range(ROWS)]),
    ],
)
def test_numbers_that_64_bit_floats_do_not_distinguish_are_refused(values: pl.Series) -> None:
    done = prepare(frame(a=values))
    assert done.code == 2
    assert "dataset.path: the column 'a' has numbers beyond 2^53 (9,007,199,254,740,992), and only " in done.err
    assert "of its 30 different values are different as 64-bit floats" in done.err
    assert prepare(None, "dataset.exclude=[a]").code == 0
    done = prepare(frame().with_columns(y=values))
    assert done.code == 2
    assert "dataset.target: the column 'y' has numbers beyond 2^53" in done.err
    assert "Predict the difference to one of them, or classes: dataset.task=classification" in done.err


def test_what_is_no_feature_is_named_with_its_type() -> None:
    done = prepare(frame(list=[[k] for k in range(ROWS)], clock=[time(k % 24) for k in range(ROWS)]))
    assert done.code == 2
    assert "the column 'list' holds values of type List(Int64), which is none of float, int, string" in done.err
    assert "the column 'clock' holds values of type Time" in done.err
    assert done.err.count("Leave it out: name it in dataset.exclude") == 2
    assert prepare(None, "dataset.exclude=[list,clock]").code == 0


def test_parts_of_a_table() -> None:
    Path("parts").mkdir()
    whole = frame(a=[k / 2 for k in range(ROWS)])
    whole[:40].write_parquet("parts/0.parquet")
    whole[40:].select("y", "b", "a").write_parquet("parts/1.parquet")
    assert prepare(None, path="parts").out == "parts: 48 rows to train on, 12 held out, 2 features\n"
    assert "32 rows to train on, 8 held out" in prepare(None, path="parts/0*.parquet").out
    whole.with_columns(pl.col("a").cast(pl.String)).write_parquet("parts/2.parquet")
    done = prepare(None, path="parts")
    assert done.code == 2
    assert "parts/2.parquet: the column 'a' has the type String, and in parts/0.parquet Float64" in done.err
