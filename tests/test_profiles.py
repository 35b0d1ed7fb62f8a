"""The subcommand that looks at a data set."""

from __future__ import annotations

import json
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl

from small_pipeline import inside
from when_ml_pipeline_meets_hydra import run

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
    for column in profile["columns"]:
        assert sum(b["count"] for b in column["histogram"]) == round(100 * (1 - column["missing"]))


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
    code, _, err = inside(*PROFILE, "preprocessing/dataset=csv", "dataset.path=data.csv", "dataset.target=y")
    assert code == 2, "as preprocessing would say"
    assert "the column 'b' has no value at all" in err
