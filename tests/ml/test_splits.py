"""Splits by time, groups and marks: what is held out, what predictions and the gate on leakage know of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate
from when_ml_pipeline_meets_hydra.deploy.gates.leakage import NoLeakage
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData
from when_ml_pipeline_meets_hydra.pipeline import run

ROWS = pl.DataFrame(
    {
        "name": [f"r{row}" for row in range(60)],
        "x": [float(row % 7) for row in range(60)],
        "year": [1990 + row % 20 for row in range(60)],
        "shop": [f"s{row % 11}" for row in range(60)],
        "part": ["held" if row % 6 == 1 else "known" for row in range(60)],
        "y": [row % 7 + row / 60 for row in range(60)],
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("rows")
    ROWS.write_csv(found / "rows.csv")
    ROWS.tail(9).with_columns(name="late " + pl.col("name"), y=pl.col("y") + 0.01).write_csv(found / "late.csv")
    ROWS.tail(9).drop("shop").write_csv(found / "other.csv")
    return found


def words(folder: Path, kind: str, *more: str) -> list[str]:
    data = ("preprocessing/dataset=csv", f"dataset.path={folder / 'rows.csv'}", "dataset.target=y")
    return [*data, "dataset.exclude=[name]", f"preprocessing/split={kind}", *more, "modeling/model=linear"]


def prepared(folder: Path, kind: str, *more: str) -> tuple[PreparedData, set[int]]:
    data: Any = run(["c=preprocessing", *words(folder, kind, *more)]).artifact("preprocessing")
    return data, set(pl.read_parquet(data.path / "rows.parquet")["row"])


def names(data: PreparedData) -> list[str]:
    return [column.name for column in data.columns]


def test_the_newest_rows_are_held_out(folder: Path) -> None:
    data, held_out = prepared(folder, "time", "split.column=year")
    assert held_out == {row for row in range(60) if ROWS["year"][row] >= 2006}, "20 %, whole years"
    assert "year" in names(data), "a time stays a feature"
    data, held_out = prepared(folder, "time", "split.column=year", "dataset.exclude=[name,year]")
    assert held_out == {row for row in range(60) if ROWS["year"][row] >= 2006}
    assert "year" not in names(data)


def test_no_group_is_on_both_sides_and_another_seed_chooses_others(folder: Path) -> None:
    data, held_out = prepared(folder, "group", "split.column=shop")
    groups = {ROWS["shop"][row] for row in held_out}
    assert held_out == {row for row in range(60) if ROWS["shop"][row] in groups}
    assert 8 <= len(held_out) <= 16
    assert names(data) == ["x", "year", "part"], "a group is no feature"
    assert "shop (the rows are split by it)" in data.remarks
    assert held_out != prepared(folder, "group", "split.column=shop", "seed=1")[1]


def test_a_column_marks_what_is_held_out(folder: Path) -> None:
    data, held_out = prepared(folder, "predefined", "split.column=part", "split.test=held")
    assert held_out == {row for row in range(60) if row % 6 == 1}
    assert names(data) == ["x", "year", "shop"]


def test_a_second_file_is_held_out_and_predictions_name_its_rows(folder: Path) -> None:
    late = words(folder, "predefined", f"split.path={folder / 'late.csv'}")
    done = run(["c=prediction", *late, "+rows.id=name"])
    data: Any = done.artifact("preprocessing")
    assert (data.rows_train, data.rows_test) == (60, 9)
    table = pl.read_parquet(done.artifact("prediction").path / "predictions.parquet")
    assert table["row"].to_list() == list(range(60, 69))
    assert table["id"].to_list() == [f"late r{row}" for row in range(51, 60)]
    before = run(["c=preprocessing", *late]).outcomes[0].step.key
    changed = (folder / "late.csv").read_text()
    (folder / "late.csv").write_text(changed.replace("late r51", "later r51"))
    assert run(["c=preprocessing", *late]).outcomes[0].step.key != before, "its content is in the key"


def test_the_gate_on_leakage_knows_the_splits(folder: Path, tmp_path: Path) -> None:
    def judged(data: PreparedData) -> tuple[bool, str]:
        nothing: Any = None
        result = NoLeakage().judge(Candidate(preprocessing=data, modeling=nothing, prediction=nothing))
        return result.passed, result.why

    for kind, column, wrong in (
        ("group", "shop", "11 groups of 'shop' are on both sides of the split"),
        ("time", "year", "48 training rows are newer than the first held-out row ('year')"),
    ):
        data, _ = prepared(folder, kind, f"split.column={column}", "dataset.exclude=[]")
        assert judged(data)[0], judged(data)
        lies = tmp_path / kind
        lies.mkdir()
        rows = pl.read_parquet(data.path / "separated.parquet")
        rows.with_columns(held_out=pl.int_range(pl.len()) % 5 == 0).write_parquet(lies / "separated.parquet")
        assert judged(replace(data, path=lies)) == (False, wrong)


@pytest.mark.parametrize(
    ("kind", "more", "code", "message"),
    [
        ("time", "split.column=when", 2, "split.column=when: there is no such column in the data"),
        ("time", "split.column=y", 2, "split.column=y: this is the column to predict"),
        ("time", "split.column=part", 1, "The column 'part' holds texts, no times"),
        ("group", "split.test_fraction=0.3", 2, "split.column: "),
        ("predefined", "split.column=part", 1, "has the values held, known; rows with test are held out (split.test)"),
        ("predefined", "split.test=held", 2, "name either the column that marks the held-out rows, or the path"),
        ("predefined", "split.path=nowhere.csv", 2, "split.path=nowhere.csv: there is no such file"),
        ("predefined", "split.path={folder}/other.csv", 2, "it lacks shop"),
    ],
)
def test_what_cannot_be_split_is_said(folder: Path, kind: str, more: str, code: int, message: str) -> None:
    done = inside("c=preprocessing", *words(folder, kind, more.format(folder=folder)))
    assert message in done.err.replace("\n", " "), done.err
    assert done.code == code


def test_the_values_of_a_second_file_are_like_those_of_the_data_set(folder: Path, tmp_path: Path) -> None:
    late = pl.read_csv(folder / "late.csv")

    def refused(rows: pl.DataFrame, *more: str) -> str:
        rows.write_csv(tmp_path / "late.csv")
        done = inside("c=preprocessing", *words(folder, "predefined", f"split.path={tmp_path / 'late.csv'}", *more))
        assert (done.code, "Nothing ran" in done.err) == (2, True), done.out + done.err
        return done.err

    def changed(name: str, value: str) -> pl.DataFrame:
        values = [*late[name].cast(pl.String).to_list()[:-1], value]
        return late.with_columns(pl.Series(name, values))

    assert "late.csv: row 9 of the column 'x' is 'abc', which is not a number" in refused(changed("x", "abc"))
    assert "row 9 of the column 'y' is 'high', which is not a number" in refused(changed("y", "high"))
    by_shop = ("dataset.target=shop", "dataset.task=classification")
    assert "no training row has the class 's99', which cannot be learnt" in refused(changed("shop", "s99"), *by_shop)
    rules = "dataset.columns=[{name: x, max: 6}, {name: year}, {name: shop}, {name: part}]"
    assert "late.csv: the column 'x' has 1 value above 6" in refused(changed("x", "7"), rules)
    changed("year", "1999.5").write_csv(tmp_path / "half.csv")
    data, _ = prepared(folder, "predefined", f"split.path={tmp_path / 'half.csv'}")
    assert {c.name: c.dtype.value for c in data.columns}["year"] == "float", "whole numbers may have others there"


def test_a_predefined_split_of_data_without_a_file_names_the_column(folder: Path) -> None:
    late = f"split.path={folder / 'late.csv'}"
    done = inside("c=preprocessing", "preprocessing/dataset=wine", "preprocessing/split=predefined", late)
    assert "a second file needs a data set that is a file" in done.err


def test_one_seed_is_that_of_split_model_and_folds() -> None:
    def of(*more: str) -> Any:
        shown = json.loads(inside("plan", "c=modeling", "modeling/validation=kfold", *more, "--json").out)["steps"]
        last = {s["stage"]: s["inputs"]["arguments"] for s in shown if not s["element"]}
        fold = next(s["inputs"]["arguments"]["split"] for s in shown if s["element"])
        return (
            last["preprocessing"]["split"]["seed"],
            last["modeling"]["m_param"]["seed"],
            fold["within"]["seed"],
        )

    assert of() == (0, 0, 0)
    assert of("seed=5") == (5, 5, 5)
    assert of("seed=5", "m_param.seed=1") == (5, 1, 5)
    assert "seed=5" not in inside("c=modeling", "seed=5", "modeling/param=small").err, (
        "it is no override without effect"
    )
