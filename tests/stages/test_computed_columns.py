"""Columns that are computed from others: the same in training, in prediction files, and in what is served."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from small_pipeline import write
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.serving.bundle_predictions import Predictor
from when_ml_pipeline_meets_hydra.serving.engine import scorer

AREA = '+dataset.features.area="COALESCE(height / NULLIF(width, 0), 0) * LN(height + 10)"'
SIZE = "+dataset.features.size=\"CASE WHEN height > 5 AND kind <> 'oak' THEN 'large' WHEN height > 5 THEN 'oak' END\""
MONTH = '+dataset.features.late="EXTRACT(month FROM sawn) >= 7"'
COMPUTED = (AREA, SIZE, MONTH)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 boards, some of whose values are missing."""
    rng = random.Random(0)
    lines = ["height,width,kind,sawn,weight"]
    for _ in range(240):
        height, width = rng.uniform(0, 9), rng.choice([0.0, rng.uniform(1, 9)])
        sawn = f"2025-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        values = [rng.choice(["", f"{height:.3f}"]) if rng.random() < 0.2 else f"{height:.3f}", f"{width:.3f}"]
        values += [rng.choice(["oak", "ash", "NA"]), rng.choice([sawn, sawn, ""]), f"{height + width:.3f}"]
        lines.append(",".join(values))
    file = tmp_path_factory.mktemp("boards") / "boards.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def of(file: Path, *words: str) -> tuple[str, ...]:
    return (
        "preprocessing/dataset=csv",
        f"dataset.path={file}",
        "dataset.target=weight",
        "modeling/model=linear",
        *words,
    )


def test_training_predictions_and_the_served_model_agree(boards: Path, tmp_path: Path) -> None:
    rows = tmp_path / "new.csv"
    header, *lines = boards.read_text().splitlines()
    odd = ["1e6,0,new wood,2025-12-31,", "-3,2,,,", ",,oak,2025-07-01,"]
    rows.write_text("\n".join([header, *lines[:60], *odd]) + "\n")
    words = of(boards, *COMPUTED, "dataset.exclude=[width]", "prediction/rows=csv", f"new_rows.path={rows}")
    done = run(["c=prediction,deployment", *words], multirun=True)
    assert done.exit_code == 0
    data = done.artifact("preprocessing")
    model = next(o.artifact for o in done.outcomes if o.step.call.stage == "modeling")
    assert isinstance(data, PreparedData)
    assert isinstance(model, TrainedModel)
    assert [c.name for c in data.columns] == ["height", "kind", "sawn", "width"], "what a request has"
    assert {"area", "size=large", "size=oak", "size=missing", "late=true", "late=missing"} <= set(data.features)
    assert not any(name.startswith("width") for name in data.features), "left out as a feature of its own"
    assert "width (read for dataset.features alone)" in data.remarks
    _check_features(data)
    predicted = pl.read_parquet(done.artifact("prediction").path / "predictions.parquet")["prediction"]
    served = scorer.load(done.prepared.home / "models" / "boards" / "versions" / "1")
    raw = [dict(zip(header.split(","), line.split(","), strict=True)) for line in rows.read_text().splitlines()[1:]]
    sent = [{name: value or None for name, value in row.items() if name != "weight"} for row in raw]
    assert list(served.predict(sent).values) == pytest.approx(predicted.to_list(), rel=1e-12)
    held_out = pl.read_parquet(model.path / "predictions.parquet")["prediction"]
    again = Predictor(data, model).predict_features(_matrix(data, "test"))
    assert again.values.tolist() == held_out.to_list()


def _matrix(data: PreparedData, part: str) -> Any:
    return pl.read_parquet(data.path / f"{part}.parquet").drop("__target__").cast(pl.Float32).to_numpy()


def _check_features(data: PreparedData) -> None:
    """The computed text has the categories that its expression says."""
    raw = pl.read_parquet(data.path / "holdout.parquet")
    large = raw.select((pl.col("height") > 5) & (pl.col("kind") != "oak")).to_series().fill_null(False)
    test = pl.read_parquet(data.path / "test.parquet")
    assert test["size=large"].to_list() == large.to_list()
    late = raw.select(pl.col("sawn").dt.month() >= 7).to_series().fill_null(False)
    assert test["late=true"].to_list() == late.to_list()


