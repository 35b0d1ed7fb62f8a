"""Numbers with other marks than a decimal point: the overrides in messages make them numbers, or there are none."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Reading
from when_ml_pipeline_meets_hydra.ml.datasets import number_marks, number_signs
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile
from when_ml_pipeline_meets_hydra.ml.datasets.number_marks import Marks
from when_ml_pipeline_meets_hydra.ml.datasets.table import Table, table
from when_ml_pipeline_meets_hydra.ml.datasets.values import read

NUMBERS = (DType.INT, DType.FLOAT)
USUAL = [Marks(d, t) for d in ".," for t in ("", ",", ".", "'", " ", "\u202f") if d != t]
STYLES = st.tuples(st.sampled_from(USUAL), st.integers(0, 2), st.sampled_from([9, 99_999, 9_999_999]))


@st.composite
def columns(draw: st.DrawFn) -> list[str]:
    """A column of numbers in one style, perhaps with a text that is none."""
    marks, decimals, most = draw(STYLES)
    numbers = draw(st.lists(st.integers(0, most), min_size=6, max_size=6))
    texts = [f"{n / 10**decimals:,.{decimals}f}" for n in numbers]
    texts = [t.translate({ord(","): marks.thousands, ord("."): marks.decimal}) for t in texts]
    if draw(st.integers(0, 4)) == 0:
        texts[-1] = "tall"
    return texts


def made(a: list[str], b: list[str], **keys: str) -> Table:
    lines = (f"{first}|{second}|{k}" for k, (first, second) in enumerate(zip(a, b, strict=True)))
    Path("d.csv").write_text("\n".join(["a|b|y", *lines]))
    return table(CsvFile(path=Path("d.csv"), target="y", separator="|", **keys).rows())  # type: ignore[arg-type]


def overrides(text: str) -> dict[str, str]:
    """The keys in the words of a shell, with Hydra's quotes removed."""
    words = (word.removeprefix("dataset.").partition("=") for word in shlex.split(text))
    return {key: re.sub(r"^(['\"])(.*)\1$", r"\2", value) for key, _, value in words}


def dtypes(found: Table) -> dict[str, DType]:
    return {c.name: c.dtype for c in found.columns}


@settings(max_examples=80, deadline=None)
@given(a=columns(), b=columns())
@pytest.mark.integration
def test_what_is_advised_makes_a_column_of_numbers_and_spoils_none(a: list[str], b: list[str]) -> None:
    before = made(a, b)
    for name, looks in before.remarks.looks.items():
        described, _, advised = looks.partition(": ")
        assert described.startswith("numbers with")
        for choice in filter(None, advised.split(" or ")):
            after = dtypes(made(a, b, **overrides(choice)))
            assert after[name] in NUMBERS
            assert all(after[c] in NUMBERS for c, dtype in dtypes(before).items() if dtype in NUMBERS)
    for name, texts in (("a", a), ("b", b)):
        is_text = dtypes(before)[name] is DType.STRING and "tall" not in texts
        if is_text and ": " not in before.remarks.looks.get(name, ""):
            suggested = number_marks.candidates(list(dict.fromkeys(texts)), Reading())
            others = [m for m in suggested if set(dtypes(made(a, b, **m._asdict())).values()) <= set(NUMBERS)]
            assert not others


def test_the_advised_overrides_can_be_pasted() -> None:
    base = ["c=preprocessing", "preprocessing/dataset=csv", "dataset.path=d.csv", "dataset.target=y"]
    Path("d.csv").write_text("a,y\n1,2\n")
    for marks in USUAL[1:]:
        ((_, call),) = bind(compose([*base, *shlex.split(number_marks.advice([marks], Reading()))])).calls
        reading = call.arguments["dataset"].rows().reading
        assert Marks(reading.decimal, reading.thousands) == marks
        assert number_marks.advice([marks], replace(reading, missing=())) == ""


def written(values: list[str], target: list[str]) -> None:
    lines = (f"{x};{k};{y}" for k, (x, y) in enumerate(zip(values, target, strict=True)))
    Path("d.csv").write_text("\n".join(["x;k;y", *lines]))


WORDS = ("c=preprocessing", "preprocessing/dataset=csv", "dataset.path=d.csv", "dataset.separator=';'")
COMMA = [f"{k % 7},5" for k in range(40)]


