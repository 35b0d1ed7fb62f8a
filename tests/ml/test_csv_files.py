"""CSV files: every row of a file is in the table, or the file is refused with the number of a row."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import Finished
from small_pipeline import inside
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.datasets import csv_scan
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile
from when_ml_pipeline_meets_hydra.ml.datasets.csv_reading import open_records
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.parquet_file import ParquetFile
from when_ml_pipeline_meets_hydra.ml.datasets.table import table

Rows = list[tuple[str, ...]]


def written(content: bytes | str, name: str = "data.csv") -> Path:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(name)


def rows_of(content: bytes | str, separator: str = ",", encoding: str | None = None) -> tuple[tuple[str, ...], Rows]:
    records = open_records(written(content), separator, encoding)
    rows = records.frame().collect(engine="streaming").rows()
    return records.names, [tuple(value or "" for value in row) for row in rows]


def refused(content: bytes | str, encoding: str | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        rows_of(content, encoding=encoding)
    (problem,) = caught.value.problems
    assert problem.key == "path"
    return f"{problem.message} | {problem.remedy}"


TWO = [("1", "x"), ("2", "y")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,x\n2,y\n", TWO),
        ("a,b\r\n1,x\r\n2,y", TWO),
        ("a,b\r1,x\r2,y\r", TWO),
        ("\n\na,b\n1,x\n\n  \n2,y\n\n", TWO),
        ("\ufeffa,b\n1,x\n2,y\n", TWO),
        ('" a "," b"\n"1","x"\n2,y\n', TWO),
        ('a, "b"\n1, "x"\n2, y\n', TWO),
        ('a,b\n1,5" pipe\n2,6" pipe\n', [("1", '5" pipe'), ("2", '6" pipe')]),
        ('a,b\n1,5" pipe\n2,"6"" pipe, long"\n', [("1", '5" pipe'), ("2", '6" pipe, long')]),
        ('a,b\n1,"x\ny"\n2,"y, ""z"""\n', [("1", "x\ny"), ("2", 'y, "z"')]),
        ("a,b\n1,\n,y\n", [("1", ""), ("", "y")]),
        ("a,b\n1,ä\n2,ö\n".encode("utf-16"), [("1", "ä"), ("2", "ö")]),
        (gzip.compress(b"a,b\n1,x\n2,y\n", mtime=0), TWO),
    ],
)
def test_one_right_reading(content: bytes | str, expected: Rows) -> None:
    assert rows_of(content) == (("a", "b"), expected)


def test_other_encodings_and_separators() -> None:
    assert rows_of("a,b\n1,Größe\n".encode("latin-1"), encoding="latin-1") == (("a", "b"), [("1", "Größe")])
    assert rows_of("a\tb\n1\tx,y\n", separator="\t") == (("a", "b"), [("1", "x,y")])
    assert "are not cp1252" in refused(b"a,b\n1,\x81\n", encoding="cp1252")
    assert "are not ascii" in refused("a,b\n1,ä\n", encoding="ascii")
    marked = "a,b\n1,ä\n".encode("utf-16")
    assert rows_of(marked, encoding="utf-16-le")[1] == [("1", "ä")]
    assert rows_of("\ufeffa,b\n1,ä\n", encoding="utf8")[1] == [("1", "ä")]
    for other in ("utf-8", "latin-1", "ascii"):
        message = f"the file begins with the mark of utf-16, so that it is not {other} | Write dataset.encoding=utf-16"
        assert message in refused(marked, encoding=other)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "the file is empty"),
        ("a,b\n1,x\n2\n", "row 2 (line 3) has 1 field, and the header 2"),
        ("a,b\n1,x\n\n2,y,z\n", "row 2 (line 4) has 3 fields, and the header 2"),
        ('a,b\n"1\\"",x\n"2",y\n', "row 1 (line 2) has text after a closing quote; a backslash before a quote"),
        ('a,b\n1,"x" y\n', "row 1 (line 2) has text after a closing quote"),
        ('a,b\n1,x\n2,"y\n', "row 2 (line 3) has a quote that is never closed"),
        (b"a,b\n1,x\n2,\xe4\n", "row 2 (line 3) has the bytes e4, which are not UTF-8 | Write what the file"),
        ('a,"b"x\n1,x\n', "the header (line 1) has text after a closing quote"),
        ('a,"b\n1,x\n', "the header (line 1) has a quote that is never closed"),
        (b"a,\xe4\n1,x\n", "the header (line 1) has the bytes e4"),
        (b'a,b\n1,"x\ny"\n2,\xe4\n', "row 2 (line 4) has the bytes e4"),
        (b'a,b\n\n1,5" \xe4\n', "row 1 (line 3) has the bytes e4"),
        ("a,b\n1,x\n".encode("utf-16-le"), "dataset.encoding=utf-16-le"),
        ("a;b\n1;x\n", "there is a single column, 'a;b', if ',' separates the values | Write dataset.separator=';'"),
        ("a\tb\n1\t2,5\n", "Write dataset.separator='\\t'"),
        ("a;b\n1,5;2\n", "Write dataset.separator=';'"),
        ("a,b, a\n1,x,2\n", "the name 'a' stands more than once in the header: in the columns 1, 3"),
        (gzip.compress(b"a,b\n1,x\n" * 9, mtime=0)[:-9], "damaged or cut off"),
    ],
)
def test_no_single_right_reading(content: bytes | str, expected: str) -> None:
    assert expected in refused(content)


