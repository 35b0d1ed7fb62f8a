"""The subcommand that looks at a data set."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from noted import Noted
from small_pipeline import inside
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Task
from when_ml_pipeline_meets_hydra.ml.datasets.table import TARGET, Table, column
from when_ml_pipeline_meets_hydra.ml.profiles import columns
from when_ml_pipeline_meets_hydra.ml.profiles.parallel import describe_all
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress

PROFILE = ("c=preprocessing", "c/preprocessing_sub=profile")


def profiled(*words: str) -> tuple[dict[str, Any], str]:
    done = run([*PROFILE, *words])
    assert done.exit_code == 0, [o.error for o in done.outcomes]
    files = done.artifact("preprocessing").path
    return json.loads((files / "profile.json").read_text("utf-8")), (files / "profile.html").read_text("utf-8")


def of_frame(frame: pl.DataFrame) -> tuple[dict[str, Any], str]:
    frame.write_parquet("data.parquet")
    return profiled("preprocessing/dataset=parquet", "dataset.path=data.parquet", "dataset.target=y")


def test_each_column_is_described() -> None:
    frame = pl.DataFrame(
        {
            "n": [float(k) for k in range(100)],
            "one": [7] * 100,
            "who": ["a"] * 60 + ["b"] * 20 + [None] * 20,
            "when": [date(2026, 1, 1 + k % 30) for k in range(100)],
            "y": [k % 2 == 0 for k in range(100)],
        }
    )
    profile, _ = of_frame(frame)
    assert (profile["rows"], profile["task"]) == (100, "classification")
    columns = {c["name"]: c for c in profile["columns"]}
    assert [c["role"] for c in profile["columns"]] == ["feature"] * 4 + ["target"]
    number = columns["n"]
    assert (number["min"], number["max"], number["median"], number["distinct"]) == (0, 99, 49.5, 100)
    assert [b["count"] for b in number["histogram"]] == [5] * 20
    assert columns["one"]["histogram"] == [{"from": 7, "to": 7, "count": 100}]
    assert columns["who"]["missing"] == 0.2
    assert columns["who"]["histogram"] == [{"value": "a", "count": 60}, {"value": "b", "count": 20}]
    assert (columns["when"]["min"], columns["when"]["max"]) == ("2026-01-01", "2026-01-30")
    for about in profile["columns"]:
        assert sum(b["count"] for b in about["histogram"]) == round(100 * (1 - about["missing"]))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_else_and_shows_values_as_texts() -> None:
    evil = "<script>alert(1)</script>"
    frame = pl.DataFrame(
        {evil: [evil, "b"] * 20, "many": [f"v{k}" for k in range(40)], "y": [0.5 * k for k in range(40)]}
    )
    profile, page = of_frame(frame)
    found = _Page()
    found.feed(page)
    assert "script" not in found.tags
    assert not found.outside
    assert found.tags.count("section") == 3
    assert found.tags.count("rect") == 20
    assert profile["columns"][1]["histogram"][-1] == {"value": None, "count": 20}


def test_a_shipped_data_set_and_what_is_stored() -> None:
    profile, _ = profiled("preprocessing/dataset=cars")
    assert profile["columns"][-1]["missing"] == 8 / 406
    assert "stored (nothing changed)" in inside(*PROFILE, "preprocessing/dataset=cars").err


def test_a_column_without_values() -> None:
    Path("data.csv").write_text("a,b,y\n" + "\n".join(f"{k},,{k}" for k in range(20)) + "\n")
    code, out, err = inside(*PROFILE, "preprocessing/dataset=csv", "dataset.path=data.csv", "dataset.target=y")
    assert code == 0, err
    assert "20 rows, 2 columns described" in out


def test_what_stands_out_is_said() -> None:
    lines = ["name,row,one,copy,kind,price,code,day,class"]
    for k in range(120):
        kind = "yes" if k % 3 else "no"
        code, day, known = "01" if k % 2 else 1, f"{k % 28 + 1}.3.2024", "" if k == 5 else kind
        lines.append(f"n{k},{k + 1},7,{kind},{k % 4},${k % 4 + 1},{code},{day},{known}")
    Path("data.csv").write_text("\n".join(lines))
    done = inside(*PROFILE, "preprocessing/dataset=csv", "dataset.path=data.csv", "dataset.target=class")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1] == (
        "data: 1 row without target; id-like: name, row; constant: one, code; suspicion of leakage: copy (gives 100 % "
        "of the classes by itself); read as texts: price (looks like amounts of money); different texts are the same "
        "value: code (2 different texts, 1 number); read as dates: day (%d.%m.%Y); largest class: 66% of the rows"
    )


def mixed_table(columns: int = 6) -> Table:
    """A table of numbers, texts, dates and truth values, with missing ones among them."""
    kinds: dict[DType, Callable[[int], object]] = {
        DType.FLOAT: lambda k: (k * 37 % 101) / 7,
        DType.STRING: lambda k: f"v{k * k % 13}",
        DType.DATE: lambda k: date(2026, 1, 1 + k % 28),
        DType.BOOL: lambda k: k % 3 == 0,
        DType.INT: lambda k: k % 11,
    }
    dtypes = [list(kinds)[k % len(kinds)] for k in range(columns)]
    values = {
        column(k): [None if row % (k + 5) == 0 else kinds[dtype](row) for row in range(200)]
        for k, dtype in enumerate(dtypes)
    }
    return Table(
        frame=pl.DataFrame({**values, TARGET: [float(row) for row in range(200)]}).lazy(),
        columns=tuple(Column(name=f"{dtype}-{k}", dtype=dtype) for k, dtype in enumerate(dtypes)),
        target=Column(name="y", dtype=DType.FLOAT),
        task=Task.REGRESSION,
    )


def test_columns_are_described_at_the_same_time_and_each_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    both, describe = threading.Barrier(2), columns.describe

    def met(*about: Any) -> dict[str, Any]:
        both.wait(timeout=120)  # nobody passes alone
        return describe(*about)

    monkeypatch.setattr(columns, "describe", met)
    told = Noted()
    found = describe_all(mixed_table(5), 200, told)
    assert [c["name"] for c in found] == ["float-0", "string-1", "date-2", "bool-3", "int-4", "y"]
    assert told.work == [(0, 6, "columns"), *((k, 6, c["name"]) for k, c in enumerate(found, start=1))]


def test_a_profile_is_the_same_for_any_number_of_workers() -> None:
    table, silent = mixed_table(23), NoProgress()
    one, many = (describe_all(table, 200, silent, workers=workers) for workers in (1, 8))
    assert json.dumps(one) == json.dumps(many)
    assert len(one) == 24


def test_a_column_that_cannot_be_described_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = mixed_table(20)
    broken = table.frame.drop(column(7), column(12))
    begun, describe = [], columns.describe

    def noted(frame: pl.LazyFrame, about: Column, *more: Any) -> dict[str, Any]:
        begun.append(about.name)
        return describe(frame, about, *more)

    monkeypatch.setattr(columns, "describe", noted)
    with pytest.raises(StepFailed, match="The column 'date-7' cannot be described: "):
        describe_all(replace(table, frame=broken), 200, NoProgress(), workers=2)
    assert len(begun) < 21, "what had not begun is left"
