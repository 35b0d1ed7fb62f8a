"""A raw value means the same in training, in a batch prediction and in a request to the server."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tiny_models as tiny
from budget import costly
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, PreparedData, Reading
from when_ml_pipeline_meets_hydra.ml.datasets import values
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.parquet_file import ParquetFile
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, TARGET, table
from when_ml_pipeline_meets_hydra.ml.inputs.data_set import DataSet
from when_ml_pipeline_meets_hydra.ml.preparation import matrix
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import encode, scorer
from when_ml_pipeline_meets_hydra.serving.engine.encode import BadRow, Feeds
from when_ml_pipeline_meets_hydra.serving.http.requests import PredictBody

NULLS = ("NA", "none", "-999")
GOOD: dict[str, Any] = {"weight": 700.5, "seats": 4, "maker": "acme", "sold": True, "built": "1970-01-09"}
TARGETS = [1.5 * k for k in range(12)]
REFUSED = "refused"
# With a format, since training would find another one, and make another model, where the raw value suits it.
COLUMNS = tuple(replace(c, format="%Y-%m-%d") if c.name == "built" else c for c in tiny.COLUMNS)


class Entrances:
    """One model behind the three entrances; each returns the tensors of a raw row, or that it is refused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        reading = self._training(GOOD).rows().reading
        trained = replace(tiny.prepared(folder / "data"), reading=reading, columns=COLUMNS)
        self.data: PreparedData = trained
        (folder / "bundle").mkdir()
        bundling.build(trained, tiny.regression(folder / "model"), folder / "bundle")
        self.scorer = scorer.load(folder / "bundle")

    def _training(self, row: dict[str, Any]) -> CsvFile:
        path = self.folder / "training.csv"
        write_csv(path, [{**GOOD, "y": y} for y in TARGETS] + [{**row, "y": 3.5}])
        columns = (*COLUMNS, Column(name="y", dtype=DType.FLOAT))
        return CsvFile(path=path, target="y", columns=columns, null_values=NULLS)

    def training(self, row: dict[str, Any]) -> Feeds | str:
        """As the last row of a file to train on."""
        dataset = self._training(row)
        if list(dataset.check()):
            return REFUSED
        read = table(dataset.rows()).frame.drop(ROW, TARGET).collect().tail(1)
        return matrix.feeds(read, COLUMNS)

    def batch(self, row: dict[str, Any]) -> Feeds | str:
        """As the only row of a file to predict."""
        path = self.folder / "new.csv"
        write_csv(path, [row])
        return self._batch(DataSet(new_rows=CsvFile(path=path, target="y")))

    def typed_batch(self, row: dict[str, Any]) -> Feeds | str:
        """As the only row of a Parquet file to predict, whose columns have the types of the values."""
        path = self.folder / "new.parquet"
        pl.DataFrame([row]).write_parquet(path)
        return self._batch(DataSet(new_rows=ParquetFile(path=path, target="y")))

    def _batch(self, rows: DataSet) -> Feeds | str:
        try:
            (batch,) = rows.batches(self.data, self.folder)
        except BadInput:
            return REFUSED
        return dict(batch.raw or {})

    def server(self, row: dict[str, Any]) -> Feeds | str:
        """As a request."""
        request = PredictBody.model_validate_json(json.dumps({"rows": [row]}))
        try:
            return request.feeds(self.scorer.manifest)
        except BadRow:
            return REFUSED

    def prediction(self, feeds: Feeds | str) -> Any:
        """What the bundle predicts."""
        return feeds if isinstance(feeds, str) else float(self.scorer.run(feeds)[0].item())


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    def text(value: Any) -> str:
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([text(value) for value in row.values()] for row in rows)


def shown(feeds: Feeds | str) -> Any:
    return feeds if isinstance(feeds, str) else {name: str(array.tolist()) for name, array in feeds.items()}


@pytest.fixture(scope="module")
def entrances(tmp_path_factory: pytest.TempPathFactory) -> Entrances:
    return Entrances(tmp_path_factory.mktemp("entrances"))


