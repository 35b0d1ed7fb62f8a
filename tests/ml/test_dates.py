"""Dates and timestamps in texts: one reading of a column and of a single value."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.ml import dates

GIVEN = ("%Y%m%d", "%Y%m%d%H%M", "%m/%Y", "%d.%m.%Y %H", "%y%m%d", "%Y-%m-%d %H:%M:%S.%f%z")
moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)) | st.datetimes(
    datetime(1969, 1, 1), datetime(2068, 12, 31)
)


@st.composite
def texts(draw: st.DrawFn, form: str | None) -> str:
    """A text in a format, or nearly."""
    when = draw(moments)
    written = when.replace(tzinfo=UTC).strftime((form or "%Y-%m-%dT%H:%M:%S").replace("%Y", f"{when.year:04d}"))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(written) - 1))
        written = (
            written[:place] + draw(st.sampled_from(["", "0", "9", "/", ".", "-", "a", "T"])) + written[place + 1 :]
        )
    return written.strip()


@pytest.mark.parametrize("form", [None, *dates.FORMATS, *GIVEN])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_column_and_a_single_text_are_read_alike(form: str | None, data: st.DataObject) -> None:
    written = data.draw(st.lists(texts(form), min_size=1, max_size=30))
    read = pl.DataFrame({"x": written}).lazy().select(dates.moment(pl.col("x"), form)).collect()["x"].to_list()
    assert read == [dates.parse(text, form) for text in written]


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2024-03-31T00:30:00+02:00", None, datetime(2024, 3, 31, 0, 30)),
        ("2024-03-31 10:00Z", None, datetime(2024, 3, 31, 10)),
        ("2024-03-31", None, datetime(2024, 3, 31)),
        ("2024-03-31T10:00:00.1234567", None, datetime(2024, 3, 31, 10, 0, 0, 123456)),
        ("2024-02-30", None, None),
        ("2024-03-31T24:00", None, None),
        ("2024-03-31T10:00.5", None, None),
        ("0000-01-01", None, None),
        ("1/2/2024", "%d/%m/%Y", datetime(2024, 2, 1)),
        ("31/01/69", "%d/%m/%y", datetime(1969, 1, 31)),
        ("31/01/68", "%d/%m/%y", datetime(2068, 1, 31)),
        ("5 MAR 2024", "%d %b %Y", datetime(2024, 3, 5)),
        ("03/05/2024 12:07 am", "%m/%d/%Y %I:%M %p", datetime(2024, 3, 5, 0, 7)),
        ("20240305", "%Y%m%d", datetime(2024, 3, 5)),
        ("03/2024", "%m/%Y", datetime(2024, 3, 1)),
    ],
)
def test_what_a_text_means(text: str, form: str | None, expected: datetime | None) -> None:
    assert dates.parse(text, form) == expected
    assert pl.select(dates.moment(pl.lit(text), form)).item() == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["2024-01-05", "2024-12-31"], [None, "%Y-%m-%d"]),
        (["05/01/2024", "31/12/2024"], ["%d/%m/%Y"]),
        (["05/01/2024", "11/12/2024"], ["%d/%m/%Y", "%m/%d/%Y"]),
        (["5. 1.", "x"], []),
        ([], []),
    ],
)
def test_formats_are_found(written: list[str], expected: list[str | None]) -> None:
    assert dates.formats(written) == expected


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("%Y-%q", "'%q' is no part of a date"),
        ("%Y", "no part for a month"),
        ("%d/%m", "no part for a year"),
        ("%Y %y-%m", "two parts for a year"),
        ("%d/%m/%Y %I:%M", "%I and %p need each other"),
        ("%d/%m/%Y %S", "%M needs an hour"),
        ("%d/%m/%Y %", "'%' is no part"),
    ],
)
def test_a_format_that_cannot_be_read(form: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dates.pattern(form)


@given(st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)))
def test_as_numbers(when: datetime) -> None:
    assert dates.seconds(when) == (when - datetime(1970, 1, 1)) / timedelta(seconds=1)
    assert dates.days(when) == (when.date() - date(1970, 1, 1)).days


def prepared(*words: str) -> str:
    """What is said of a data set."""
    done = inside("c=preprocessing", "dataset.target=y", *words)
    assert done.code == 0, done.err
    return done.out


def test_whole_numbers_that_look_like_dates_are_named() -> None:
    rows = pl.DataFrame(
        {
            "day": [20240101 + 100 * (k % 12) + k % 28 for k in range(40)],
            "month": [202401 + k % 12 for k in range(40)],
            "moment": [20240131134500 + k for k in range(40)],
            "id": [10_000_001 + k for k in range(40)],
            "hour": [20240101 + 1_000_000 * k for k in range(40)],
            "y": [k / 3 for k in range(40)],
        }
    )
    rows.write_csv("rows.csv")
    rows.write_parquet("rows.parquet")
    for kind in ("csv", "parquet"):
        words = (f"preprocessing/dataset={kind}", f"dataset.path=rows.{kind}")
        named = "day (looks like dates %Y%m%d), month (looks like dates %Y%m), moment (looks like dates %Y%m%d%H%M%S)"
        assert f"rows: read as numbers: {named}\n" in prepared(*words)
    profile = inside("c=preprocessing", "c/preprocessing_sub=profile", *words, "dataset.target=y").out
    assert f"read as numbers: {named}" in profile, profile
    as_dates = "dataset.columns=[{name: day, format: '%Y%m%d'}]"
    assert "looks like" not in prepared(*words, as_dates)


def test_how_times_with_a_zone_are_read_is_said() -> None:
    times = [datetime(2024, 3, 30, 23, 30, tzinfo=UTC) + timedelta(hours=k) for k in range(40)]
    rows = pl.DataFrame({"one": [f"{t:%Y-%m-%dT%H:%M}:00+0100" for t in times], "y": [k / 3 for k in range(40)]})
    rows = rows.with_columns(
        two=pl.when(pl.col("y") < 5).then(pl.lit("2024-03-30T10:00:00+01:00")).otherwise(pl.lit("2024-04-01 10:00+02")),
        z=pl.Series([f"{t:%Y-%m-%d %H:%M}Z" for t in times]),
        local=pl.Series([f"{t:%Y-%m-%d %H:%M}" for t in times]),
    )
    rows.write_csv("rows.csv")
    said = prepared("preprocessing/dataset=csv", "dataset.path=rows.csv")
    assert "time zones: one (as written, in +0100), two (as written, without their offsets +01:00, +02), " in said
    assert "z (as written, in UTC)\n" in said
    rows.select("y", at=pl.Series(times).dt.convert_time_zone("Europe/Zurich")).write_parquet("rows.parquet")
    words = ("preprocessing/dataset=parquet", "dataset.path=rows.parquet", "dataset.target=y")
    assert "rows: time zones: at (as written, in Europe/Zurich)\n" in prepared(*words)
    assert (
        "time zones: at (as written, in Europe/Zurich)"
        in inside("c=preprocessing", "c/preprocessing_sub=profile", *words).out
    )
    with sqlite3.connect("rows.sqlite") as database:
        database.execute("CREATE TABLE events (two TEXT, y REAL)")
        database.executemany("INSERT INTO events VALUES (?, ?)", rows.select("two", "y").rows())
    schema = ("schema.name=events", "schema.target={name:y,dtype:float}", "schema.features=[{name:two,dtype:datetime}]")
    table = ("preprocessing/dataset=table", "preprocessing/connection=sqlite", "connection.path=rows.sqlite")
    done = inside("c=preprocessing", *table, *schema, "preprocessing/schema=cars", "schema.task=auto")
    assert "time zones: two (as written, without their offsets +01:00, +02)" in done.out, done.err


def test_the_unit_of_a_target_that_is_a_date_is_named() -> None:
    days = [date(2024, 1, 1) + timedelta(days=k % 30) for k in range(60)]
    rows = pl.DataFrame({"x": [k % 30 for k in range(60)], "y": days, "at": [f"{d}T10:00:00" for d in days]})
    rows.write_csv("rows.csv")
    words = ("preprocessing/dataset=csv", "dataset.path=rows.csv")
    assert "rows: the target y is a date: predictions are days since 1970-01-01\n" in prepared(*words)
    of_moments = inside("c=preprocessing", *words, "dataset.target=at").out
    assert "the target at is a datetime: predictions are seconds since 1970-01-01" in of_moments
