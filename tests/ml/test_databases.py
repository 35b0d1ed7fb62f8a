"""Database tables as data sets: real servers, from a command to a model."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import SecretStr

from conftest import Cli
from database_servers import PASSWORD, POSTGRES, SNOWFLAKE, PostgresServer, postgres_server, snowflake_server
from needed import need
from small_pipeline import inside, write
from when_ml_pipeline_meets_hydra import Run, run
from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, StepFailed
from when_ml_pipeline_meets_hydra.execution.outcomes import Status
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, PreparedData
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.duckdb import DuckDb
from when_ml_pipeline_meets_hydra.ml.connections.interface import Connection, QueryFailed
from when_ml_pipeline_meets_hydra.ml.connections.postgres import Postgres
from when_ml_pipeline_meets_hydra.ml.connections.sqlite import Sqlite
from when_ml_pipeline_meets_hydra.ml.datasets.database_table import DatabaseTable
from when_ml_pipeline_meets_hydra.ml.datasets.schema import Schema
from when_ml_pipeline_meets_hydra.pipeline import prepare
from when_ml_pipeline_meets_hydra.runs import RunObserver

TABLE = "preprocessing/dataset=table"
ROWS = 60


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as started:
        yield started


@pytest.fixture
def postgres(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """A PostgreSQL server without tables."""
    server.run("DROP SCHEMA public CASCADE")
    server.run("CREATE SCHEMA public")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def load(connection: str, *words: str, schemas: str = "cars") -> None:
    done = inside("c=preprocessing", "c/preprocessing_sub=load", TABLE, f"preprocessing/connection={connection}",
                  f"preprocessing/schema={schemas}", "--multirun", *words)  # fmt: skip
    assert done.code == 0, done.err


def prepared(*words: str) -> PreparedData:
    done = run(["c=preprocessing", TABLE, *words])
    assert done.exit_code == 0, [o.error for o in done.outcomes]
    artifact = done.artifact("preprocessing")
    assert isinstance(artifact, PreparedData)
    return artifact


def in_sqlite(statements: Sequence[str], rows: Sequence[tuple[Any, ...]] = (), file: str = "own.sqlite") -> Path:
    with sqlite3.connect(file) as connection:
        for statement in statements:
            connection.execute(statement)
        if rows:
            connection.executemany(f"INSERT INTO things VALUES ({', '.join('?' * len(rows[0]))})", rows)
    return Path(file)


# All the way


@pytest.mark.parametrize(
    "kind", ["sqlite", "duckdb", pytest.param("postgres", marks=POSTGRES), pytest.param("snowflake", marks=SNOWFLAKE)]
)
def test_a_shipped_table_gives_what_its_file_gives(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"preprocessing/connection={kind}"]
    if kind == "duckdb":
        need("duckdb")
    if kind == "postgres":
        request.getfixturevalue("postgres")
    if kind == "snowflake":
        for name, value in request.getfixturevalue("snowflake").items():
            monkeypatch.setenv(name, value)
    load(kind)
    load(kind)  # a second time nothing happens
    of_table = prepared(*words)
    shipped = pl.read_csv(files() / "cars.csv", infer_schema=False).filter(pl.col("Miles_per_Gallon") != "")
    in_order = dataset_of(*words).rows().frame.collect()
    assert of_table.rows_train + of_table.rows_test == in_order.height == 398
    assert in_order.sort(pl.all()).equals(
        shipped.select(pl.col(c).cast(t) for c, t in in_order.schema.items()).sort(pl.all())
    )
    in_order.write_csv("cars.csv")
    of_file = run(["c=preprocessing", "preprocessing/dataset=cars", f"dataset.path={Path('cars.csv').absolute()}"])
    for part in ("train", "test"):
        expected = pl.read_parquet(of_file.artifact("preprocessing").path / f"{part}.parquet")
        assert pl.read_parquet(of_table.path / f"{part}.parquet").equals(expected)


def test_the_order_of_the_rows_is_fixed_unless_it_is_not_wanted() -> None:
    in_sqlite(MIXED, [thing(k) for k in (*range(30, ROWS), *range(30))])
    connection = Sqlite(path=Path("own.sqlite"))

    def sizes(**other: Any) -> list[int]:
        dataset = DatabaseTable(name="things", connection=connection, schema=THINGS, table="things", **other)
        return dataset.rows().frame.select("size").collect().to_series().to_list()

    assert sizes() == list(range(ROWS))
    assert sizes(order_by=()) == [*range(30, ROWS), *range(30)]
    assert sizes(order_by=("made", "size"))[:3] == [0, 28, 56]


def dataset_of(*words: str) -> DatabaseTable:
    ((_, call),) = bind(compose(["c=preprocessing", TABLE, *words])).calls
    dataset = call.arguments["dataset"]
    assert isinstance(dataset, DatabaseTable)
    return dataset


def files() -> Path:
    from when_ml_pipeline_meets_hydra.ml.datasets.shipped import FOLDER

    return FOLDER


@pytest.fixture(scope="session")
def snowflake() -> Iterator[dict[str, str]]:
    with snowflake_server() as environment:
        yield environment


class StopsTheServer(RunObserver):
    """Ends a server when the first step begins, after all checks."""

    def __init__(self, server: PostgresServer) -> None:
        self.server, self.running = server, True

    def step_started(self, step: Any) -> None:
        if self.running:
            self.running = False
            self.server.stop()


TWELVE = (
    "c=modeling",
    TABLE,
    "preprocessing/schema=cars,planes",
    "modeling/param=large,medium,small",
    "m_param.n_estimators=3",
)


def of_jobs(done: Run) -> dict[Status, int]:
    """The number of requested steps by status."""
    statuses = [o.status for o in done.outcomes if o.step.call.stage == "modeling"]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


@POSTGRES
@pytest.mark.parametrize("other", ["sqlite", pytest.param("snowflake", marks=SNOWFLAKE)])
def test_a_sweep_over_databases_reads_each_table_once(
    postgres: PostgresServer, other: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in request.getfixturevalue("snowflake").items() if other == "snowflake" else ():
        monkeypatch.setenv(name, value)
    load(f"{other},postgres", schemas="cars,planes")
    done = run([*TWELVE, f"preprocessing/connection={other},postgres"], multirun=True)
    assert done.exit_code == 0
    assert of_jobs(done) == {Status.DONE: 12}
    assert sum(o.step.call.stage == "preprocessing" for o in done.outcomes) == 4


@POSTGRES
def test_a_server_that_goes_away_fails_its_own_jobs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres_server() as own:
        for name, value in own.environment.items():
            monkeypatch.setenv(name, value)
        load("sqlite,postgres", schemas="cars,planes")
        words = [*TWELVE, "preprocessing/connection=sqlite,postgres"]
        done = run(words, multirun=True, observer=StopsTheServer(own))
        assert done.exit_code is ExitCode.STEP_FAILED
        assert of_jobs(done) == {Status.DONE: 6, Status.SKIPPED: 6}
        failed = [o for o in done.outcomes if o.status is Status.FAILED]
        assert [o.step.call.stage for o in failed] == ["preprocessing"] * 2
        for outcome in failed:
            assert f"connection.host=127.0.0.1:{own.port}: cannot connect to PostgreSQL" in (outcome.error or "")
            assert PASSWORD not in (outcome.error or "")


@POSTGRES
def test_a_table_of_ones_own_needs_one_schema_file_and_trains_as_scikit_learn_does(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(7)
    height, width = random.uniform(1, 9, 1000), random.uniform(1, 9, 1000)
    weight = 3 * height + 0.5 * width**2 + random.normal(size=1000)
    rows = ", ".join(f"({h!r}, {w!r}, {y!r}, 'x')" for h, w, y in zip(*map(np.ndarray.tolist, (height, width, weight))))  # noqa: B905
    postgres.run(
        'CREATE SCHEMA yard; CREATE TABLE yard.boards (height float8, "Width (m)" float8, w float8, note text)'
    )
    postgres.run(f"INSERT INTO yard.boards VALUES {rows}")
    schema = """
        # @package schema
        # Boards in the yard: their weight
        name: boards
        task: regression
        target: {name: w, dtype: float, description: Weight}
        features:
          - {name: height, dtype: float, description: Height}
          - {name: "Width (m)", dtype: float, description: Width}
    """
    lines = "\n".join(line[8:] for line in schema.strip("\n").splitlines())
    folder = write(tmp_path / "conf", {"preprocessing/schema/boards.yaml": lines})
    words = [TABLE, "preprocessing/connection=postgres", "preprocessing/schema=boards", "dataset.table=yard.boards"]
    straight = ("modeling/model=linear", "m_param.knots=0", "m_param.alpha=1.0")
    done = run(["c=modeling", *words, *straight], config_dirs=[folder])
    assert done.exit_code == 0, [o.error for o in done.outcomes]

    data = done.artifact("preprocessing")
    held_out = np.isin(height, pl.read_parquet(data.path / "holdout.parquet")["height"].to_numpy())
    assert held_out.sum() == 200
    features = np.column_stack([height, width])
    scaler = StandardScaler().fit(features[~held_out])
    model = Ridge(alpha=1.0).fit(scaler.transform(features[~held_out]), weight[~held_out])
    expected = r2_score(weight[held_out], model.predict(scaler.transform(features[held_out])))
    assert done.metrics["modeling.r2"] == pytest.approx(expected, abs=1e-6)


# What is found wrong


MIXED = ["CREATE TABLE things (size REAL, colour TEXT, made DATE, new BOOLEAN, y REAL, more BLOB)"]
THINGS = Schema(
    name="things",
    target=Column(name="y", dtype=DType.FLOAT),
    features=(
        Column(name="size", dtype=DType.INT),
        Column(name="colour", dtype=DType.STRING),
        Column(name="made", dtype=DType.DATE),
        Column(name="new", dtype=DType.BOOL),
    ),
)


def thing(k: int, **other: Any) -> tuple[Any, ...]:
    usual = {"size": k, "colour": "red", "made": f"2026-01-{k % 28 + 1:02}", "new": k % 2, "y": k / 2, "more": b"\0"}
    return tuple({**usual, **other}.values())


def things(*rows: tuple[Any, ...], schema: Schema = THINGS, **other: Any) -> DatabaseTable:
    path = in_sqlite(MIXED, [*(thing(k) for k in range(ROWS)), *rows])
    return DatabaseTable(name="things", connection=Sqlite(path=path), schema=schema, **{"table": "things", **other})


def test_values_get_their_types() -> None:
    dataset = things(batch=7)
    assert list(dataset.check()) == []
    frame = dataset.rows().frame.collect()
    assert [str(t) for t in frame.dtypes] == ["Int64", "String", "Date", "Boolean", "Float64"]
    assert frame.height == ROWS
    assert frame["new"].sum() == ROWS // 2


def test_everything_wrong_is_said_at_once_before_anything_runs(own_home: Path) -> None:
    things(thing(60, y=None), thing(61, size="oops"), thing(62, made="soon"), thing(63, new=7))
    names = ["size", "color", "made", "new", "more"]
    dtypes = ["int", "string", "date", "bool", "float"]
    features = ",".join(f"{{name:{n},dtype:{d}}}" for n, d in zip(names, dtypes, strict=True))
    words = [TABLE, "connection.path=own.sqlite", "schema.name=things", "schema.target={name:y,dtype:float}"]
    code, _, err = inside("c=preprocessing", *words, f"schema.features=[{features}]")
    assert code == 2
    for text in (
        "schema.target=y: 1 row has no value of the column to predict",
        "schema.features[1].name=color: there is no such column in the data",
        "Did you mean 'colour'?",
        "schema.features[0].dtype=int: the column 'size' has the value 'oops', which is not a whole number",
        "schema.features[2].dtype=date: the column 'made' has the value 'soon', which is not a date like 2026-01-31",
        "schema.features[3].dtype=bool: the column 'new' has the value '7', which is not true or false",
        "schema.features[4].dtype=float: the column 'more' has the value ",
    ):
        assert text in err
    assert "Traceback" not in err
    assert not [*own_home.glob("store/*")]


def test_rows_to_predict_need_no_target_and_are_checked_before_anything_runs() -> None:
    """As files are: in a table of few rows, without the target, or where nobody knows it yet."""
    in_sqlite(MIXED, [thing(k) for k in range(ROWS)])
    with sqlite3.connect("own.sqlite") as database:
        database.execute("CREATE TABLE fresh AS SELECT size, colour, new FROM things WHERE size < 3")
        database.execute("CREATE TABLE unknown AS SELECT size, colour, new, NULL AS y FROM things WHERE size < 3")
        database.execute("CREATE TABLE odd AS SELECT 'oops' AS size, colour, new FROM things WHERE size < 3")
        database.execute("CREATE TABLE narrow AS SELECT size, new FROM things WHERE size < 3")
    features = "[{name:size,dtype:int},{name:colour,dtype:string},{name:new,dtype:bool}]"
    words = (
        *("c=prediction", TABLE, "modeling/model=linear", "connection.path=own.sqlite", "schema.name=things"),
        *("schema.target={name:y,dtype:float}", f"schema.features={features}"),
        *("prediction/rows=data_set", "preprocessing/dataset@new_rows=table", "new_rows.name=new"),
    )

    def refused(table: str, *more: str) -> str:
        done = inside(*words, f"new_rows.table={table}", *more)
        assert (done.code, "Nothing ran" in done.err) == (2, True), done.out + done.err
        return done.err

    message = "schema.features[0].dtype=int: the column 'size' has the value 'oops', which is not a whole number"
    assert f"{message} (in new_rows)" in refused("odd")
    assert "schema.features[1].name=colour: there is no such column in the data" in refused("narrow")
    assert "new_rows.table=nowhere: the database cannot read it: no such table: nowhere" in refused("nowhere")
    assert "rows.id=name: there is no such column in the data" in refused("fresh", "rows.id=name")
    for table in ("fresh", "unknown"):
        done = inside(*words, f"new_rows.table={table}")
        assert "linear on new: 3 rows predicted\n" in done.out, done.err
    pl.DataFrame({"size": [1], "new": [True]}).write_csv("new.csv")
    of_a_file = [w for w in words if "new_rows" not in w and "prediction/rows" not in w]
    done = inside(*of_a_file, "prediction/rows=csv", "new_rows.path=new.csv", "new_rows.target=y")
    assert (done.code, "new_rows: the data have no column colour, which the model needs" in done.err) == (2, True)


@POSTGRES
def test_types_that_the_database_says_are_compared(postgres: PostgresServer) -> None:
    postgres.run("CREATE TABLE things (size date, colour text, made timestamp, new jsonb, y numeric(9, 2))")
    features = "[{name:size,dtype:float},{name:colour,dtype:int},{name:made,dtype:date},{name:new,dtype:bool}]"
    words = ["schema.name=things", "schema.target={name:y,dtype:float}", f"schema.features={features}"]
    postgres.run("INSERT INTO things SELECT '2026-01-31', 'red', now(), '{}', k / 3.0 FROM generate_series(1, 50) k")
    code, _, err = inside("c=preprocessing", TABLE, "preprocessing/connection=postgres", *words)
    assert code == 2
    assert "schema.features[0].dtype=float: the column 'size' holds values of type date" in err
    assert "schema.features[1].dtype=int: the column 'colour' has the value 'red', which is not a whole number" in err
    assert "schema.features[3].dtype=bool: the column 'new' has the type jsonb" in err
    assert "features[2]" not in err


@POSTGRES
def test_what_postgres_has_and_polars_has_not_works_or_is_refused_beforehand(
    postgres: PostgresServer, own_home: Path
) -> None:
    postgres.run("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    postgres.run(
        "CREATE TABLE things (long numeric, odd numeric, id uuid, feels mood, list int[], moods mood[], day date,"
        " at timestamptz, half float8, whole float8, far float8, secret text, y float8)"
    )
    postgres.run(
        "INSERT INTO things SELECT 1e60 + k, CASE k WHEN 7 THEN 'NaN' ELSE k / 3.0 END, gen_random_uuid(),"
        " (CASE k % 2 WHEN 0 THEN 'sad' ELSE 'glad' END)::mood, ARRAY[k], ARRAY['sad'::mood],"
        " CASE k WHEN 9 THEN 'infinity' ELSE date '2026-01-01' + k END, now(), k + 0.5, k,"
        " CASE k WHEN 9 THEN 'infinity' ELSE k::float8 END, 'x', k FROM generate_series(1, 50) k"
    )
    words = [TABLE, "preprocessing/connection=postgres", "schema.name=things", "schema.target={name:y,dtype:float}"]

    def features(**dtypes: str) -> list[str]:
        return [*words[1:], f"schema.features=[{','.join(f'{{name:{n},dtype:{d}}}' for n, d in dtypes.items())}]"]

    data = prepared(*features(long="float", odd="float", id="string", feels="string", at="datetime", whole="int"))
    held_out = pl.read_parquet(data.path / "holdout.parquet")
    assert held_out.filter(pl.col("long") >= 1e60).height == 10
    assert set(held_out["feels"]) == {"sad", "glad"}
    assert set(held_out["id"].str.len_bytes()) == {36}
    wrong = features(list="int", moods="string", day="date", half="int", far="float", at="date")
    code, _, err = inside("c=preprocessing", TABLE, *wrong)
    assert code == 2
    for text in (
        "schema.features[0].dtype=int: the column 'list' has the type integer[], which is none of float, int",
        "schema.features[1].dtype=string: the column 'moods' has the type mood[]",
        "schema.features[2].dtype=date: the column 'day' has the value 'infinity', which is not a date",
        "schema.features[3].dtype=int: the column 'half' has the value '1.5', which is not a whole number",
        "schema.features[4].dtype=float: the column 'far' has the value 'Infinity', which is not a finite number",
        "Cast it in dataset.query, or leave it out",
        "leave such rows out by dataset.query",
    ):
        assert text in err
    assert "features[5]" not in err
    postgres.run("DROP ROLE IF EXISTS reader")
    postgres.run("CREATE ROLE reader LOGIN PASSWORD 'of-the-reader'")
    postgres.run("GRANT USAGE ON SCHEMA public TO reader")
    postgres.run("GRANT SELECT (half, y) ON things TO reader")
    reader = ["connection.user=reader", "connection.pw=of-the-reader"]
    assert prepared(*features(half="float"), *reader).columns[0].name == "half"
    code, _, err = inside("c=preprocessing", TABLE, *features(half="float", secret="string"), *reader)
    assert code == 2
    assert "schema.features[1].name=secret: the database cannot read it: permission denied for table things" in err


@pytest.mark.parametrize("kind", ["duckdb", pytest.param("snowflake", marks=SNOWFLAKE)])
def test_values_that_a_type_does_not_take_are_refused_beforehand(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "duckdb":
        need("duckdb")
    else:
        for name, value in request.getfixturevalue("snowflake").items():
            monkeypatch.setenv(name, value)
    dataset = dataset_of(f"preprocessing/connection={kind}")
    far = "CASE k WHEN 9 THEN CAST('inf' AS DOUBLE PRECISION) ELSE k END"
    columns = f'k + 0.5 AS "half", k AS "many", {far} AS "far"'
    rows = " UNION ALL ".join(f"SELECT {k} AS k" for k in range(30))
    features = [Column(name=n, dtype=DType(d)) for n, d in (("half", "int"), ("many", "bool"), ("far", "float"))]
    schema = Schema(name="x", target=Column(name="y", dtype=DType.FLOAT), features=tuple(features))
    with dataset.connection.open(write=True):
        pass
    wrong = replace(dataset, query=f'SELECT {columns}, k * 1.5 AS "y" FROM ({rows}) AS r', schema=schema)
    messages = [str(p) for p in wrong.check()]
    assert len(messages) == 3
    for message, value in zip(messages, (".5", "", "inf"), strict=True):
        assert f"{value}', which is not " in message


def test_a_limit_takes_rows_from_everywhere_and_always_the_same() -> None:
    dataset = things(limit=30)
    some, same = (dataset.rows().frame.select("size").collect()["size"].to_list() for _ in range(2))
    assert some == same
    assert len(set(some)) == 30
    assert max(some) > 50


def test_a_column_listed_twice_and_neither_table_nor_query() -> None:
    twice = "schema.features=[{name:a,dtype:int},{name:Miles_per_Gallon,dtype:int}]"
    code, _, err = inside("c=preprocessing", TABLE, twice, "dataset.table=null")
    assert code == 2
    assert "schema: each column may be named once; more than once there is Miles_per_Gallon" in err
    code, _, err = inside("c=preprocessing", TABLE, "dataset.table=null")
    assert "dataset: either a table or a query is needed" in err


def test_what_only_shows_in_the_values_is_said_after_reading() -> None:
    in_sqlite(MIXED, [thing(k, y=1.0) for k in range(ROWS)])
    words = [TABLE, "connection.path=own.sqlite", "schema.name=things", "schema.target={name:y,dtype:float}"]
    code, _, err = inside("c=preprocessing", *words, "schema.features=[{name:size,dtype:int}]")
    assert code == 2
    assert "schema.target=y: it has the same value in every row" in err


@POSTGRES
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["connection.pw=wrong-horse-1234"], "connection.pw: cannot connect to PostgreSQL: password authentication"),
        (["connection.database=nope"], 'connection.database=nope: cannot connect to PostgreSQL: database "nope" does'),
        (["connection.host=no.such.host.invalid"], "connection.host=no.such.host.invalid:"),
        (["dataset.table=nope"], 'dataset.table=nope: the database cannot read it: relation "nope" does not exist'),
        (["dataset.query='SELEC 1'"], "dataset.query: the database cannot read it: syntax error"),
        (["dataset.order_by=[nope]"], "dataset.order_by[0]=nope: there is no such column"),
    ],
)
def test_a_connection_that_fails_names_its_key(
    words: list[str], message: str, postgres: PostgresServer, own_home: Path
) -> None:
    load("postgres")
    code, out, err = inside("c=preprocessing", TABLE, "preprocessing/connection=postgres", *words)
    assert code == 2
    assert message in err
    written = "".join(f.read_text("utf-8", "replace") for f in own_home.rglob("*") if f.is_file())
    for secret in (PASSWORD, "wrong-horse-1234"):
        assert secret not in out + err + written
    assert "Traceback" not in out + err


@POSTGRES
def test_where_nobody_answers_the_step_fails_and_no_other(postgres: PostgresServer) -> None:
    load("postgres")
    words = [TABLE, "preprocessing/connection=postgres", f"connection.port=1,{postgres.port}", "--multirun"]
    code, _, err = inside("c=preprocessing", *words)
    assert code == 1
    assert "connection.host=127.0.0.1:1: cannot connect to PostgreSQL" in err
    assert "1 failed, 1 done" in err


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_file_that_is_no_database(kind: str) -> None:
    if kind == "duckdb":
        need("duckdb")
    words = ["c=preprocessing", TABLE, f"preprocessing/connection={kind}"]
    assert "connection.path=none.db: there is no such file" in inside(*words, "connection.path=none.db").err
    Path("bad.db").write_text("no database at all, " * 100)
    code, _, err = inside(*words, "connection.path=bad.db")
    assert code == 2
    assert "connection.path=bad.db: " in err
    assert "Traceback" not in err


def test_names_are_never_taken_for_sql() -> None:
    evil = 'x"; DROP TABLE things; --'
    assert sql.quoted(evil) == '"x""; DROP TABLE things; --"'
    columns = (Column(name=evil, dtype=DType.FLOAT), Column(name="y", dtype=DType.FLOAT))
    path = in_sqlite([f"CREATE TABLE {sql.quoted(evil)} ({sql.quoted(evil)} REAL, y REAL)"])
    with sqlite3.connect(path) as connection:
        connection.executemany(f"INSERT INTO {sql.quoted(evil)} VALUES (?, ?)", [(k, k) for k in range(ROWS)])
    schema = Schema(name="evil", target=columns[1], features=columns[:1])
    dataset = DatabaseTable(name="evil", connection=Sqlite(path=path), schema=schema, table=evil)
    assert list(dataset.check()) == []
    assert dataset.rows().frame.collect().height == ROWS


@POSTGRES
def test_reading_does_not_write(postgres: PostgresServer) -> None:
    load("postgres")
    query = "dataset.query='WITH gone AS (DELETE FROM cars RETURNING *) SELECT * FROM gone'"
    assert inside("c=preprocessing", TABLE, "preprocessing/connection=postgres", query).code == 2
    assert postgres.run("SELECT count(*) FROM cars") == [(398,)]
    things()
    with Sqlite(path=Path("own.sqlite")).open() as session, pytest.raises(StepFailed, match="readonly"):
        session.row("DELETE FROM things RETURNING 1")


def test_load_refuses_another_table_of_that_name() -> None:
    load("sqlite")
    with sqlite3.connect(next(Path("..").rglob("tables.sqlite"))) as connection:
        connection.execute('DELETE FROM cars WHERE "Year" > 75')
    words = ("c=preprocessing", "c/preprocessing_sub=load", TABLE)
    code, _, err = inside(*words)
    assert code == 1
    assert "The database has a table cars of" in err
    code, _, err = inside(*words, "schema.name=boats")
    assert "no table of that name comes with the program" in err


# What is read


def test_a_query_a_limit_and_an_order() -> None:
    query = "SELECT *, size * 2 AS twice FROM things -- all of them;"
    schema = Schema(name="x", target=THINGS.target, features=(Column(name="twice", dtype=DType.FLOAT),))
    dataset = things(schema=schema, query=query, limit=30, order_by=("y",), batch=8)
    assert list(dataset.check()) == []
    assert dataset.rows().frame.collect().rows() == [(2.0 * k, k / 2) for k in range(30)]


@POSTGRES
def test_memory_is_bounded_by_the_batch(postgres: PostgresServer) -> None:
    postgres.run("CREATE TABLE many AS SELECT k::float8 AS a, (k % 7)::int AS y FROM generate_series(1, 200000) k")
    words = {"host": "127.0.0.1", "port": postgres.port, "database": "postgres", "user": "app"}
    with Postgres(**words, pw=SecretStr(PASSWORD)).open() as session:  # type: ignore[arg-type]
        batches = session.batches('SELECT "a", "y" FROM many', 1000)
        assert next(batches).height == 1000
        declared = postgres.run("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'FETCH FORWARD 1000%'")
        assert declared == [(1,)], "the server holds the result"
        assert 1 + sum(1 for _ in batches) == 200


def test_duckdb_gives_its_rows_while_it_computes_them() -> None:
    need("duckdb")
    with DuckDb(path=Path("own.duckdb")).open(write=True) as session:
        endless = session.batches("SELECT range AS a, md5(range::VARCHAR) AS b FROM range(1000000000000)", 1000)
        assert {next(endless).height for _ in range(300)} == {1000, 131_072 % 1000}
        endless.close()  # type: ignore[attr-defined]
        assert session.row("SELECT 1") == (1,), "what is left of it is in nobody's way"


def test_duckdb_downloads_no_extension_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("duckdb")
    monkeypatch.setenv("HOME", str(tmp_path))
    with DuckDb(path=Path("own.duckdb")).open(write=True) as session, pytest.raises(QueryFailed) as failed:
        session.types("SELECT * FROM 'https://127.0.0.1:1/x.parquet'")
    text = "it needs DuckDB's extension 'httpfs': INSTALL httpfs; in DuckDB, once, downloads it"
    assert str(failed.value) == text
    assert not (tmp_path / ".duckdb").exists()


def test_a_query_that_fails_in_the_middle_fails_its_step() -> None:
    need("duckdb")
    query = "SELECT CASE WHEN range = 300000 THEN 'x' ELSE '1' END::INT AS a, 1 AS y FROM range(1000000)"
    columns = [Column(name=name, dtype=DType.INT) for name in ("a", "y")]
    schema = Schema(name="things", target=columns[1], features=(columns[0],))
    with DuckDb(path=Path("own.duckdb")).open(write=True):
        pass
    dataset = DatabaseTable(
        name="things", connection=DuckDb(path=Path("own.duckdb")), schema=schema, query=query, order_by=()
    )
    with pytest.raises(StepFailed, match=r"^Conversion Error: Could not convert string 'x' to INT32$"):
        dataset.rows()


def test_a_result_without_rows_has_its_types() -> None:
    in_sqlite(MIXED)
    dataset = DatabaseTable(name="things", connection=Sqlite(path=Path("own.sqlite")), schema=THINGS, table="things")
    with pytest.raises(BadInput) as refused:
        dataset.rows()
    assert "Traceback" not in str(refused.value)


# The key


def key(*words: str) -> str:
    plan = prepare(["c=preprocessing", TABLE, *words]).plan
    return plan.steps[-1].key


def test_the_key_follows_the_snapshot_and_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    load("sqlite")
    before = key()
    assert key("dataset.snapshot=2026-11-21") != before
    assert key("dataset.batch=10") == before
    assert key("dataset.limit=100") != before
    prepared()
    with sqlite3.connect(next(Path("..").rglob("tables.sqlite"))) as connection:
        connection.execute("DELETE FROM cars WHERE Cylinders = 3")
    actions = [(s.action.value, s.reason) for s in prepare(["c=preprocessing", TABLE]).plan.steps]
    assert actions == [("stored", "nothing changed")], "a table counts as unchanged"
    assert prepared("dataset.snapshot=later").rows_train < 318
    assert prepared("force=[preprocessing]").rows_train < 318


def test_the_key_has_no_secret_and_needs_no_server() -> None:
    words: dict[str, Any] = {"host": "nowhere.invalid", "database": "d", "user": "u"}

    def fingerprint(connection: Connection) -> str:
        return DatabaseTable(name="t", connection=connection, schema=THINGS, table="t").fingerprint()

    one, two = (Postgres(**words, pw=SecretStr(pw)) for pw in ("one-secret", "other-secret"))
    assert fingerprint(one) == fingerprint(two) != fingerprint(Postgres(**{**words, "host": "elsewhere.invalid"}))


@POSTGRES
def test_the_password_is_nowhere(postgres: PostgresServer, own_home: Path, cli: Cli) -> None:
    load("postgres")
    words = ("c=preprocessing", TABLE, "preprocessing/connection=postgres", f"connection.pw={PASSWORD}")
    code, out, err = cli(*words)
    assert code == 0, err
    assert "pw=**********" in inside("plan", *words).out + out + err or PASSWORD not in out + err
    inputs = [json.loads(f.read_text("utf-8")) for f in own_home.rglob("inputs.json")]
    assert any("postgres" in json.dumps(i) for i in inputs)
    assert not [f for f in own_home.rglob("*") if f.is_file() and PASSWORD.encode() in f.read_bytes()]


# The options


@pytest.mark.parametrize("connection", ["sqlite", "duckdb", "postgres", "snowflake"])
@pytest.mark.parametrize("schema", ["cars", "planes"])
def test_every_option_composes_binds_and_says_what_it_is(
    connection: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from when_ml_pipeline_meets_hydra.composing.tree import read_options

    for name in ("ACCOUNT", "USER", "DATABASE"):
        monkeypatch.setenv(f"SNOWFLAKE_{name}", "x")
    dataset = dataset_of(f"preprocessing/connection={connection}", f"preprocessing/schema={schema}")
    assert isinstance(dataset.connection, Connection)
    assert (dataset.name, dataset.table, dataset.schema.name) == (schema, schema, schema)
    options = read_options()
    for group, name in (("connection", connection), ("schema", schema)):
        option = options[f"preprocessing/{group}"][name]
        assert option.package == group
        assert len(option.description) > 10


def test_the_help_of_a_stage_shows_the_keys_of_the_connection(wide: None) -> None:
    code, out, _ = inside("c=preprocessing", TABLE, "preprocessing/connection=postgres", "--help")
    assert code == 0
    for key in ("connection.host=", "connection.pw=", "schema.name=cars", "dataset.snapshot="):
        assert key in out
    assert "dataset.connection" not in out


def test_a_connection_without_a_table_is_refused() -> None:
    code, _, err = inside("c=modeling", "preprocessing/connection=postgres")
    assert code == 2
    assert "preprocessing/connection=postgres: no step of this command reads 'connection'" in err
    assert "It belongs to preprocessing/dataset=table: choose that as well" in err
    code, _, err = inside("c=preprocessing", "c/preprocessing_sub=load")
    assert code == 2


def test_a_variable_that_is_not_set_is_named() -> None:
    code, _, err = inside("c=preprocessing", TABLE, "preprocessing/connection=snowflake")
    assert code == 2
    assert "connection.account: the environment variable SNOWFLAKE_ACCOUNT is not set" in err


def test_a_misspelt_key_of_a_connection() -> None:
    code, _, err = inside("c=preprocessing", TABLE, "+connection.pth=x")
    assert code == 2
    assert "connection.pth: there is no such key" in err
    assert "Did you mean 'connection.path'?" in err


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    code, _, err = inside("c=preprocessing", TABLE, "preprocessing/connection=duckdb")
    assert code == 2
    assert "pip install 'when_ml_pipeline_meets_hydra[duckdb]'" in err