WORDS = ["NA", "none", "nan", "null", "", " ", "oak", " oak ", " acme\u00a0", "abc", "yes", "True", "false", "\x1cacme"]
SPELLINGS = ["5", "+5", "05", "5.0", "5.", ".5", "3.5", "1e3", "1E3", "1e400", "inf", "-Infinity", "1_000", "1,5", "٣"]
LARGE = ["9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" * 30, "1" * 400]
DAYS = ["1970-01-09", "1970-1-9", "70-01-09", "19700109", "1970-02-30", "1970-W02-5", "-001-01-01", "0001-01-01"]
MISSING = ["-999", "-999.0", "-9.99e2", " -999 "]
EDGES = [0, 1, 1.0, -999, -999.0, 3.5, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30]
TEXTS = st.sampled_from(WORDS + SPELLINGS + LARGE + DAYS + MISSING) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("0123456789+-.eE, "), max_size=12
)
NUMBERS = st.sampled_from(EDGES) | st.integers(-5, 5)
RAW = TEXTS | NUMBERS | st.booleans() | st.none() | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@costly(40)
@given(st.sampled_from([c.name for c in tiny.COLUMNS]), RAW)
@example("weight", "abc")
@example("seats", 3.5)
@example("sold", "yes")
@example("sold", 1)
@example("built", "20240303")
@example("maker", " acme ")
@example("maker", "NA")
@example("weight", -999.0)
def test_a_raw_row_has_one_answer_at_every_entrance(entrances: Entrances, column: str, value: Any) -> None:
    row = {**GOOD, column: value}
    read = {name: getattr(entrances, name)(row) for name in ("training", "batch", "server")}
    if not isinstance(value, str) and not (isinstance(value, int) and abs(value) >= 2**63):
        read["typed_batch"] = entrances.typed_batch(row)
    assert len({json.dumps(shown(feeds)) for feeds in read.values()}) == 1, {n: shown(f) for n, f in read.items()}
    assert len({entrances.prediction(feeds) for feeds in read.values()}) == 1


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("weight", " 5 ", 5.0),
        ("weight", "-999.0", None),
        ("weight", True, REFUSED),
        ("seats", 3.0, 3.0),
        ("seats", "3.5", REFUSED),
        ("maker", " acme ", "acme"),
        ("maker", "NA", ""),
        ("maker", 5, "5"),
        ("sold", 1, "true"),
        ("sold", "yes", REFUSED),
        ("built", "1970-01-09", 8.0),
        ("built", "20240303", REFUSED),
    ],
)
def test_how_values_are_read(entrances: Entrances, column: str, value: Any, expected: Any) -> None:
    for read in (entrances.training, entrances.batch, entrances.server):
        feeds = read({**GOOD, column: value})
        found = feeds if isinstance(feeds, str) else feeds[column].item()
        assert (None if isinstance(found, float) and np.isnan(found) else found) == expected


@pytest.mark.parametrize(
    ("reading", "text", "expected"),
    [
        (Reading(decimal=","), "3,5", 3.5),
        (Reading(decimal=","), "3.5", 3.5),  # the point can be nothing else
        (Reading(decimal=","), "3.500", None),
        (Reading(thousands=","), "1,204.5", 1204.5),
        (Reading(thousands=","), "1,2,3", None),
        (Reading(decimal=",", thousands="."), "-1.204,5e1", -12045.0),
        (Reading(decimal=",", missing=("-9,50",)), "-9,5", None),
    ],
)
def test_separators_in_numbers(reading: Reading, text: str, expected: float | None) -> None:
    rows = RawRows(frame=pl.LazyFrame({"x": [text], "y": ["1"]}), target="y", reading=reading, columns=tiny.COLUMNS[:1])
    rows = replace(rows, columns=(Column(name="x", dtype=DType.FLOAT), Column(name="y", dtype=DType.FLOAT)))
    assert table(rows).frame.collect()["c0"].to_list() == [expected]
    read, bad = values.read([text], DType.FLOAT, reading)
    assert (read.to_list(), not bad) == ([expected], expected is not None or bool(reading.missing))


@pytest.mark.parametrize(
    ("dtype", "form", "value", "expected"),
    [
        (DType.DATE, "%d/%m/%Y", " 03/04/2024", 19816.0),
        (DType.DATE, "%d/%m/%Y", "2024-04-03", None),
        (DType.DATE, "%Y%m%d", 20240403, 19816.0),
        (DType.DATE, None, 20240403, None),
        (DType.DATE, None, "\x1c2024-04-03", None),
        (DType.DATETIME, None, "2024-04-03T00:00:01.5", 19816 * 86_400 + 1.5),
        (DType.DATETIME, "%d.%m.%y %H:%M", "03.04.24 00:01", 19816 * 86_400 + 60.0),
        (DType.DATETIME, None, "noon", None),
    ],
)
def test_dates_in_a_file_and_in_a_request(dtype: DType, form: str | None, value: Any, expected: float | None) -> None:
    column = Column(name="x", dtype=dtype, format=form)
    y = Column(name="y", dtype=DType.FLOAT)
    rows = RawRows(frame=pl.LazyFrame({"x": [value], "y": ["1"]}), target="y", columns=(column, y))
    in_file = matrix.feeds(table(rows).frame.select("c0").collect(), (column,))["x"].item()
    try:
        in_request = encode.feeds_from_rows((column,), [{"x": value}], rows.reading)["x"].item()
    except BadRow:
        in_request = None
    assert (in_request, None if np.isnan(in_file) else in_file) == (expected, expected)


def test_blanks_are_the_same_for_a_request_and_a_file() -> None:
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    stripped = pl.Series(characters).str.strip_chars().to_list()
    assert {c for c, rest in zip(characters, stripped, strict=True) if not rest} == set(encode.BLANKS)