PIECES = st.sampled_from(
    [*(bytes([b]) for b in b',\n\r" a1\\\xe4\0'), b"\r\n", b'""', b'","', b"\n1,2,3\n", "ä".encode()]
)


def as_csv_reads(content: bytes) -> Rows:
    """The records as Python's csv module reads them, without empty lines."""
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    records = list(csv.reader(text, strict=True, skipinitialspace=True))
    return [tuple(r) for r in records if r and not (len(r) == 1 and not r[0].strip())]


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(PIECES, max_size=25), tail=st.binary(max_size=3), size=st.sampled_from([4, 16, 1 << 20]))
@example(pieces=[b"1,", b'"2', b'",3', b"\r"], tail=b"", size=4)
@example(pieces=[b"1,2,3\n", b'4,5" x,6', b"\n"], tail=b"", size=4)
def test_every_row_is_in_the_table_or_a_row_is_named(pieces: list[bytes], tail: bytes, size: int) -> None:
    content = b"a,b,c\n" + b"".join(pieces) + tail
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_scan, "BLOCK", size)
        message = ""
        try:
            _, rows = rows_of(content)
        except BadInput as error:
            message = error.problems[0].message
    if message:
        assert re.search(r"row \d+ \(line \d+\)", message)
        return
    expected = [tuple(value.strip(" ") for value in row) for row in as_csv_reads(content)[1:]]
    assert [tuple(value.strip(" ") for value in row) for row in rows] == expected


# As a person sees it


Prepare = Callable[..., Finished]


def prepare(*words: str, path: str = "data.csv") -> Finished:
    return inside("c=preprocessing", "preprocessing/dataset=csv", f"dataset.path={path}", "dataset.target=y", *words)


def column_of(values: list[Any], **more: list[Any]) -> str:
    columns = {"x": values, "z": [k % 7 for k in range(len(values))], **more}
    columns |= {"y": [k * 3 for k in range(len(values))]}
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow(columns)
    write.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


@pytest.mark.parametrize(
    ("values", "words", "dtype"),
    [
        ([f"{k},5" for k in range(60)], ["dataset.decimal=','"], DType.FLOAT),
        ([f"{k % 3 + 1},{k:03d}" for k in range(60)], ["dataset.thousands=','"], DType.INT),
        ([f"{k % 3 + 1}.{k:03d},5" for k in range(60)], ["dataset.thousands=.", "dataset.decimal=','"], DType.FLOAT),
        ([*range(59), "-999.0"], ["dataset.null_values=[-999]"], DType.INT),
        (["03/25/2024", "04/01/2024"] * 30, [], DType.DATE),
        (["25.3.2024 10:00", "1.4.2024 09:30"] * 30, [], DType.DATETIME),
        (["2024-03-25T10:00:00+02:00", "2024-04-01T09:30"] * 30, [], DType.DATETIME),
        (["01/03/2024", "04/05/2024"] * 30, [], DType.STRING),
        (["01/03/2024"] * 60, ["dataset.columns=[{name: x, format: '%d/%m/%Y'}]"], DType.DATE),
        (["20240301"] * 60, ["dataset.columns=[{name: x, dtype: date, format: '%Y%m%d'}]"], DType.DATE),
        ([*range(60)], ["dataset.columns=[{name: x}]"], DType.INT),
        ([*range(60)], ["dataset.columns=[{name: x, dtype: float}]", "dataset.exclude=[]"], DType.FLOAT),
    ],
)
def test_how_values_are_written(values: list[Any], words: list[str], dtype: DType) -> None:
    from when_ml_pipeline_meets_hydra.binding.bind import bind

    written(column_of(values))
    base = ["c=preprocessing", "preprocessing/dataset=csv", "dataset.path=data.csv", "dataset.target=y"]
    ((_, call),) = bind(compose([*base, *words])).calls
    dataset = call.arguments["dataset"]
    assert list(dataset.check()) == []
    found = table(dataset.rows())
    assert found.columns[0].dtype is dtype
    assert ("z" in {c.name for c in found.columns}) is ("columns" not in "".join(words))


