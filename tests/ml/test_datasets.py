"""Data sets: their rows, and the problems that are reported before anything runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conftest import Cli, Finished
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.cli import main
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Task
from when_ml_pipeline_meets_hydra.ml.datasets.checks import problems
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, TaskChoice
from when_ml_pipeline_meets_hydra.ml.datasets.parquet_file import ParquetFile
from when_ml_pipeline_meets_hydra.ml.datasets.scikit_learn import ScikitLearn, ToyDataset
from when_ml_pipeline_meets_hydra.ml.datasets.shipped import FOLDER, Shipped
from when_ml_pipeline_meets_hydra.ml.datasets.table import table

ROWS = 60


def written(lines: dict[str, list[Any]], file: str = "data.csv") -> Path:
    """A CSV file in the current directory; shorter columns are repeated up to the longest."""
    height = max(map(len, lines.values()))
    rows = [",".join(str(values[k % len(values)]) for values in lines.values()) for k in range(height)]
    path = Path(file)
    path.write_text("\n".join([",".join(lines), *rows]) + "\n", encoding="utf-8")
    return path


def good(**columns: list[Any]) -> dict[str, list[Any]]:
    usual: dict[str, list[Any]] = {"size": list(range(ROWS)), "colour": ["red", "grün"]}
    return usual | {"y": [k * 0.5 for k in range(ROWS)]} | columns


# What they give


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", " 2 ", "", "NA", "-3"], DType.INT),
        (["1", "2.5", "1e3", "nan"], DType.FLOAT),
        (["9223372036854775808", "1"], DType.FLOAT),
        (["true", "False", ""], DType.BOOL),
        (["2026-01-31", "1969-12-31"], DType.DATE),
        (["2026-01-31", "tomorrow"], DType.STRING),
        (["1", "b", "c"], DType.STRING),
    ],
)
def test_types_of_texts_are_found(values: list[str], expected: DType) -> None:
    found = table(CsvFile(path=written(good(x=values)), target="y").rows())
    assert {c.name: c.dtype for c in found.columns}["x"] is expected
    assert found.task is Task.REGRESSION


def test_types_follow_from_all_rows_not_only_the_first_ones() -> None:
    late = {
        "whole": ["1"] * 11_000 + ["2.5"],
        "empty": [""] * 11_000 + ["true"],
        "word": ["2026-01-31"] * 11_000 + ["x"],
    }
    dataset = CsvFile(path=written(late | {"y": list(range(11_001))}), target="y")
    types = {c.name: c.dtype for c in table(dataset.rows()).columns}
    assert types == {"whole": DType.FLOAT, "empty": DType.BOOL, "word": DType.STRING}
    (problem,) = problems(dataset)
    assert "row 11001 of the column 'word' is 'x', but 11,000 of its 11,001 values are dates" in problem.message


def test_listed_columns_are_the_ones_used_in_their_order() -> None:
    listed = (Column(name="colour", dtype=DType.STRING, description="Paint"), Column(name="size", dtype=DType.FLOAT))
    found = table(CsvFile(path=written(good(z=[1])), target="y", columns=listed).rows())
    assert found.columns == listed
    assert found.frame.collect_schema().names() == ["row", "c0", "c1", "target"]
    assert found.frame.head(2).collect().rows() == [(0, "red", 0.0, 0.0), (1, "grün", 1.0, 0.5)]


def test_other_separators_missing_texts_and_quotes() -> None:
    Path("x.csv").write_text('a;"b;c";y\n?;"x;y";1\n2;?;3.5\n', encoding="utf-8")
    found = table(CsvFile(path=Path("x.csv"), target="y", separator=";", null_values=("?",)).rows())
    assert [(c.name, c.dtype) for c in found.columns] == [("a", DType.INT), ("b;c", DType.STRING)]
    assert found.frame.collect().rows() == [(0, None, "x;y", 1.0), (1, 2, None, 3.5)]


def test_types_of_a_parquet_file() -> None:
    frame = pl.DataFrame(
        {
            "*": pl.Series([1, None], dtype=pl.UInt8),
            "^a$": pl.Series([1.5, float("nan")], dtype=pl.Float32),
            "kind": pl.Series(["x", "y"], dtype=pl.Categorical),
            "when": [datetime(2026, 1, 31, 12), None],
            "price": pl.Series(["1.25", "3"]).cast(pl.Decimal(10, 2)),
            " blank ": [" kept ", ""],
            "y": [True, False],
        }
    )
    frame.write_parquet("x.parquet")
    found = table(ParquetFile(path=Path("x.parquet"), target="y").rows())
    assert [c.dtype.value for c in found.columns] == ["int", "float", "string", "datetime", "float", "string"]
    assert found.frame.collect().rows() == [
        (0, 1, 1.5, "x", datetime(2026, 1, 31, 12), 1.25, " kept ", True),
        (1, None, None, "y", None, 3.0, None, False),
    ]
    assert found.task is Task.CLASSIFICATION


def test_a_column_of_a_parquet_file_without_a_name_is_left_out() -> None:
    pl.DataFrame({"a": [1, 2], "": [3, 4], "y": [5.5, 6.5]}).write_parquet("x.parquet")
    rows = ParquetFile(path=Path("x.parquet"), target="y").rows()
    assert rows.left_out == ("column 2 (it has no name)",)
    assert table(rows).frame.collect().rows() == [(0, 1, 5.5), (1, 2, 6.5)]


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([1, 2, 3], Task.CLASSIFICATION),
        (list(range(11)), Task.REGRESSION),
        ([1.5, 2], Task.REGRESSION),
        (["a", "b"], Task.CLASSIFICATION),
        (["true", "false"], Task.CLASSIFICATION),
    ],
)
def test_the_task_follows_from_the_target(values: list[Any], task: Task) -> None:
    assert table(CsvFile(path=written(good(y=values)), target="y").rows()).task is task


@pytest.mark.parametrize(
    ("name", "task", "rows", "columns"),
    [
        ("cars", Task.REGRESSION, 406, 7),
        ("planes", Task.CLASSIFICATION, 3322, 6),
        ("wine", Task.CLASSIFICATION, 178, 13),
        ("breast_cancer", Task.CLASSIFICATION, 569, 30),
        ("digits", Task.CLASSIFICATION, 1797, 64),
        ("diabetes", Task.REGRESSION, 442, 10),
    ],
)
def test_options_that_need_no_file(name: str, task: Task, rows: int, columns: int) -> None:
    from when_ml_pipeline_meets_hydra.binding.bind import bind
    from when_ml_pipeline_meets_hydra.composing.compose import compose

    ((_, call),) = bind(compose(["c=preprocessing", f"preprocessing/dataset={name}"])).calls
    dataset = call.arguments["dataset"]
    found = table(dataset.rows())
    assert (found.task, found.frame.collect().height, len(found.columns)) == (task, rows, columns)
    assert isinstance(dataset, Dataset)
    assert dataset.name == name
    assert len(dataset.fingerprint()) == 64
    assert list(dataset.check()) == []


# The fingerprint


def test_the_fingerprint_follows_the_content() -> None:
    csv = CsvFile(path=written(good()), target="y")
    before = csv.fingerprint()
    assert before == csv.fingerprint()
    csv.path.write_bytes(csv.path.read_bytes().replace(b"red", b"tan"))
    assert csv.fingerprint() != before


def test_a_shipped_file_has_no_place_of_this_machine_in_its_config() -> None:
    cars = Shipped(name="cars", path=Path("cars.csv"), target="Miles_per_Gallon")
    assert cars.file() == FOLDER / "cars.csv"
    assert not cars.path.is_absolute()


@pytest.mark.parametrize("kind", [CsvFile, ParquetFile])
def test_a_missing_file_and_a_directory(kind: Any) -> None:
    written(good(), "cars.data")
    os.mkfifo("pipe")
    for path, message, remedy in (
        ("pipe", "this is a pipe or a device", None),
        ("card.data", "no such file", "Did you mean 'cars.data'?"),
        ("nowhere/x.csv", "no such file", "no directory nowhere either"),
        (".", "a directory", None),
    ):
        dataset = kind(path=Path(path), target="y")
        for ask in (dataset.fingerprint, dataset.rows):
            with pytest.raises(BadInput) as caught:
                ask()
            (problem,) = caught.value.problems
            assert problem.key == "path"
            assert message in problem.message
            assert (remedy or "") in (problem.remedy or "")


def test_scikit_learns_target_must_have_a_name_of_its_own() -> None:
    (problem,) = ScikitLearn(name="wine", load=ToyDataset.WINE, target="alcohol").check()
    assert problem.key == "target"
    assert problems(ScikitLearn(name="wine", load=ToyDataset.WINE, target="cultivar")) == []


# What is found wrong, as a person sees it: exit code 2, and nothing has run


Prepare = Callable[..., Finished]


@pytest.fixture
def prepare(capfd: pytest.CaptureFixture[str]) -> Prepare:
    """The command line in this process, since importing Polars again takes longer than most of what is tested."""

    def run_here(*words: str, kind: str = "csv", file: str = "data.csv", target: str = "y") -> Finished:
        dataset = [f"preprocessing/dataset={kind}", f"dataset.path={file}", f"dataset.target={target}"]
        code = main(["c=preprocessing", *dataset, *words])
        return Finished(code, *capfd.readouterr())

    return run_here


MOSTLY_NUMBERS: list[Any] = [*range(40), "oops", *range(19)]
WRONG: dict[str, tuple[dict[str, list[Any]], Any, list[str]]] = {
    "absent target": (good(), {"target": "Y2"}, ["dataset.target=Y2: there is no such column"]),
    "close target": (good(), {"target": "colours"}, ["Did you mean 'colour'?"]),
    "absent column": (
        good(),
        ["dataset.columns=[{name:colr,dtype:string},{name:size,dtype:int},{name:size,dtype:int}]"],
        ["dataset.columns[0].name=colr: there is no such column", "Did you mean 'colour'?", "listed twice"],
    ),
    "text among numbers": (
        good(size=MOSTLY_NUMBERS),
        [],
        ["row 41 of the column 'size' is 'oops', but 59 of its 60 values are numbers", "dataset.null_values"],
    ),
    "text among the target's numbers": (good(y=MOSTLY_NUMBERS), [], ["dataset.target", "row 41 of the column 'y'"]),
    "listed dtype contradicts": (
        good(),
        ["dataset.columns=[{name:colour,dtype:float},{name:size,dtype:date}]"],
        [
            "dataset.columns[0].dtype=float: row 1 of the column 'colour' is 'red', which is not a number",
            "dataset.columns[1].dtype=date: row 1 of the column 'size' is '0'",
        ],
    ),
    "dates in another format than the one given": (
        good(day=["2024-01-31", "31.01.2024", ""], late=["31.01.2024"]),
        [
            "dataset.columns=[{name:day,dtype:date,format:'%d.%m.%Y'},{name:size},{name:late,dtype:date,format:'%d/%m/%y'}]"
        ],
        [
            "dataset.columns[0].format=%d.%m.%Y: row 1 of the column 'day' is '2024-01-31', which is not a date like "
            "'%d.%m.%Y'",
            "dataset.columns[2].format=%d/%m/%y: row 1 of the column 'late' is '31.01.2024', which is not a date like "
            "'%d/%m/%y'",
            "or correct the format",
        ],
    ),
    "dates in no format": (
        good(day=["soon"]),
        ["dataset.columns=[{name:day,dtype:date}]"],
        ["dataset.columns[0].dtype=date: row 1 of the column 'day' is 'soon', which is not a date like 2026-01-31"],
    ),
    "constant target": (good(y=[7.5]), [], ["dataset.target=y: it has the same value in every row"]),
    "one class": (good(y=["a"]), [], ["dataset.target=y: it has the same value in every row"]),
    "all-null target": (good(y=[""]), [], ["dataset.target=y: the column to predict has no value at all"]),
    "too few rows": ({"x": [1, 2, 3], "y": [1.5, 2.5, 3]}, [], ["only 3 rows have a value of it; at least 10"]),
    "rare class": (good(y=["a"] * 58 + ["b", "c"]), [], ["two rows or more", "'b', 'c' have only one"]),
    "too many classes": (good(y=list(range(1500))), ["dataset.task=classification"], ["1,500 different values"]),
    "infinite": (good(size=[1.5] * 59 + ["-inf"]), [], ["row 60 of the column 'size' is infinite"]),
    "a value far from all others": (
        good(size=[*range(59), "-1e300"]),
        [],
        ["dataset.path: row 60 of the column 'size' is -1e300, while half of the values lie between 14 and 43"],
    ),
    "a target far from all others": (
        good(y=[*(k * 0.5 for k in range(59)), "9.96921e36"]),
        [],
        ["dataset.target: row 60 of the column 'y' is 9.96921e36", "or add it to dataset.null_values"],
    ),
    "numbers without squares": (good(size=[0] * 59 + ["1e160"]), [], ["row 60 of the column 'size' is 1e160: nothing"]),
    "identifiers beyond 2^53": (
        good(size=[2**53 + k for k in range(60)]),
        [],
        ["the column 'size' has numbers beyond 2^53", "only 31 of its 60 different values are different"],
    ),
    "texts for a regression": (good(y=["a", "b"]), ["dataset.task=regression"], ["dataset.task=regression: "]),
    "nothing to predict from": ({"y": list(range(20))}, [], ["there is no column besides the target"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_data_is_reported_before_anything_runs(prepare: Prepare, case: str, own_home: Path) -> None:
    lines, options, expected = WRONG[case]
    written(lines)
    code, _, err = prepare(*options) if isinstance(options, list) else prepare(**options)
    assert code == 2, err
    for text in expected:
        assert text in err
    assert "Traceback" not in err
    assert not [*own_home.glob("store/*")]


@pytest.mark.parametrize("content", [b"", b"a,y\n1,2\n3,4,5,6\n", b"\x00\xff\xfe"])
def test_a_file_that_is_no_table(prepare: Prepare, content: bytes) -> None:
    Path("data.csv").write_bytes(content)
    for kind in ("csv", "parquet"):
        code, _, err = prepare(kind=kind)
        assert code == 2, err
        assert "dataset." in err
        assert "Traceback" not in err


def test_a_parquet_file_whose_types_do_not_fit(prepare: Prepare) -> None:
    frame = pl.DataFrame(
        {"many": [[1, 2]] * 20, "half": [1.0, 2.5] * 10, "day": [date(2026, 1, 31)] * 20, "y": list(range(20))}
    )
    frame.write_parquet("data.parquet")
    code, _, err = prepare(kind="parquet", file="data.parquet")
    assert code == 2
    assert "the column 'many' holds values of type List(Int64)" in err
    listed = "dataset.columns=[{name:half,dtype:int},{name:day,dtype:float}]"
    code, _, err = prepare(listed, kind="parquet", file="data.parquet")
    assert code == 2
    assert "dataset.columns[0].dtype=int: row 2 of the column 'half' is '2.5', which is not a whole number" in err
    assert "dataset.columns[1].dtype=float: the column 'day' holds values of type date" in err
    assert "Write dtype: date" in err


def test_the_installed_program_says_everything_at_once(cli: Cli) -> None:
    written(good(size=MOSTLY_NUMBERS, empty=[""], y=[1]))
    words = ("c=preprocessing", "preprocessing/dataset=csv", "dataset.path=data.csv", "dataset.target=y")
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    for text in ("2 problems", "row 41", "the same value in every row"):
        assert text in err


def test_missing_path_and_target_are_reported(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["c=preprocessing", "preprocessing/dataset=csv"]) == 2
    err = capfd.readouterr().err
    assert "dataset.path" in err
    assert "dataset.target" in err


# All the way


def test_the_users_own_file_is_prepared_and_an_edit_prepares_it_again(prepare: Prepare) -> None:
    path = written(good())
    code, out, err = prepare()
    assert code == 0, err
    assert "48 rows to train on, 12 held out" in out + err
    assert "stored" in prepare().err
    path.write_text(path.read_text("utf-8") + "60,red,30.0\n", encoding="utf-8")
    code, out, err = prepare()
    assert code == 0, err
    assert "49 rows to train on" in out + err


def test_from_python(tmp_path: Path) -> None:
    written(good())
    done = run(["c=preprocessing", "preprocessing/dataset=csv", "dataset.path=data.csv", "dataset.target=y"])
    assert done is not None
    (inputs,) = (tmp_path / "home").rglob("inputs.json")
    assert json.loads(inputs.read_text("utf-8"))


@pytest.mark.parametrize("task", TaskChoice)
def test_whole_numbers_may_be_either_task(task: TaskChoice) -> None:
    written(good(y=[1, 2, 3]))
    expected = Task.CLASSIFICATION if task is TaskChoice.AUTO else Task(task.value)
    dataset = CsvFile(path=Path("data.csv"), target="y", task=task)
    assert table(dataset.rows()).task is expected
    assert problems(dataset) == []
