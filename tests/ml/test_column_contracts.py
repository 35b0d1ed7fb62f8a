"""Column contracts: checked before training, shown by a profile, kept in the bundle, checked by the server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

import tiny_models as tiny
from small_pipeline import inside
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, OnViolation
from when_ml_pipeline_meets_hydra.ml.datasets.csv_file import CsvFile
from when_ml_pipeline_meets_hydra.ml.inputs.data_set import DataSet
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.app import create_app
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings
from when_ml_pipeline_meets_hydra.serving.http.users import Role, new_user
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

ID, PASSWORD = "ann", "s3cret-of-the-server"
SEATS = "{name:seats,dtype:int,min:1,max:5,max_missing:0.1}"
MAKER = "{name:maker,dtype:string,allowed:[acme,bolt],pattern:'[a-z]+'}"
CODE = "{name:code,dtype:string,unique:true}"
BUILT = "{name:built,dtype:date,min:'2000-01-01'}"


def written(**changes: tuple[int, Any]) -> list[str]:
    """The words that train on 40 rows, of which some values are others: column=(row, value)."""
    rows = [
        {"seats": k % 5 + 1, "maker": ["acme", "bolt"][k % 2], "code": f"c{k}", "built": "2020-01-09", "y": k * 1.5}
        for k in range(40)
    ]
    for column, (row, value) in changes.items():
        rows[row - 1][column] = value
    pl.DataFrame(rows, schema_overrides={"seats": pl.Int64}).write_csv("things.csv")
    words = ["preprocessing/dataset=csv", "dataset.path=things.csv", "dataset.target=y"]
    return [*words, f"dataset.columns=[{','.join((SEATS, MAKER, CODE, BUILT))}]"]


def test_what_breaks_a_rule_is_named_with_its_rows_before_training(own_home: Path) -> None:
    words = written(seats=(7, -4), maker=(3, "Acme"), code=(2, "c30"), built=(5, "1999-12-31"))
    code, _, err = inside("c=modeling", *words)
    assert code == 2
    for text in (
        "dataset.columns[0].min=1: the column 'seats' has 1 value below 1: row 7 ('-4')",
        "dataset.columns[1].allowed=acme, bolt: the column 'maker' has 1 value other than acme, bolt: row 3 ('Acme')",
        "dataset.columns[1].pattern=[a-z]+: the column 'maker' has 1 value not matching [a-z]+: row 3 ('Acme')",
        "dataset.columns[2].unique=True: the column 'code' has 2 values that occur more than once: "
        "rows 2, 31 (the first is 'c30')",
        "dataset.columns[3].min=2000-01-01: the column 'built' has 1 value below 2000-01-01: row 5 ('1999-12-31')",
    ):
        assert text in err
    assert not [*own_home.glob("store/*")]


def test_a_share_of_missing_values() -> None:
    words = written(seats=(1, None))
    assert inside("c=preprocessing", *words).code == 0
    words = [word.replace("max_missing:0.1", "max_missing:0.01") for word in words]
    code, _, err = inside("c=preprocessing", *words)
    assert code == 2
    assert "dataset.columns[0].max_missing=0.01: 1 of 40 values of the column 'seats' are missing (0.025)" in err


def test_a_profile_shows_the_rules() -> None:
    done = run(["c=preprocessing", "c/preprocessing_sub=profile", *written()])
    assert done.exit_code == 0, [o.error for o in done.outcomes]
    folder = done.artifact("preprocessing").path
    rules = {c["name"]: c["rules"] for c in json.loads((folder / "profile.json").read_text("utf-8"))["columns"]}
    assert rules["seats"] == ["min 1", "max 5", "max_missing 0.1"]
    assert rules["maker"] == ["allowed acme, bolt", "pattern [a-z]+"]
    assert rules["code"] == ["unique"]
    assert "min 1; max 5; max_missing 0.1" in (folder / "profile.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"pattern": "["}, "this is no regular expression"),
        ({"min": 3, "max": 2}, "min 3 is above max 2"),
        ({"max_missing": 1.5}, "less than or equal to 1"),
        ({"allowed": []}, "at least 1 item"),
    ],
)
def test_rules_are_validated(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Column).validate_python({"name": "x", "dtype": "string", **rules})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{name:maker,dtype:string,min:1}", "min is for numbers and dates, not for string"),
        ("{name:seats,dtype:int,pattern:x}", "pattern is for texts, not for int"),
        ("{name:built,dtype:date,max:soon}", "max: 'soon' is not a date like 2026-01-31"),
        ("{name:seats,dtype:int,allowed:[1,few]}", "allowed: 'few' is not a whole number"),
    ],
)
def test_a_rule_that_does_not_fit_its_column(rule: str, message: str) -> None:
    *words, _ = written()
    code, _, err = inside("c=preprocessing", *words, f"dataset.columns=[{rule}]")
    assert (code, message in err) == (2, True), err


RULES: dict[str, dict[str, Any]] = {
    "seats": {"min": 1, "max": 5},
    "maker": {"pattern": "[a-z]+"},
    "built": {"max": "1970-02-01", "on_violation": OnViolation.COUNT},
    "sold": {"allowed": (True,), "on_violation": OnViolation.COUNT},
    "weight": {"max_missing": 0},
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("contracts")
    columns = tuple(replace(c, **RULES.get(c.name, {})) for c in tiny.COLUMNS)
    data = replace(tiny.prepared(root / "data"), columns=columns)
    (root / "bundle").mkdir()
    bundling.build(data, tiny.regression(root / "model"), root / "bundle")
    repository = Repository(root / "models")
    repository.activate("things", repository.add("things", root / "bundle", "ann"), "ann")
    return repository


def test_the_server_refuses_or_counts_as_configured(repository: Repository) -> None:
    app = create_app(Settings(root=repository.root, sole={ID: new_user(Role.DEPLOY, PASSWORD)}))
    good = tiny.json_row(tiny.ROWS[0])

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, auth=(ID, PASSWORD), base_url="http://server") as client:
            rows: list[dict[str, Any]] = [
                {},
                {"seats": 6},
                {"maker": "Acme 2"},
                {"weight": None},
                {"built": "1970-03-01", "sold": False},
            ]
            url = "/v2/models/things/predict"
            return [
                *[await client.post(url, json={"rows": [good, {**good, **row}]}) for row in rows],
                await client.get("/metrics"),
            ]

    *answers, metrics = asyncio.run(ask())
    assert [a.status_code for a in answers] == [200, 422, 422, 422, 200]
    assert [a.json().get("error") for a in answers[1:4]] == [
        "rows[1].seats: the value is above 5",
        "rows[1].maker: the text does not match '[a-z]+'",
        "rows[1].weight: a value is needed",
    ]
    assert len(answers[4].json()["predictions"]) == 2
    for column, rule in (("seats", "max"), ("built", "max"), ("sold", "allowed"), ("weight", "max_missing")):
        labels = f'column="{column}",model="things",rule="{rule}",version="1"'
        assert f"model_server_contract_violations_total{{{labels}}} 1.0" in metrics.text


def test_a_batch_is_refused_or_counted_as_configured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = tuple(replace(c, **RULES.get(c.name, {})) for c in tiny.COLUMNS)
    data = replace(tiny.prepared(tmp_path / "data"), columns=columns)
    rows = [tiny.json_row(row) for row in tiny.ROWS[:3]]
    rows[1]["built"] = "1971-01-01"
    pl.DataFrame(rows).write_csv("new.csv")
    dataset = DataSet(new_rows=CsvFile(path=Path("new.csv"), target="price"))
    assert [len(batch.target) for batch in dataset.batches(data, tmp_path)] == [3]
    printed = capsys.readouterr().out
    assert "new_rows: the column 'built' has 1 value above 1970-02-01: row 2 ('1971-01-01')\n" in printed
    pl.DataFrame([{**row, "seats": 9} for row in rows]).write_csv("new.csv")
    with pytest.raises(BadInput, match=r"'seats' has 3 values above 5: rows 1, 2, 3 \(the first is '9'\)"):
        list(dataset.batches(data, tmp_path))


def test_a_column_without_rules_has_no_contract() -> None:
    assert not Column(name="x", dtype=DType.FLOAT).has_contract