def test_files_without_a_single_right_reading_at_the_terminal() -> None:
    good = column_of([k % 5 for k in range(60)])
    refusals: dict[bytes | str, str] = {
        good + '"7\\" x",1,2\n': "row 61 (line 62) has text after a closing quote; a backslash",
        good + "1,2\n": "row 61 (line 62) has 2 fields, and the header 3: '1,2'",
        good + "1,2,3,4\n": "row 61 (line 62) has 4 fields, and the header 3",
        good + '"1,2,3\n': "row 61 (line 62) has a quote that is never closed",
        good.replace("x,z", "x,x"): "the name 'x' stands more than once in the header: in the columns 1, 2",
        good.replace("x,z", 'x,"z"z'): "the header (line 1) has text after a closing quote",
        (good + "Größe,2,3\n").encode("latin-1"): "row 61 (line 62) has the bytes f6, which are not UTF-8",
        good.encode("utf-16-le"): "If it is UTF-16, write dataset.encoding=utf-16-le",
    }
    for content, message in refusals.items():
        written(content)
        done = prepare()
        assert (done.code, message in done.err) == (2, True), done
    header, *rows = good.splitlines()
    with_index = "\n".join([f', " x ",{header.partition(",")[2]}', *(f"{k},{row}" for k, row in enumerate(rows))])
    for content in (good.encode("utf-16"), with_index):
        written(content)
        done = prepare()
        assert (done.code, "48 rows to train on, 12 held out, 2 features" in done.out) == (0, True), done
    assert "no feature from: column 1 (no name in the header)" in done.out


def test_what_is_left_out_is_said_on_one_line() -> None:
    rows = 300
    content = column_of(
        [f"name {k}" for k in range(rows)],
        start_date=[f"{k % 12 + 1:02d}/{k // 12 % 12 + 1:02d}/2024" for k in range(rows)],
        price=[f"${k + 1000:,}" for k in range(rows)],
        share=[f"{k % 3}%" for k in range(rows)],
        day=[f"{k % 28 + 1}/02/2024" for k in range(rows)],
        nothing=[""] * rows,
        code=["01" if k % 3 else "1" for k in range(rows)],
        other=[k % 4 for k in range(rows)],
    )
    lines = [f"{k},{line}" for k, line in enumerate(content.splitlines())]
    lines[0] = lines[0].removeprefix("0")  # as pandas writes its index
    lines[5] = lines[5].rpartition(",")[0] + ","
    written("\n".join(lines))
    done = prepare("dataset.exclude=[other]", "p_param.min_frequency=0.02")
    assert done.code == 0, done.err
    assert "data: 239 rows to train on, 60 held out, " in done.out
    (line,) = [line for line in done.out.splitlines() if "left out" in line]
    assert line == (
        "data: 1 row without target left out; no feature from: x (all different), start_date (text; looks like dates "
        "%d/%m/%Y or %m/%d/%Y), price (text; looks like amounts of money), column 1 (no name in the header), nothing "
        "(empty); different texts are the same value: code (2 different texts, 1 number); read as texts: share "
        "(looks like percentages); read as dates: day (%d/%m/%Y)"
    )
    assert "other" not in done.out


