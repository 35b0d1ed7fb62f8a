"""The split, the fitted preprocessing, the matrices, and the ONNX graph that equals them."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from when_ml_pipeline_meets_hydra.errors import BadInput, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, PreparedData, Task
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, RawRows, TaskChoice
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, Table, table
from when_ml_pipeline_meets_hydra.ml.preparation import matrix
from when_ml_pipeline_meets_hydra.ml.preparation.categories import Category
from when_ml_pipeline_meets_hydra.ml.preparation.fit import Fitted, Number, fit
from when_ml_pipeline_meets_hydra.ml.preparation.graph import build
from when_ml_pipeline_meets_hydra.ml.preparation.param import Imputation, PreparationParam, Scaling
from when_ml_pipeline_meets_hydra.ml.preparation.quantiles import quantiles
from when_ml_pipeline_meets_hydra.ml.preparation.write import compare
from when_ml_pipeline_meets_hydra.ml.splits.random import RandomSplit
from when_ml_pipeline_meets_hydra.ml.splits.sides import Split, split
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.pipeline import run
from when_ml_pipeline_meets_hydra.stages.preprocessing import prepare

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
AWKWARD = ["features", "features_", "__target__", "*", "^c.*$", "made/0", "label", "hash", "row", "target", "c0", "c1"]


@dataclass(frozen=True)
class InMemory:
    """A data set made from a data frame."""

    frame: pl.DataFrame
    target: str = "y"
    task: TaskChoice = TaskChoice.AUTO
    name: str = "in memory"
    columns: tuple[Column, ...] = field(default=())

    def rows(self) -> RawRows:
        return RawRows(frame=self.frame.lazy(), target=self.target, task=self.task, columns=self.columns)

    def fingerprint(self) -> str:
        return str(self.frame.hash_rows().sum())

    def check(self) -> list[Any]:
        return []


silent = NoProgress()


def prepared(dataset: Dataset, out: Path, **param: Any) -> PreparedData:
    out.mkdir(parents=True, exist_ok=True)
    return prepare(dataset, PreparationParam(**param), RandomSplit(), out=out, progress=silent)


def split_of(frame: pl.DataFrame, fraction: float = 0.2, seed: int = 0, task: TaskChoice = TaskChoice.AUTO) -> Split:
    return split(table(InMemory(frame, task=task).rows()), RandomSplit(test_fraction=fraction, seed=seed))


def numbers(rows: pl.LazyFrame) -> list[int]:
    return rows.collect()[ROW].to_list()


# The split


@quick
@given(
    classes=st.lists(st.sampled_from(["a", "b", "ü", None]), min_size=4, max_size=200),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**63 - 1),
)
def test_the_same_share_of_every_class_is_held_out(classes: list[str | None], fraction: float, seed: int) -> None:
    counts = Counter(c for c in classes if c is not None)
    if not counts:
        return
    frame = pl.DataFrame({"x": range(len(classes)), "y": classes}, schema={"x": pl.Int64, "y": pl.String})
    parts = split_of(frame, fraction, seed)
    train, test = parts.train().collect(), parts.test().collect()
    kept, held_out = Counter(train["target"].to_list()), Counter(test["target"].to_list())
    assert parts.classes == tuple(sorted(counts))
    for name, count in counts.items():
        assert kept[name] + held_out[name] == count
        assert held_out[name] == (min(max(round(count * fraction), 1), count - 1) if count > 1 else 0)
    assert not set(train[ROW]) & set(test[ROW])
    assert train[ROW].is_sorted()
    assert test[ROW].is_sorted()


def test_exact_share_of_a_regression_and_another_seed_holds_out_others() -> None:
    frame = pl.DataFrame({"x": range(1003), "y": [k / 7 for k in range(1003)]})
    first, second = numbers(split_of(frame, 0.25, 1).test()), numbers(split_of(frame, 0.25, 2).test())
    assert len(first) == len(second) == 251
    assert 0.1 < len(set(first) & set(second)) / 251 < 0.4
    assert first == numbers(split_of(frame, 0.25, 1).test())
    # Held-out rows lie everywhere in the file.
    assert {k // 100 for k in first} >= set(range(10))


def test_the_hash_is_pinned_so_that_versions_of_polars_hold_out_the_same_rows() -> None:
    frame = pl.DataFrame({"x": range(30), "y": [k / 7 for k in range(30)]})
    mask = (1 << 64) - 1

    def hashed(row: int, seed: int) -> int:
        z = ((row + 1) * 0x9E3779B97F4A7C15 + (((seed * 0x94D049BB133111EB + 0xBF58476D1CE4E5B9) & mask) ^ seed)) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    expected = sorted(sorted(range(30), key=lambda row: hashed(row, 7))[:6])
    assert numbers(split_of(frame, 0.2, 7).test()) == expected


def test_whole_numbers_as_classes_are_in_the_order_of_their_values() -> None:
    frame = pl.DataFrame({"x": range(60), "y": [10, 9, 2] * 20})
    assert split_of(frame).classes == ("2", "9", "10")
    assert split_of(frame, task=TaskChoice.REGRESSION).classes == ()


# The graph and the matrices

finite = st.floats(allow_nan=False, allow_infinity=False)
days = st.dates(date(1800, 1, 1), date(2200, 1, 1))
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
VALUES = {
    DType.FLOAT: (pl.Float64(), st.one_of(finite, st.floats(-10, 10), st.just(math.nan))),
    DType.INT: (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    DType.STRING: (pl.String(), st.one_of(st.sampled_from(["red", "grün", "", " ", "a=b"]), words)),
    DType.BOOL: (pl.Boolean(), st.booleans()),
    DType.DATE: (pl.Date(), days),
    DType.DATETIME: (pl.Datetime("us"), st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1))),
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(12, 40))
    names = st.one_of(st.sampled_from(AWKWARD), words.filter(bool))
    columns = {}
    for name in draw(st.lists(names.filter(lambda n: n != "y"), min_size=1, max_size=6, unique=True)):
        physical, values = VALUES[draw(st.sampled_from(list(DType)))]
        maybe = draw(st.sampled_from([values, st.one_of(st.none(), values), st.none()]))
        drawn = draw(st.lists(maybe, min_size=height, max_size=height))
        columns[name] = pl.Series("", drawn, dtype=physical).alias(name)  # Polars takes some names for patterns
    columns["y"] = pl.Series("y", [k % 3 for k in range(height)])
    return pl.DataFrame(list(columns.values()))


params = st.builds(
    PreparationParam,
    scaling=st.sampled_from(Scaling),
    imputation=st.sampled_from(Imputation),
    missing_indicator=st.booleans(),
    max_categories=st.integers(1, 5),
    min_frequency=st.sampled_from([0.001, 0.2]),
)


@settings(quick, max_examples=60)
@given(frame=frames(), param=params)
def test_the_graph_makes_the_numbers_of_the_matrices(frame: pl.DataFrame, param: PreparationParam) -> None:
    data = table(InMemory(frame).rows())
    # Fitted on the first rows only, so that the others have unknown categories and missing values of their own.
    fitted = fit(data.frame.head(8), data.columns, 8, param)
    names = fitted.features(["__target__"])
    if not names:
        return
    assert len({*names, "__target__"}) == len(names) + 1
    rows = data.frame.collect()
    expected = rows.select(matrix.features(fitted, names)).to_numpy()
    session = onnxruntime.InferenceSession(build(fitted).SerializeToString(), providers=["CPUExecutionProvider"])
    made: Any = session.run(None, matrix.feeds(rows, data.columns))[0]
    assert [i.name for i in session.get_inputs()] == [c.name for c in data.columns]
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(made, expected)


@settings(quick, max_examples=15)
@given(frame=frames())
def test_any_names_and_values_go_through_the_whole_stage(frame: pl.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            data = prepared(InMemory(frame.with_columns(pl.lit(1.5).alias("at least one number"))), Path(folder))
        except StepFailed as refused:
            if not any(str(refused).startswith(f"{name}: of ") for name in frame.columns):
                raise
            return
        train, test = (pl.read_parquet(data.path / f"{name}.parquet") for name in ("train", "test"))
        assert train.columns == test.columns == [*data.features, "__target__"]
        assert pl.read_parquet(data.path / "holdout.parquet").columns == [c.name for c in data.columns]
        assert (train.height, test.height) == (data.rows_train, data.rows_test)
        assert train.null_count().sum_horizontal().item() == 0


def one_column(values: list[Any], dtype: pl.DataType) -> tuple[Table, pl.LazyFrame]:
    frame = pl.DataFrame({"x": pl.Series("x", values, dtype=dtype), "y": [k / 7 for k in range(len(values))]})
    data = table(InMemory(frame).rows())
    return data, data.frame


@pytest.mark.parametrize(
    ("param", "fill", "center", "scale"),
    [
        ({"scaling": "none", "imputation": "mean"}, 4.0, 0.0, 1.0),
        ({"scaling": "standard", "imputation": "median"}, 3.0, 4.0, math.sqrt(10)),
        ({"scaling": "robust", "imputation": "zero"}, 0.0, 3.0, 2.0),
    ],
)
def test_what_is_learnt_of_a_number(param: dict[str, str], fill: float, center: float, scale: float) -> None:
    data, frame = one_column([1, 2, None, 3, 4, 10], pl.Int64())
    choices = PreparationParam(scaling=Scaling(param["scaling"]), imputation=Imputation(param["imputation"]))
    (number,) = fit(frame, data.columns, 6, choices).numbers
    assert number.indicator
    assert (number.fill, number.center) == (fill, center)
    assert number.scale == pytest.approx(scale, rel=1e-11)


@pytest.mark.parametrize("scaling", Scaling)
@pytest.mark.parametrize("values", [[None] * 9, [0.1] * 9, [1 / 3] * 8 + [None], [1e308, -1e308] * 5])
def test_numbers_without_spread_or_without_bounds_do_no_harm(values: list[Any], scaling: Scaling) -> None:
    data, frame = one_column(values, pl.Float64())
    fitted = fit(frame, data.columns, len(values), PreparationParam(scaling=scaling))
    features = frame.select(matrix.features(fitted, fitted.features(()))).collect().to_numpy()
    assert np.isfinite(features).all()
    if len({*values} - {None}) == 1:
        assert np.ptp(features[:, 0]) < 1e-6


@pytest.mark.parametrize("scaling", Scaling)
@pytest.mark.parametrize("dtype", [pl.Float64(), pl.Int64()])
def test_numbers_far_from_0_keep_what_distinguishes_them(scaling: Scaling, dtype: pl.DataType) -> None:
    values = [1_700_000_000 + 3 * k for k in range(1000)]
    data, frame = one_column([None, *values], dtype)
    fitted = fit(frame, data.columns, len(values) + 1, PreparationParam(scaling=scaling))
    (number,) = fitted.numbers
    middle = 1_700_000_000 + 1.5 * 999
    assert (number.fill, number.center) == (middle, middle), "not rounded away"
    assert frame.select(matrix.features(fitted, fitted.features(()))).collect()["x"].n_unique() == 1000 + 1
    small = frame.with_columns(pl.col("c0") % 1000)
    if scaling is Scaling.NONE:
        assert fit(small, data.columns, len(values) + 1, PreparationParam(scaling=scaling)).numbers[0].scale == 1.0


def test_a_value_beside_which_all_others_are_alike_is_reported(tmp_path: Path) -> None:
    frame = things().with_columns(
        pl.when(pl.col("weight") == 150.0).then(1e15).otherwise(pl.col("weight")).alias("weight")
    )
    with pytest.raises(StepFailed, match=r"^weight: of \d+ different values .* from 0 to 1e\+15 are too far from"):
        prepared(InMemory(frame), tmp_path / "a")
    assert prepared(InMemory(frame), tmp_path / "b", scaling=Scaling.ROBUST).rows_train == 150


def test_only_frequent_texts_get_a_feature_and_a_missing_one_is_a_text() -> None:
    data, frame = one_column(["a"] * 50 + ["b"] * 30 + [None] * 15 + ["c"] * 4 + ["d"], pl.String())

    def kept(**param: Any) -> tuple[str, ...]:
        return fit(frame, data.columns, 100, PreparationParam(**param)).categories[0].values

    assert kept(min_frequency=0.04) == ("", "a", "b", "c")
    assert kept(min_frequency=0.05) == ("", "a", "b")
    assert kept(max_categories=2) == ("a", "b")


def test_all_texts_of_two_rows_are_categories_but_rare_ones_of_a_large_table(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"k{k:02}" for k in range(40) for _ in range(20)] + [f"r{k:03}" for k in range(100) for _ in range(2)]
    data, frame = one_column([*many, "once"], pl.String())

    def found(**param: Any) -> tuple[int, int]:
        column = fit(frame, data.columns, 1001, PreparationParam(**param)).categories[0]
        return len(column.values), len(column.rare)

    assert found() == (140, 0)
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.preparation.categories.MOST_VALUES_ALONE", 50_000)
    assert found() == (140, 110)
    assert found(max_categories=60) == (60, 20)
    assert found(min_frequency=0.01) == (40, 0)
    assert found(max_categories=60, min_frequency=0.001) == (60, 0)
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.preparation.categories.MOST_VALUES", 50_050)
    assert found() == (50, 20)


def test_identifiers_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [f"id {k}" for k in range(900)] + ["often"] * 100
    data, frame = one_column(values, pl.String())
    exact = fit(frame, data.columns, 1000, PreparationParam(min_frequency=0.01))
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.preparation.categories.VALUES_AT_ONCE", 0)
    assert fit(frame, data.columns, 1000, PreparationParam(min_frequency=0.01)) == exact
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.preparation.categories.TEXTS_AT_ONCE", 10)
    assert fit(frame, data.columns, 1000, PreparationParam(min_frequency=0.01)) == exact
    assert exact.categories == (Category(index=0, values=("often",)),)


@given(
    values=st.lists(st.none() | st.integers(-3, 3) | st.floats(-1e9, 1e9), min_size=1, max_size=300),
    in_order=st.booleans(),
    few=st.integers(1, 40),
)
def test_quantiles_are_exact_whatever_the_sample_says(values: list[float | None], in_order: bool, few: int) -> None:
    column = sorted(values, key=lambda v: (v is None, v or 0)) if in_order else values
    frame = pl.DataFrame({"x": column, "y": [7.0] * len(column)}, schema={"x": pl.Float64, "y": pl.Float64})
    expected = [[frame[name].quantile(q, "linear") for q in (0.25, 0.5, 0.75)] for name in ("x", "y")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("when_ml_pipeline_meets_hydra.ml.preparation.quantiles.SAMPLE_ROWS", few)
        patch.setattr("when_ml_pipeline_meets_hydra.ml.preparation.quantiles.VALUES_AT_ONCE", 1)
        rows = frame.lazy().with_row_index("row")
        found = quantiles(rows, len(column), [pl.col("x"), pl.col("y")], (0.25, 0.5, 0.75))
    assert [[q is None for q in own] for own in found] == [[q is None for q in own] for own in expected]
    for own, exact in zip(found, expected, strict=True):
        assert [q or 0 for q in own] == pytest.approx([q or 0 for q in exact], rel=1e-12, abs=1e-6)


def test_features_have_names_of_their_own() -> None:
    assert Fitted(
        columns=(Column(name="*", dtype=DType.INT), Column(name="^a$", dtype=DType.INT)),
        numbers=tuple(Number(index=k, fill=0, center=0, scale=1, indicator=False) for k in (0, 1)),
        categories=(),
    ).features(()) == ("* (2)", "^a$ (2)")
    columns = (Column(name="__target__", dtype=DType.INT), Column(name="a", dtype=DType.STRING))
    fitted = Fitted(
        columns=(*columns, Column(name="a=b", dtype=DType.INT)),
        numbers=tuple(Number(index=k, fill=0, center=0, scale=1, indicator=False) for k in (0, 2)),
        categories=(Category(index=1, values=("", "b")),),
    )
    assert fitted.features(["__target__"]) == ("__target__ (2)", "a=b", "a=missing", "a=b (2)")


# The stage


def things(rows: int = 200) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "weight": [None if k % 11 == 3 else k * 1.5 for k in range(rows)],
            "maker": [["acme", "bölt", None][k % 3] for k in range(rows)],
            "sold": [[True, False, None][k % 3] for k in range(rows)],
            "built": [None if k % 13 == 1 else date(2000, 1, 1) + timedelta(days=k) for k in range(rows)],
            "y": [None if k % 17 == 5 else k * 2.0 for k in range(rows)],
        }
    )


def test_files_and_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = prepared(InMemory(things()), tmp_path / "out")
    assert data.task is Task.REGRESSION
    assert [c.dtype for c in data.columns] == [DType.FLOAT, DType.STRING, DType.BOOL, DType.DATE]
    assert (data.rows_train, data.rows_test) == (150, 38)
    train = pl.read_parquet(data.path / "train.parquet")
    assert set(train.select(data.features).dtypes) == {pl.Float32, pl.Boolean}
    assert train.schema["__target__"] == pl.Float64
    assert sorted(f.name for f in data.path.iterdir()) == [
        "holdout.parquet",
        "preprocessing.onnx",
        "rows.parquet",
        "summary.json",
        "test.parquet",
        "train.parquet",
    ]
    test, raw = (pl.read_parquet(data.path / f"{name}.parquet") for name in ("test", "holdout"))
    both = things().filter(pl.col("y").is_in(test["__target__"].to_list()))
    assert raw.equals(both.drop("y"))
    assert "150 rows to train on, 38 held out" in capsys.readouterr().out


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (prepared(InMemory(things()), tmp_path / name) for name in ("a", "b"))
    for file in first.path.iterdir():
        assert file.read_bytes() == (second.path / file.name).read_bytes()


def test_held_out_rows_teach_nothing(tmp_path: Path) -> None:
    honest = prepared(InMemory(things()), tmp_path / "a")
    held_out = pl.read_parquet(honest.path / "test.parquet")["__target__"].to_list()
    lies = things().with_columns(
        pl.when(pl.col("y").is_in(held_out)).then(1e9).otherwise(pl.col("weight")).alias("weight"),
        pl.when(pl.col("y").is_in(held_out)).then(pl.lit("unseen")).otherwise(pl.col("maker")).alias("maker"),
    )
    other = prepared(InMemory(lies), tmp_path / "b")
    for name in ("train.parquet", "preprocessing.onnx"):
        assert (honest.path / name).read_bytes() == (other.path / name).read_bytes()
    unseen = pl.read_parquet(other.path / "test.parquet")
    assert unseen.select([f for f in other.features if f.startswith("maker=")]).sum().sum_horizontal().item() == 0


def session_of(model: Path) -> Any:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def test_a_graph_that_lies_fails_the_step(tmp_path: Path) -> None:
    data = prepared(InMemory(things()), tmp_path)
    raw_table = table(InMemory(things()).rows())
    parts = split(raw_table, RandomSplit())
    fitted = fit(parts.train(), raw_table.columns, data.rows_train, PreparationParam())
    raw = parts.test().select("c0", "c1", "c2", "c3").collect()
    model = onnx.load(tmp_path / "preprocessing.onnx")
    compare(raw, fitted, data.features, session_of(tmp_path / "preprocessing.onnx"), tmp_path / "test.parquet")
    constant = [c for c in model.graph.initializer if sum(c.dims) > 1][1]
    changed = onnx.numpy_helper.to_array(constant) + 0.01
    constant.CopyFrom(onnx.numpy_helper.from_array(changed, constant.name))
    onnx.save(model, tmp_path / "lie.onnx")
    with pytest.raises(StepFailed, match="preprocessing differs from test"):
        compare(raw, fitted, data.features, session_of(tmp_path / "lie.onnx"), tmp_path / "test.parquet")


def test_too_few_rows_and_no_feature_at_all_are_said(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="too few"):
        prepared(InMemory(pl.DataFrame({"x": [1.0], "y": [0.5]})), tmp_path / "a")
    unique = pl.DataFrame({"x": [f"id {k}" for k in range(100)], "y": [k / 7 for k in range(100)]})
    with pytest.raises(BadInput, match=r"no column gives a feature.*x \(all different\).*p_param.min_frequency"):
        prepared(InMemory(unique), tmp_path / "b", min_frequency=0.1)


def test_a_csv_file_and_a_parquet_file_of_the_same_table_agree(tmp_path: Path) -> None:
    things().write_csv(tmp_path / "things.csv")
    from_csv = prepared(CsvFile(path=tmp_path / "things.csv", target="y"), tmp_path / "a")
    from_memory = prepared(InMemory(things()), tmp_path / "b")
    assert from_csv.columns == from_memory.columns
    for name in ("train", "test", "holdout"):
        one, other = (pl.read_parquet(d.path / f"{name}.parquet") for d in (from_csv, from_memory))
        assert one.equals(other)


def test_dates_give_what_their_resolution_allows(tmp_path: Path) -> None:
    start = datetime(2023, 11, 30, 22)
    frame = pl.DataFrame(
        {
            "when": [start + timedelta(hours=7 * k) for k in range(200)],
            "day": [start.date() + timedelta(days=k) for k in range(200)],
            "mondays": [date(2024, 1, 1) + timedelta(weeks=k % 4) for k in range(200)],
            "midnight": [datetime(2024, 1, 1) + timedelta(days=40 * (k % 5)) for k in range(200)],
            "y": [float((start + timedelta(hours=7 * k)).hour) for k in range(200)],
        }
    )
    data = prepared(InMemory(frame), tmp_path, scaling=Scaling.NONE)
    assert data.features == (
        *("when", "when month", "when weekday", "when hour", "day", "day month", "day weekday", "mondays"),
        *("midnight", "midnight month", "midnight weekday"),
    )
    train = pl.read_parquet(tmp_path / "train.parquet")
    assert train["when hour"].to_list() == train["__target__"].to_list()


def test_a_timestamp_has_the_day_of_its_time_zone(tmp_path: Path) -> None:
    local = [datetime(2024, 3, 31, 0, 30) + timedelta(days=k) for k in range(60)]
    frame = pl.DataFrame({"when": local, "y": [float(k) for k in range(60)]})
    zoned = frame.with_columns(pl.col("when").dt.replace_time_zone("Europe/Zurich"))
    found = table(InMemory(zoned).rows()).frame.collect()
    assert found["c0"].to_list() == local
    days = InMemory(zoned).rows()
    listed = replace(days, columns=(Column(name="when", dtype=DType.DATE),))
    assert table(listed).frame.collect()["c0"].to_list() == [at.date() for at in local]


def test_the_passes_over_the_data_do_not_grow_with_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    collect = pl.LazyFrame.collect

    def counted(frame: pl.LazyFrame, *args: Any, **named: Any) -> Any:
        passes[-1] += 1
        return collect(frame, *args, **named)

    monkeypatch.setattr(pl.LazyFrame, "collect", counted)
    for columns in (3, 60):
        names = [f"t{n}" for n in range(columns)]
        rows = "".join(f"{','.join(f'v{(k + n) % 4}' for n in range(columns))},{k % 9}\n" for k in range(60))
        Path(f"{columns}.csv").write_text(f"{','.join(names)},y\n{rows}")
        passes.append(0)
        words = ("preprocessing/dataset=csv", f"dataset.path={columns}.csv", "dataset.target=y")
        assert run(["c=preprocessing", *words]).exit_code == 0
    assert passes[0] == passes[1] > 0