@pytest.mark.parametrize(
    ("x", "y", "words", "message"),
    [
        (COMMA, COMMA, [], "dataset.target=y: its texts, such as '0,5', look like numbers, and would be taken for"),
        (COMMA, COMMA, [], "Write dataset.decimal=',', or dataset.task=classification if they are classes"),
        ([*map(str, range(38)), "3,5", "4,5"], COMMA, [], "Write dataset.decimal=','\n"),
        (COMMA, COMMA, ["dataset.columns=[{name: x, dtype: float}]"], "Write dataset.decimal=','\n"),
        (["1.500"] * 40, COMMA, ["dataset.task=regression"], "look like numbers with a decimal comma, and cannot"),
    ],
)
def test_messages_about_such_numbers(x: list[str], y: list[str], words: list[str], message: str) -> None:
    written(x, y)
    done = inside(*WORDS, "dataset.target=y", *words)
    assert (done.code, message in done.err) == (2, True), done.err


def test_other_columns_that_have_a_decimal_point() -> None:
    """12.34 has one reading beside a decimal comma, and 1.500 two."""
    written(COMMA, [f"{k}.5" for k in range(40)])
    assert "x (looks like numbers with a decimal comma: dataset.decimal=',')" in inside(*WORDS, "dataset.target=y").out
    done = inside(*WORDS, "dataset.target=y", "dataset.decimal=','")
    assert "d: 32 rows to train on, 8 held out, 2 features" in done.out, done.out + done.err
    written(COMMA, [f"{k + 1}.500" for k in range(40)])
    assert "x (looks like numbers with a decimal comma, unlike other columns)" in inside(*WORDS, "dataset.target=y").out


MONEY = [f"${k % 7}.50" for k in range(40)]


@pytest.mark.parametrize(
    ("texts", "looks"),
    [
        (MONEY, "amounts of money"),
        (["-1,204.50 EUR", "($5)", "12 EUR"], "amounts of money"),
        (["10.7%", "5 %", "-3%"], "percentages"),
        (["7", "(5)", "8"], "numbers with a sign as in '(5)'"),
        (["7", "5-", "8"], "numbers with a sign as in '5-'"),
        (["7", "- 5", "8"], "numbers with a sign as in '- 5'"),
        (["7", "\u20135", "8"], "numbers with a sign as in '\u20135'"),
        (["7 km", "5km", "1,200 km"], "numbers with the unit km"),
        (["7 km", "5 mi"], ""),
        (["oak", "elm"], ""),
        (["(5", "7"], ""),
    ],
)
def test_what_numbers_with_signs_look_like(texts: list[str], looks: str) -> None:
    assert number_signs.described(texts, 0.9) == looks


def test_a_target_of_numbers_with_signs_is_refused_and_a_feature_named() -> None:
    for y, kind in ((MONEY, "amounts of money"), ([f"{k}%" for k in range(40)], "percentages")):
        written([f"({k % 9 + 1})" if k % 3 else "4" for k in range(40)], y)
        done = inside(*WORDS, "dataset.target=y")
        said = f"dataset.target=y: its texts, such as '{y[0]}', look like {kind}, and would be taken for classes\n"
        assert (done.code, said in done.err) == (2, True), done.err
        assert "Write plain numbers into the data, or dataset.task=classification if they are classes" in done.err
        assert "look like" in inside(*WORDS, "dataset.target=y", "dataset.task=regression").err
    done = inside(*WORDS, "dataset.target=x", "dataset.task=classification", "dataset.exclude=[y]")
    assert "read as texts: x (looks like numbers with a sign as in '(2)')" in done.out, done.out + done.err


def test_the_minus_of_unicode_is_a_minus() -> None:
    """In a file, in a list of values as a request has them, and among numbers with thousands."""
    written([f"\u2212{k}.5" if k % 2 else f"{k}" for k in range(40)], [f"\u2212{k}" for k in range(40)])
    done = inside(*WORDS, "dataset.target=y")
    assert "d: 32 rows to train on, 8 held out, 2 features\n" in done.out, done.out + done.err
    assert "texts" not in done.out
    values, bad = read(["\u22121.5", "\u22121e\u22122", "5\u22123"], DType.FLOAT, Reading())
    assert (values.to_list(), bad) == ([-1.5, -0.01, None], [2])
    assert read(["\u22121.234", "\u22125"], DType.INT, Reading(thousands="."))[0].to_list() == [-1234, -5]