def test_different_texts_that_become_one_value_are_reported() -> None:
    rows = range(60)
    content = column_of(
        [["1.1", "1.10", "1.2"][k % 3] for k in rows],
        long=[f"0.12345678901234567{k % 8}" for k in rows],
        id=[2**64 // 10 + 4096 * k for k in rows],
        sold=[f"2024-03-{k % 9 + 1:02d}T10:00:00+0{k % 2}:00" for k in rows],
        opened=[f"{k % 24:02d}:{k:02d}" for k in rows],
        price=[f"{k % 9}.50" for k in rows],
    )
    written(content)
    done = prepare()
    assert done.code == 0, done.err
    assert done.out.splitlines()[1] == (
        "data: no feature from: opened (text; looks like times of day); different texts are the same value: "
        "x (3 different texts, 2 numbers), long (8 different texts, 2 numbers), sold (18 different texts, 9 times); "
        "time zones: sold (as written, without their offsets +00:00, +01:00)"
    )
    written("a,y\n" + "\n".join(f"{k % 24}:{k:02d},{k}" for k in rows))
    done = prepare()
    assert (done.code, "data: no feature" not in done.out) == (2, True)
    assert "no feature from: a (text; looks like times of day)" in done.err


def test_categories_for_which_a_very_large_table_has_no_room_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.preparation.categories.MOST_VALUES", 0)
    written(column_of([f"text {k % 33}" for k in range(132)]))
    assert "only the most frequent texts, without p_param.max_categories: x (30 of " in prepare().out
    assert "most frequent" not in prepare("p_param.max_categories=31").out


@pytest.mark.parametrize("mark", ["-", "?", "#N/A"])
def test_numbers_with_a_mark_for_missing_values_are_reported(mark: str) -> None:
    """They are categories otherwise, without a word on it."""
    written(column_of([mark if k % 4 == 0 else k % 9 for k in range(60)]))
    found = prepare().out
    assert f"read as texts: x (looks like numbers, but for '{mark}')" in found
    assert "looks like" not in prepare(f"dataset.null_values=['{mark}']").out


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PAR1\x15\x04", "a Parquet file, not a CSV file | Choose the option parquet instead of csv"),
        (b"PK\x03\x04\x14", "a ZIP archive, as Excel workbooks are"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\xd0\xcf\x11\xe0\xa1", "an Excel workbook"),
        (b"\xfd7zXZ\0", "packed by xz"),
    ],
)
def test_a_file_of_another_kind_is_named(start: bytes, kind: str) -> None:
    assert refused(start + b"\xff\0rest").startswith(f"this is {kind}")
    assert rows_of("PAR1,PAR2\n1,2\n")[0] == ("PAR1", "PAR2")


def test_nothing_is_said_where_nothing_is_left_out() -> None:
    written(column_of([k % 5 for k in range(60)]))
    assert prepare().out == "data: 48 rows to train on, 12 held out, 2 features\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset.exclude=[X]"], "dataset.exclude[0]=X: there is no such column"),
        (["dataset.exclude=[y]"], "dataset.exclude[0]=y: this is the column to predict"),
        (["dataset.exclude=[x]", "dataset.columns=[{name: x}]"], "this column is in dataset.exclude, too"),
        *(
            (
                [f"dataset.encoding={name}"],
                f"dataset.encoding={name}: expected the name of an encoding, such as latin-1",
            )
            for name in ("klingon", "idna", "punycode", "rot13", "base64", "unicode_escape", "undefined")
        ),
        (["dataset.decimal=','", "dataset.thousands=','"], "decimal and thousands are the same"),
        (["dataset.thousands='5'"], "dataset.thousands=5: expected a mark"),
        (["dataset.decimal=x"], "dataset.decimal=x: expected a mark"),
        (["dataset.separator='\"'"], "neither a quote nor a line end"),
        (["dataset.columns=[{name: x, format: '%Q'}]"], "'%Q' is no part of a date"),
        (["dataset.columns=[{name: x, dtype: int, format: '%Y-%m-%d'}]"], "a format is for dates and datetimes"),
    ],
)
def test_options_that_do_not_fit(words: list[str], message: str) -> None:
    written(column_of([k % 5 for k in range(60)]))
    done = prepare(*words)
    assert done.code == 2
    assert message in done.err


def test_parts_of_a_table() -> None:
    Path("parts").mkdir()
    whole = column_of([k % 5 for k in range(60)]).splitlines()
    for k in range(3):
        written("\n".join([whole[0], *whole[1 + 20 * k : 21 + 20 * k]]), f"parts/{k}.csv")
    reordered = [",".join(reversed(line.split(","))) for line in (whole[0], *whole[1:6])]
    for path, rows in (("parts", 60), ("parts/[01].csv", 40)):
        found = table(CsvFile(path=Path(path), target="y").rows())
        assert found.frame.collect().rows() == [(k, k % 5, k % 7, k * 3) for k in range(rows)]
    assert prepare(path="parts").out.startswith("parts: 48 rows to train on, 12 held out, 2 features")
    written("\n".join(reordered), "parts/3.csv")
    done = prepare(path="parts")
    assert done.out.startswith("parts: 52 rows to train on, 13 held out, 2 features"), "a new part is noticed"
    written("x,zz,y\n1,2,3\n", "parts/4.csv")
    done = prepare(path="parts")
    assert done.code == 2
    assert "parts/4.csv: its columns are not those of parts/0.csv: it lacks z and has zz besides" in done.err
    assert "no file has a name of this pattern" in prepare(path="parts/*.txt").err


FRAME = pl.DataFrame(
    {"x": [k % 5 for k in range(30)], "z": [k % 7 for k in range(30)], "y": [k * 3 for k in range(30)]}
)