def test_problems_are_reported_together_before_anything_runs(boards: Path) -> None:
    def refused(*words: str) -> str:
        with pytest.raises(BadInput) as caught:
            prepare(["c=modeling", *of(boards, *words)])
        return str(caught.value)

    several = refused(
        '+dataset.features.a="SIN(height)"',
        '+dataset.features.b="hight / 2"',
        '+dataset.features.width="height * 2"',
        '+dataset.features.c="weight / 2"',
    )
    for part in (
        "dataset.features.a=SIN(height): the function SIN cannot be used in an expression",
        "dataset.features.b=hight / 2: there is no column 'hight' in the data",
        "Did you mean 'height'",
        "dataset.features.width=height * 2: the data have a column of that name",
        "dataset.features.c=weight / 2: it reads 'weight', the column to predict",
    ):
        assert part in several
    assert "dataset.features.a=kind * 2: * needs a number, and has a text" in refused('+dataset.features.a="kind * 2"')
    assert "dataset.features.a: this is a new name" in refused("dataset.features.a=height")
    assert "dataset.features.a=5" in refused("+dataset.features.a=5")


def test_columns_of_an_option_file_of_the_users_are_merged_and_profiled(boards: Path, tmp_path: Path) -> None:
    own = write(
        tmp_path / "conf",
        {
            "preprocessing/dataset/planks.yaml": "# @package dataset\n# Planks\ndefaults: [csv]\n"
            f"path: {boards}\ntarget: weight\nexclude: [kind]\n"
            "features:\n  ratio: height / width\n  target_twin: height + width\n",
        },
    )
    words = [
        "c=preprocessing",
        "preprocessing/dataset=planks",
        '+dataset.features.tall="height > 5"',
        "modeling/model=linear",
    ]
    data = run(words, config_dirs=[own]).artifact("preprocessing")
    assert isinstance(data, PreparedData)
    assert {"ratio", "target_twin", "tall=true"} <= set(data.features)
    profiled = run([*words, "c/preprocessing_sub=profile"], config_dirs=[own]).artifact("preprocessing")
    content = json.loads((profiled.path / "profile.json").read_text())
    named = {c["name"]: c for c in content["columns"]}
    assert named["ratio"]["description"] == "height / width"
    assert named["tall"]["dtype"] == "bool"
    assert any("suspicion of leakage" in remark for remark in named["target_twin"]["remarks"])


def test_tables_of_databases_and_of_scikit_learn_have_them_too(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "cars.db") as connection:
        connection.execute("create table t (a integer, b real, y real)")
        connection.executemany("insert into t values (?, ?, ?)", [(k, k % 7, 2.0 * k) for k in range(60)])
    schema = (
        "# @package schema\n# T\n_target_: when_ml_pipeline_meets_hydra.ml.datasets.schema.Schema\n"
        "name: t\ntarget: {name: y, dtype: float}\nfeatures: [{name: a, dtype: int}, {name: b, dtype: float}]\n"
    )
    own = write(tmp_path / "conf", {"preprocessing/schema/t.yaml": schema})
    words = ("preprocessing/dataset=table", "preprocessing/schema=t", f"connection.path={tmp_path / 'cars.db'}")
    done = run(["c=preprocessing", *words, "+dataset.features.ratio=a / b"], config_dirs=[own])
    data = done.artifact("preprocessing")
    assert isinstance(data, PreparedData)
    assert {"ratio", "ratio missing"} <= set(data.features)
    with pytest.raises(BadInput, match=r"dataset\.features\.ratio=c / b: there is no column 'c' in the data"):
        prepare(["c=preprocessing", *words, "+dataset.features.ratio=c / b"], config_dirs=[own])
    wine = ("preprocessing/dataset=wine", "+dataset.features.ratio=alcohol / ash")
    prepared = run(["c=preprocessing", *wine]).artifact("preprocessing")
    assert isinstance(prepared, PreparedData)
    assert "ratio" in prepared.features
