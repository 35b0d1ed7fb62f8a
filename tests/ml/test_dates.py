"""Dates and timestamps in texts: one reading of a column and of a single value."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
