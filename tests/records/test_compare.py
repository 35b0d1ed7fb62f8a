"""``runs compare``: tables, files and pictures of combinations."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_pipeline import CONF, as_killed, inside, install, small, write
from when_ml_pipeline_meets_hydra.binding.settings import Objective, hints
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.outcomes import Status
from when_ml_pipeline_meets_hydra.pipeline import run
from when_ml_pipeline_meets_hydra.records.compare import RUN_KEYS, Combination, Comparison, compare
from when_ml_pipeline_meets_hydra.records.frames import frame
from when_ml_pipeline_meets_hydra.records.plot import _is_logarithmic, _lie_apart, draw
from when_ml_pipeline_meets_hydra.records.short_names import short_names

SECRET = "s3cret-Xy.z+9"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def rows_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def combinations(**swept: Sequence[Any]) -> Comparison:
    """Every combination of some values, each with a metric; underscores in the keys are dots."""
    keys = [key.replace("_", ".") for key in swept]
    rows = tuple(
        Combination(
            run="20260102-030405-0000",
            jobs=(n,),
            values=dict(zip(keys, values, strict=True)),
            stages={"fit": Status.DONE},
            metrics={"fit.height": (n * 7 % 11) / 10},
            status=Status.DONE,
        )
        for n, values in enumerate(itertools.product(*swept.values()))
    )
    return Comparison(rows=rows, keys=tuple(keys), stages=("fit",), metrics=("fit.height",))


# --- The table


def test_combinations_of_a_run_in_the_order_of_a_metric() -> None:
    small("c=fit", "knobs.rate=0.2,0.1,0.3", multirun=True)
    code, out, err = inside("runs", "compare", "last", "--metric", "height")
    assert (code, err) == (ExitCode.DONE, "")
    assert rows_of(out) == [
        ["jobs", "rate", "gather", "fit", "height", "rest"],
        ["2", "0.3", "done", "done", "1.8", "0"],
        ["0", "0.2", "done", "done", "1.2", "0"],
        ["1", "0.1", "done", "done", "0.6", "0"],
    ]
    assert [r[1] for r in rows_of(inside("runs", "compare", "last", "--metric", "fit.height", "--minimize").out)] == [
        *("rate", "0.1", "0.2", "0.3")
    ]
    assert "--minimize: there is no metric to sort by" in inside("runs", "compare", "last", "--minimize").err


def test_the_objective_of_the_run_is_the_order_unless_another_is_asked_for() -> None:
    small("c=fit", "knobs.rate=0.2,0.1,0.3", "objective={metric: height, direction: minimize}", multirun=True)
    for words in ([], ["--metric", "height"], ["--metric", "fit.height"]):
        assert [r[0] for r in rows_of(inside("runs", "compare", "last", *words).out)] == ["jobs", "1", "0", "2"]
    assert [r[0] for r in rows_of(inside("runs", "compare", "last", "--metric", "rest").out)] == ["jobs", *"012"]
    listed = inside("runs", "list").out.splitlines()[-1]
    assert "best: fit.height=" in listed
    steps = json.loads(inside("runs", "show", "last", "--json").out)["steps"]
    lowest = min(step["metrics"]["height"] for step in steps if step["stage"] == "fit")
    assert f"fit.height={lowest:g}" in listed


def test_several_runs_at_once(tmp_path: Path) -> None:
    """What one run left as it is has its resolved value, and a group its default option."""
    more = write(tmp_path / "more", {"fit/knobs/quick.yaml": "# @package knobs\n# Quick\nrate: 0.9\nrounds: 1\n"})
    first = small("c=fit", "knobs.rounds=1,2", multirun=True).record.id
    second = run(["c=fit", "fit/knobs=quick"], config_dirs=[CONF, more]).record.id
    code, out, _ = inside("runs", "compare", first, second, first)
    assert code == ExitCode.DONE
    assert rows_of(out) == [
        ["run", "jobs", "rounds", "knobs", "gather", "fit", "height", "rest"],
        [first, "0", "1", "gentle", "done", "done", "3", "0"],
        [first, "1", "2", "gentle", "done", "done", "3", "0"],
        [second, "0", "1", "quick", "stored", "done", "5.4", "0"],
    ]


def test_what_is_written_in_two_ways_is_no_difference() -> None:
    first = small("c=fit", "knobs.rate=0.10", "home=${oc.env:WMH_HOME}").record
    second = small("c=fit", "knobs.rate=1e-1", "force=[fit]").record
    assert compare([first, second]).keys == ()


def test_keys_for_the_whole_run_are_never_swept_ones() -> None:
    assert set(hints()) <= RUN_KEYS


def test_a_swept_secret_is_told_nowhere(tmp_path: Path) -> None:
    small("c=ship", f"target.login.phrase={SECRET},{SECRET}2", "target.name=a,b", multirun=True)
    csv, picture = tmp_path / "x.csv", tmp_path / "x.svg"
    code, out, err = inside("runs", "compare", "last", "--csv", str(csv), "--picture", str(picture))
    assert code == ExitCode.DONE
    assert SECRET not in out + err + csv.read_text() + picture.read_text()
    assert len(csv.read_text().splitlines()) == 5


def test_for_machines() -> None:
    run_id = small("c=fit", "knobs.strict=true,false", multirun=True).record.id
    told = json.loads(inside("runs", "compare", "last", "--json").out)
    assert (told["keys"], told["metrics"]) == (["knobs.strict"], ["fit.height", "fit.rest"])
    assert told["combinations"][0] == {
        "run": run_id,
        "jobs": [0],
        "values": {"knobs.strict": True},
        "status": "failed",
        "stages": {"gather": "done", "fit": "failed"},
        "metrics": {},
    }
    assert told["combinations"][1]["metrics"] == {"fit.height": 3.0, "fit.rest": 0.0}


def test_a_run_of_one_combination_is_one_row() -> None:
    small("c=fit")
    assert rows_of(inside("runs", "compare", "last").out)[1:] == [["0", "done", "done", "3", "0"]]


def test_what_did_not_run_is_said() -> None:
    steps = as_killed(small("c=fit", "knobs.rate=0.1,0.2", multirun=True).record)
    steps.write_text("".join(steps.read_text().splitlines(keepends=True)[:-1]))
    told = json.loads(inside("runs", "compare", "last", "--json").out)
    assert [c["status"] for c in told["combinations"]] == ["done", "not run"]


# --- Files


def test_csv_and_parquet_have_typed_columns(tmp_path: Path) -> None:
    words = ("knobs.rate=0.1,0.2", "knobs.rounds=1,2", "knobs.strict=false,true", "source.numbers=[1,2],[3]")
    run_id = small("c=gather,fit", *words, multirun=True).record.id
    csv, parquet = tmp_path / "new" / "table.csv", tmp_path / "table.parquet"
    code, out, _ = inside("runs", "compare", "last", "--csv", str(csv), "--parquet", str(parquet))
    assert code == ExitCode.DONE
    assert out.splitlines()[-2:] == [f"written: {csv}", f"written: {parquet}"]
    table = pl.read_parquet(parquet)
    assert table.schema == {
        "run": pl.String,
        "jobs": pl.List(pl.Int64),
        "knobs.rate": pl.Float64,
        "knobs.rounds": pl.Int64,
        "knobs.strict": pl.Boolean,
        "source.numbers": pl.String,
        "status": pl.String,
        "gather.status": pl.String,
        "fit.status": pl.String,
        "fit.height": pl.Float64,
        "fit.rest": pl.Float64,
    }
    assert table.height == 16
    assert table.row(0) == (run_id, [0, 16], 0.1, 1, False, "[1,2]", "done", "done", "done", 0.30000000000000004, 0.0)
    assert table.filter("knobs.strict")["fit.height"].null_count() == 8
    assert table.filter("knobs.strict")["status"].unique().to_list() == ["failed"]
    read = pl.read_csv(csv)
    assert read["jobs"][0] == "0 16"
    assert read.drop("jobs").equals(table.drop("jobs"))
    assert [f.name for f in csv.parent.iterdir()] == ["table.csv"], "nothing temporary is left"


def test_columns_of_mixed_values() -> None:
    table = frame(combinations(a=[1, 2.5], b=[1, "x"], c=[None, 3], d=[2**70], status=["mine"]))
    assert dict(zip(table.columns, table.dtypes, strict=True)) == {
        "run": pl.String,
        "jobs": pl.List(pl.Int64),
        "a": pl.Float64,
        "b": pl.String,
        "c": pl.Int64,
        "d": pl.Float64 if table["d"].dtype == pl.Float64 else pl.String,
        "config.status": pl.String,
        "status": pl.String,
        "fit.status": pl.String,
        "fit.height": pl.Float64,
    }


def test_a_picture_from_the_command_line(tmp_path: Path) -> None:
    small("c=fit", "knobs.rate=0.01,0.1,0.9", "knobs.shape=line,exponent", multirun=True)
    png, svg = tmp_path / "sweep.png", tmp_path / "sweep.svg"
    assert inside("runs", "compare", "last", "--picture", str(png), "--metric", "height").code == ExitCode.DONE
    assert inside("runs", "compare", "last", "--picture", str(svg)).code == ExitCode.DONE
    assert size_of(png) == (2 * 4.6 * 150, 4.2 * 150)
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--csv", "x.txt"], "--csv=x.txt: the file has to end with .csv"),
        (["--parquet", "x"], "--parquet=x: the file has to end with .parquet"),
        (["--picture", "x.pdf"], "--picture=x.pdf: the file has to end with .png or .svg"),
        (["--metric", "hight"], "--metric=hight: there is no such metric"),
        (["--csv", "/proc/nowhere/x.csv"], "/proc/nowhere/x.csv: nothing can be written there"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], message: str) -> None:
    small("c=fit", "knobs.rate=0.1,0.2", multirun=True)
    code, _, err = inside("runs", "compare", "last", *words)
    assert code == ExitCode.BAD_INPUT
    assert message in err


def test_without_metrics_there_is_nothing_to_sort_or_to_draw(tmp_path: Path) -> None:
    small("c=gather", "source.numbers=[1],[2]", multirun=True)
    assert inside("runs", "compare", "last").code == ExitCode.DONE
    for words in (["--metric", "r2"], ["--picture", str(tmp_path / "x.png")]):
        code, _, err = inside("runs", "compare", "last", *words)
        assert code == ExitCode.BAD_INPUT
        assert "no step measured anything" in err
    assert not list(tmp_path.glob("x*"))


def test_without_differences_there_is_nothing_to_draw() -> None:
    small("c=fit")
    code, _, err = inside("runs", "compare", "last", "--picture", "x.png")
    assert code == ExitCode.BAD_INPUT
    assert "nothing differs between the combinations" in err
    assert inside("runs", "compare", "nope").code == ExitCode.BAD_INPUT


# --- Pictures


def size_of(png: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    return width, height


@pytest.mark.parametrize(("keys", "across", "down"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 3, 2), (7, 3, 3)])
def test_a_panel_for_each_key(tmp_path: Path, keys: int, across: int, down: int) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(draw(combinations(**{f"k{n}": [1, 2] for n in range(keys)}), "fit.height", "png"))
    assert size_of(file) == (max(across * 4.6, 6) * 150, (down * 3.6 + 0.6) * 150)
    image = pl.Series(values=list(pixels(file)))
    assert image.mode().to_list() == [0xFFFFFF], "the background is white"


def pixels(file: Path) -> Sequence[int]:
    from matplotlib.image import imread

    image = (imread(file)[:, :, :3] * 255).astype("int")
    return (image[:, :, 0] * 65536 + image[:, :, 1] * 256 + image[:, :, 2]).ravel().tolist()  # type: ignore[no-any-return]


def test_pictures_name_what_they_show() -> None:
    picture = combinations(
        m_rate=[0.001, 0.01, 0.1], model=["linear", "a_very_long_name_of_an_option"], flag=[True, False]
    )
    drawn = text_of(draw(picture, "fit.height", "svg"))
    for text in ("fit.height of 12 combinations, run 20260102-030405-0000", "m.rate", "model", "flag", "linear"):
        assert text in drawn
    assert "a_very_long_name_…" in drawn
    assert draw(picture, "fit.height", "svg") == draw(picture, "fit.height", "svg"), "the same picture each time"


def text_of(svg: bytes) -> str:
    """The texts of a picture; matplotlib writes each as a comment beside its outlines."""
    return svg.decode()


def test_options_that_are_no_formulas_are_no_formulas() -> None:
    assert "$x_" in text_of(draw(combinations(name=["$x_{", "$"]), "fit.height", "svg"))


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([0.001, 0.01, 0.1, 1], True),
        ([0.01, 0.03, 0.1, 0.3], True),
        ([1, 2, 3, 4], False),
        ([5, 20, 80], True),
        ([0, 1, 10, 100], False),
        ([-1, 10, 100], False),
        ([1, 100], False),
        ([10, 20, 30, 40, 50, 100], False),
    ],
)
def test_which_axis_fits(values: list[float], logarithmic: bool) -> None:
    assert _is_logarithmic(values) is logarithmic


def test_labels_that_would_touch_are_left_to_the_axis() -> None:
    assert _lie_apart([1, 2, 3, 4], logarithmic=False)
    assert not _lie_apart([1, 1.01, 100], logarithmic=False)
    assert _lie_apart([0.001, 0.01, 0.1], logarithmic=True)


# --- Rules


NAMES = st.lists(
    st.text("ab./", min_size=1, max_size=6).filter(lambda n: n[0] not in "./" and n[-1] not in "./"), unique=True
)


@given(NAMES)
def test_short_names_tell_apart(names: list[str]) -> None:
    short = short_names(names, taken=("a",))
    assert len(set(short.values())) == len(names)
    assert all(name.endswith(end) for name, end in short.items())


def test_names_are_as_short_as_they_can_be() -> None:
    names = ("preprocessing/param", "modeling/param", "m_param.rate", "modeling.r2", "model_name", "x.fit")
    assert list(short_names(names, taken=("fit",)).values()) == [*names[:2], "rate", "r2", "model_name", "x.fit"]


@given(st.lists(st.floats(allow_infinity=False) | st.none(), min_size=1), st.booleans())
def test_the_best_come_first_and_those_without_a_value_last(values: list[float | None], maximize: bool) -> None:
    some = combinations(a=values)
    rows = tuple(
        Combination(**{**vars(row), "metrics": {} if v is None else {"fit.height": v}})
        for row, v in zip(some.rows, values, strict=True)
    )
    comparison = Comparison(rows=rows, keys=some.keys, stages=some.stages, metrics=some.metrics)
    done = comparison.sorted(Objective(metric="height", direction="maximize" if maximize else "minimize")).rows
    found = [row.metrics.get("fit.height", float("nan")) for row in done]
    known = [v for v in found if v == v]
    assert known == sorted(known, reverse=maximize)
    assert all(v != v for v in found[len(known) :])
    assert {row.jobs for row in done} == {row.jobs for row in rows}