def test_values_in_the_names_of_folders_are_a_column() -> None:
    for kind, option in ((".csv", CsvFile), (".parquet", ParquetFile)):
        for year, rows in (("2020", FRAME.head(10)), ("2021", FRAME.tail(20))):
            folder = Path(f"all{kind}/year={year}/place=B%C3%A2le")
            folder.mkdir(parents=True)
            rows.write_csv(folder / "part.csv") if kind == ".csv" else rows.write_parquet(folder / "part.parquet")
        for path in (f"all{kind}", f"all{kind}/*/*/*{kind}", f"all{kind}/**/part*"):
            dataset = option(path=Path(path), target="y")
            made = table(dataset.rows())
            assert [(c.name, c.dtype) for c in made.columns[2:]] == [("year", DType.INT), ("place", DType.STRING)]
            assert made.frame.collect()["c2"].to_list() == [2020] * 10 + [2021] * 20
            assert set(made.frame.collect()["c3"]) == {"Bâle"}
        before = dataset.fingerprint()
        Path(f"all{kind}/year=2021").rename(f"all{kind}/year=2022")
        assert dataset.fingerprint() != before
        assert Path(f"all{kind}") in dataset.files()
        Path(f"all{kind}/year=2022").rename(f"all{kind}/month=2022")
        (problem,) = dataset.check()
        assert problem.value == f"all{kind}/year=2020/place=B%C3%A2le/part{kind}"
        assert "the names of its folders have values of year, place, those of all" in problem.message


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (FRAME.select("y", "x", "z"), ""),
        (FRAME.rename({"z": "w"}), "its columns are not those of data/a.parquet: it lacks z and has w besides"),
        (
            FRAME.with_columns(pl.col("z").cast(pl.String)),
            "the column 'z' has the type String, and in data/a.parquet Int",
        ),
        (FRAME.with_columns(w=1), "it has w besides"),
        (None, "this is no Parquet file that can be read"),
    ],
)
def test_parts_of_parquet(other: pl.DataFrame | None, message: str) -> None:
    Path("data").mkdir()
    FRAME.write_parquet("data/a.parquet")
    written(b"PAR1") if other is None else other.write_parquet("data/b.parquet")
    if other is None:
        Path("data.csv").rename("data/b.parquet")
    for path in ("data", "data/*.parquet"):
        dataset = ParquetFile(path=Path(path), target="y")
        problems = list(dataset.check())
        assert [(p.key, p.value, message in p.message) for p in problems] == (
            [("path", "data/b.parquet", True)] if message else []
        )
        if not message:
            columns = ("x", "z", "y")
            assert table(dataset.rows()).frame.drop("row").collect().rows() == FRAME.select(columns).rows() * 2


def test_the_name_of_a_pattern_is_that_of_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sales").mkdir()
    for path in ("sales/*.csv", "sales/", "../sales/*/part-[0-9].csv", "sales.csv.gz", "sales.parquet"):
        words = ["c=preprocessing", "preprocessing/dataset=csv", f"dataset.path='{path}'", "dataset.target=y"]
        assert compose(words).jobs[0].config["dataset"]["name"] == "sales"
    monkeypatch.chdir("sales")
    for path in ("*.csv", ".", "./part-?.csv"):
        words = ["c=preprocessing", "preprocessing/dataset=csv", f"dataset.path='{path}'", "dataset.target=y"]
        assert compose(words).jobs[0].config["dataset"]["name"] == "sales"


def test_more_columns_need_no_more_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    queries: Counter[str] = Counter()

    def count(name: str) -> None:
        original = getattr(pl.LazyFrame, name)

        def counted(frame: pl.LazyFrame, *args: Any, **kwargs: Any) -> Any:
            queries[name] += 1
            return original(frame, *args, **kwargs)

        monkeypatch.setattr(pl.LazyFrame, name, counted)

    for name in ("collect", "collect_schema", "sink_parquet"):
        count(name)

    def needed(columns: int) -> Counter[str]:
        queries.clear()
        texts = [f"t{k % 5}" for k in range(40)]
        written(column_of([k % 5 for k in range(40)], **{f"c{c}": texts for c in range(columns)}))
        assert prepare().code == 0
        return queries.copy()

    assert needed(4) == needed(40)


def test_the_index_of_a_data_frame_is_left_out_with_a_word() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0], "__index_level_0__": [7, 8, 9], "y": [1.5, 2.5, 3.5]}).lazy()
    made = table(RawRows(frame=frame, target="y"))
    assert [c.name for c in made.columns] == ["a"]
    assert made.remarks.left_out == ("__index_level_0__ (the index of a data frame)",)
