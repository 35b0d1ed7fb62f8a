"""Computed columns: the same numbers by Polars, by ONNX and by ``pl.sql_expr``; everything else is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import onnxruntime
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from budget import costly
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.datasets.computed import derived, problems
from when_ml_pipeline_meets_hydra.ml.expressions import read
from when_ml_pipeline_meets_hydra.ml.expressions.columns import with_columns
from when_ml_pipeline_meets_hydra.ml.preparation import graph, matrix
from when_ml_pipeline_meets_hydra.ml.preparation.categories import Category
from when_ml_pipeline_meets_hydra.ml.preparation.fit import Fitted, Number

DTYPES = {
    "a": DType.FLOAT,
    "b": DType.FLOAT,
    "whole": DType.INT,
    "maker": DType.STRING,
    "place": DType.STRING,
    "sold": DType.BOOL,
    "day": DType.DATE,
    "other day": DType.DATE,
    "moment": DType.DATETIME,
}
COLUMNS = tuple(Column(name=name, dtype=dtype) for name, dtype in DTYPES.items())
PLACES = {name: f"c{k}" for k, name in enumerate(DTYPES)}
TYPES: Mapping[DType, Any] = {
    DType.FLOAT: pl.Float64,
    DType.INT: pl.Int64,
    DType.STRING: pl.String,
    DType.BOOL: pl.Boolean,
    DType.DATE: pl.Date,
    DType.DATETIME: pl.Datetime("us"),
}
NUMBERS = st.one_of(
    st.none(), st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e200, -1e200, 1e-300]), st.floats(-1e6, 1e6)
)
VALUES: Mapping[DType, st.SearchStrategy[Any]] = {
    DType.FLOAT: NUMBERS,
    DType.INT: st.none() | st.integers(-5, 5) | st.integers(-(10**9), 10**9),
    DType.STRING: st.none() | st.sampled_from(["x", "y", "it's", "unknown", "é"]),
    DType.BOOL: st.none() | st.booleans(),
    DType.DATE: st.none() | st.dates(date(1, 1, 1), date(9999, 12, 31)),
    DType.DATETIME: st.none() | st.datetimes(datetime(1700, 1, 1), datetime(2200, 12, 31)),
}
ROWS = st.lists(st.fixed_dictionaries({n: VALUES[d] for n, d in DTYPES.items()}), min_size=1, max_size=8)


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([dict(row) for row in rows], schema={n: TYPES[d] for n, d in DTYPES.items()}, orient="row")


def by_polars(text: str, rows: pl.DataFrame) -> list[Any]:
    made = with_columns(rows.rename(PLACES).lazy(), {"made": read.typed(text, DTYPES)}, PLACES, DTYPES)
    return made.collect()["made"].to_list()


def by_onnx(text: str, rows: pl.DataFrame) -> list[Any]:
    """By the graph of a preprocessing whose only features are those of the computed column."""
    (made,) = derived({"made": text}, DTYPES)
    index = len(COLUMNS)
    words = ("true", "false") if made.column.dtype is DType.BOOL else ("x", "y", "it's", "unknown", "é", "low", "high")
    number = Number(index=index, fill=0.0, center=0.0, scale=1.0, indicator=True)
    is_text = made.column.dtype.is_text
    fitted = Fitted(
        columns=(*COLUMNS, made.column),
        derived=(made,),
        numbers=() if is_text else (number,),
        categories=(Category(index=index, values=("", *words)),) if is_text else (),
    )
    model = graph.build(fitted)
    # The doubles before they become features.
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = matrix.feeds(rows.rename(PLACES), COLUMNS)
    found = session.run(None, feeds)[0]
    if is_text:
        at = found.argmax(axis=1)
        assert (found.sum(axis=1) == 1).all()
        named = [("", *words)[k] or None for k in at]
        return [None if n is None else n == "true" for n in named] if made.column.dtype is DType.BOOL else named
    return [None if missing else value for value, missing in found.tolist()]


def same(found: Sequence[Any], expected: Sequence[Any], *, single: bool = False) -> None:
    """Texts and conditions are equal, numbers within rounding: of doubles, or of the 32-bit floats of features."""
    assert [x is None for x in found] == [x is None for x in expected], (found, expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, float) and isinstance(other, float | int):
            limited = min(max(other, -matrix.LARGEST), matrix.LARGEST) if single else other
            assert math.isclose(one, limited, rel_tol=1e-6 if single else 1e-12, abs_tol=1e-37), (found, expected)
        else:
            assert one == other, (found, expected)


def calls(*functions: str, of: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda f, x: f"{f}({x})", st.sampled_from(functions), of)


def expressions(*, exact: bool) -> dict[str, st.SearchStrategy[str]]:
    """Expressions by kind; ``exact``: of operations that mean the same in ``pl.sql_expr`` whatever the numbers are."""
    numbers = st.sampled_from(["a", "b", "whole", "0", "1", "2.5", "a", "b"])
    texts = st.sampled_from(["maker", "place", "'x'", "'it''s'", "maker"])
    days = st.sampled_from(["day", '"other day"', "DATE '2020-02-29'"])
    times = st.just("moment") if exact else days | st.just("moment")
    made: dict[str, st.SearchStrategy[str]] = {}

    def condition(numbers: st.SearchStrategy[str], more: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        compare = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
        return st.one_of(
            st.builds(lambda o, x, y: f"{x} {o} {y}", compare, numbers, numbers),
            st.builds(lambda o, x, y: f"{x} {o} {y}", st.sampled_from(["=", "<>"]), texts, texts),
            st.builds(lambda o, x, y: f"{x} {o} {y}", compare, days, days),
            st.builds(lambda x, y, z: f"{x} BETWEEN {y} AND {z}", numbers, numbers, numbers),
            st.builds(lambda x, n: f"{x} {n}IN ('x', 'y')", st.just("maker"), st.sampled_from(["", "NOT "])),
            st.builds(lambda x, n: f"{x} IS {n}NULL", numbers | texts | st.just("sold"), st.sampled_from(["", "NOT "])),
            st.builds(lambda o, x, y: f"({x}) {o} ({y})", st.sampled_from(["AND", "OR"]), more, more),
            st.builds(lambda x: f"NOT ({x})", more),
            st.builds(lambda x: f"COALESCE({x}, sold)", more) if not exact else st.just("sold"),
            st.just("sold"),
        )

    simple = condition(numbers, st.just("sold"))

    def arithmetic(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operators = ["+", "-", "*"] if exact else ["+", "-", "*", "/"]
        functions = ["ABS", "FLOOR", "CEIL"] if exact else ["ABS", "FLOOR", "CEIL", "LN", "LOG10", "SQRT", "EXP"]
        when = condition(inner, simple)
        parts = ["year", "quarter", "month", "week", "day", "dow", "isodow", "doy"]
        return st.one_of(
            st.builds(lambda o, x, y: f"({x} {o} {y})", st.sampled_from(operators), inner, inner),
            calls(*functions, of=inner),
            st.builds(lambda x, y: f"COALESCE({x}, {y})", inner, inner),
            st.builds(lambda w, x, y: f"CASE WHEN {w} THEN {x} ELSE {y} END", when, inner, inner),
            st.builds(lambda w, v, x: f"CASE WHEN {w} THEN {x} WHEN {v} THEN 7.5 END", when, when, inner),
            st.builds(lambda x, y: f"NULLIF({x}, {y})", inner, inner),
            *([] if exact else [st.builds(lambda x, y: f"POWER({x}, {y})", inner, inner)]),
            *([] if exact else [st.builds(lambda x, y: f"({x} - {y})", times, times)]),
            *([] if exact else [st.builds(lambda p, d: f"EXTRACT({p} FROM {d})", st.sampled_from(parts), days)]),
            *([] if exact else [st.builds(lambda p: f"DATE_PART('{p}', moment)", st.sampled_from([*parts, "hour"]))]),
        )

    made["number"] = st.recursive(numbers, arithmetic, max_leaves=8)
    made["condition"] = condition(made["number"], simple)
    made["text"] = st.builds(
        lambda w, x: f"CASE WHEN {w} THEN {x} ELSE 'high' END",
        made["condition"],
        texts | st.just("COALESCE(place, 'low')"),
    )
    return made


def any_of(kinds: Mapping[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    def names(text: str) -> set[str]:
        return set(re.findall(r"\w+", re.sub("'[^']*'", "", text))) & set(DTYPES)

    return st.one_of(*kinds.values()).filter(names)


@costly(60)
@given(any_of(expressions(exact=False)), ROWS)
@example("COALESCE(a / b, 0)", [dict.fromkeys(DTYPES) | {"a": 1.0, "b": 0.0}])
@example("a * a - a * a", [dict.fromkeys(DTYPES) | {"a": 1e200}])
@example("POWER(a, b)", [dict.fromkeys(DTYPES) | {"a": 1.0}, dict.fromkeys(DTYPES) | {"b": 0.0}])
@example(
    "EXTRACT(week FROM day)", [dict.fromkeys(DTYPES) | {"day": date(y, 1, d)} for y in (2021, 2026) for d in (1, 4)]
)
def test_polars_and_onnx_compute_the_same(text: str, rows: list[dict[str, Any]]) -> None:
    table = frame(rows)
    same(by_onnx(text, table), by_polars(text, table), single=True)


@costly(60)
@given(any_of(expressions(exact=True)), ROWS)
def test_the_notation_is_that_of_polars(text: str, rows: list[dict[str, Any]]) -> None:
    table = frame(rows).with_columns(pl.col("whole").cast(pl.Float64), pl.col("a", "b").clip(-1e6, 1e6))
    expected = table.select(made=pl.sql_expr(text))["made"]
    found = by_polars(text, table.with_columns(pl.col("whole").cast(pl.Int64)))
    same(found, [float(x) if isinstance(x, int) and not isinstance(x, bool) else x for x in expected.to_list()])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a / b", [2.0, None, None, None]),
        ("whole / 2", [1.5, 0.0, -3.5, None]),
        ("1 / whole", [1 / 3, None, -1 / 7, None]),
        ("LN(a)", [math.log(4), None, None, None]),
        ("LOG(a)", [math.log(4), None, None, None]),
        ("LOG(a, 2)", [2.0, None, None, None]),
        ("LOG2(a) + LOG10(a * 25)", [4.0, None, None, None]),
        ("SQRT(a)", [2.0, 0.0, None, None]),
        ("EXP(a * 1000)", [None, 1.0, 0.0, None]),
        ("-a", [-4.0, 0.0, 1.0, None]),
        ("COALESCE(a / b, whole, 9)", [2.0, 0.0, -7.0, 9.0]),
        ("CASE maker WHEN 'x' THEN 1 WHEN 'y' THEN 2 END", [1.0, 2.0, None, None]),
        ("CASE WHEN sold THEN 'low' WHEN a < 0 THEN 'high' END", ["low", None, "high", None]),
        ("maker = 'x'", [True, False, False, None]),
        ("maker = place", [True, False, None, None]),
        ("sold AND a > 0", [True, False, False, None]),
        ("sold OR a >= 0", [True, True, None, None]),
        ("sold IS NOT TRUE", [False, True, True, True]),
        ("day > '2020-02-28'", [True, False, None, None]),
        ('"other day" - day', [366.0, 31.0, None, None]),
        ("moment - day", [0.5, 1.0, None, None]),
        ("EXTRACT(year FROM day) * 100 + EXTRACT(month FROM day)", [202002.0, 190003.0, None, None]),
        ("EXTRACT(HOUR FROM moment) + DATE_PART('minute', moment) / 60", [12.0, 0.0, None, None]),
        ("EXTRACT(epoch FROM moment)", [1582977600.0, -2203804799.0, None, None]),
        ("EXTRACT(second FROM moment)", [0.0, 1.0, None, None]),
    ],
)
def test_what_expressions_mean(text: str, values: list[Any]) -> None:
    """Whatever is not finite is missing; whole numbers are divided as fractions; an unknown text is another one."""
    first = {"a": 4.0, "b": 2.0, "whole": 3, "maker": "x", "place": "x", "sold": True, "day": date(2020, 2, 29)}
    second = {"a": 0.0, "b": 0.0, "whole": 0, "maker": "y", "place": "x", "sold": False, "day": date(1900, 3, 1)}
    first |= {"other day": date(2021, 3, 1), "moment": datetime(2020, 2, 29, 12)}
    second |= {"other day": date(1900, 4, 1), "moment": datetime(1900, 3, 2, 0, 0, 1)}
    third = {**dict.fromkeys(DTYPES), "a": -1.0, "whole": -7, "maker": "new"}
    table = frame([first, second, third, dict.fromkeys(DTYPES)])
    if text == "moment - day":
        values = [0.5, 1 + 1 / 86_400, None, None]
    found = by_polars(text, table)
    assert [pytest.approx(x) if isinstance(x, float) else x for x in values] == found
    same(by_onnx(text, table), found, single=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SIN(a)", "the function SIN cannot be used in an expression. Allowed are + - * / ="),
        ("trim(maker)", "the function TRIM cannot be used in an expression. Allowed are"),
        ("SUM(a) OVER ()", "'SUM(a) OVER ()' cannot be used in an expression"),
        ("CAST(a AS INT)", "CAST cannot be used in an expression: CAST(a AS INT)"),
        ("maker LIKE 'x'", "'maker LIKE 'x'' cannot be used"),
        ("(SELECT 1)", "'(SELECT 1)' cannot be used"),
        ("a % 2", "'a % 2' cannot be used"),
        ("a +", "this is no expression in SQL's notation at '+' (character 3)"),
        ("(" * 500 + "a" + ")" * 500, "it has more than 60 levels inside each other"),
        ("+".join(["a"] * 500), "it has more than 60 levels inside each other"),
        ("hole / 2", "there is no column 'hole' in the data. Did you mean 'whole'"),
        ("t.a", "a column has no table"),
        ("1 / 2", "it names no column"),
        ("price / 2", "it reads 'price', the column to predict"),
        ("maker + 1", "+ needs a number, and has a text"),
        ("sold * 2", "* needs a number, and has a condition. CASE WHEN … THEN 1 ELSE 0 END makes a number"),
        ("a AND sold", "AND needs a condition, and has a number"),
        ("maker > 'x'", "a text has no order"),
        ("a = 'x'", "a comparison needs values of one type, and has a number and a text"),
        ("day + 1", "+ needs a number, and has a date"),
        ("day > 'x'", "'x' is not a date. Write it like '2026-01-31'"),
        ("EXTRACT(hour FROM day)", "there is no part HOUR of a date. Allowed are year, quarter"),
        ("EXTRACT(year FROM a)", "EXTRACT needs a date or a timestamp"),
        ("1e999 * a", "the number 1e999 is too large"),
        ("LN(a, 2)", "LN takes 1 value, not 2"),
        ("CASE WHEN sold THEN 1 ELSE 'x' END", "CASE needs values of one type"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    (found,) = problems({"made": text}, DTYPES, "price")
    assert found.key == "features.made"
    assert message in f"{found.message}. {found.remedy}"


def test_names_are_those_of_the_data_and_of_no_other_column() -> None:
    (found,) = problems({"a": "b * 2"}, DTYPES, "price")
    assert "the data have a column of that name" in found.message
    assert not list(problems({"made": '"other day" - day'}, DTYPES, "price"))
    assert [d.column.dtype for d in derived({"made": "a", "also": "sold"}, DTYPES)] == [DType.BOOL, DType.FLOAT]
