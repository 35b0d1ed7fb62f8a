"""Predictions of any rows, and the report on them."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from small_pipeline import inside
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.ml.evaluation import Predicted, Report
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

LINEAR = ("modeling/model=linear",)
CARS = Path(__file__).parents[2] / "src/when_ml_pipeline_meets_hydra/ml/datasets/files/cars.csv"


def predicted(*words: str) -> tuple[Predicted, pl.DataFrame]:
    done = run(["c=prediction", *LINEAR, *words])
    assert done.exit_code == 0, [o.error for o in done.outcomes]
    found = done.artifact("prediction")
    assert isinstance(found, Predicted)
    return found, pl.read_parquet(found.path / "predictions.parquet")


def reported(*words: str) -> tuple[dict[str, Any], str]:
    done = run(["c=analysis", *LINEAR, *words])
    assert done.exit_code == 0, [o.error for o in done.outcomes]
    found = done.artifact("analysis")
    assert isinstance(found, Report)
    report = json.loads((found.path / "report.json").read_text("utf-8"))
    assert [s["name"] for s in report["sections"]] == list(found.sections)
    return report, (found.path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("dataset", ["cars", "wine"])
def test_held_out_rows_are_predicted_as_training_did(dataset: str) -> None:
    found, table = predicted(f"preprocessing/dataset={dataset}")
    trained = run(["c=modeling", *LINEAR, f"preprocessing/dataset={dataset}"]).artifact("modeling")
    expected = pl.read_parquet(trained.path / "predictions.parquet")
    assert table["row"].is_sorted()
    assert table["row"].n_unique() == expected.height
    assert (found.held_out, found.rows, found.known) == (True, expected.height, expected.height)
    assert found.scores == pytest.approx(trained.metrics, rel=1e-4)  # type: ignore[attr-defined]
    if found.classes:
        assert table["prediction"].to_list() == [found.classes[k] for k in expected["prediction"]]
        names = [f"probability_{c}" for c in found.classes]
        assert table.columns == ["row", "target", "prediction", *names]
        assert table.select(names).to_numpy() == pytest.approx(expected.select(names).to_numpy(), abs=1e-5)
        assert table.select(pl.sum_horizontal(names)).to_series().to_numpy() == pytest.approx(1)
    else:
        assert table["prediction"].to_numpy() == pytest.approx(expected["prediction"].to_numpy(), rel=1e-4)


def test_errors_on_held_out_rows_can_be_joined_back(own_home: Path) -> None:
    _, table = predicted("rows.id=Name")
    cars = pl.read_csv(CARS, infer_schema_length=None).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    joined = table.join(cars, on="row")
    assert joined.height == table.height
    assert joined["id"].to_list() == joined["Name"].to_list()
    assert joined["target"].to_list() == joined["Miles_per_Gallon"].to_list()
    code, _, err = inside("c=prediction", *LINEAR, "rows.id=nothing")
    assert (code, "rows.id=nothing: there is no such column in the data" in err) == (2, True)


def test_a_file_without_the_target_is_predicted_as_the_served_model_does(own_home: Path) -> None:
    rows = pl.read_csv(CARS, infer_schema_length=None)
    rows.drop("Miles_per_Gallon").write_csv("new.csv")
    found, table = predicted("prediction/rows=csv", "new_rows.path=new.csv", "rows.id=Name")
    assert (found.held_out, found.rows, found.known, found.scores) == (False, rows.height, 0, {})
    assert table["id"].to_list() == rows["Name"].to_list()
    assert table["target"].null_count() == rows.height
    assert run(["c=deployment", *LINEAR]).exit_code == 0
    served = scorer.load(Repository(own_home / "models").folder("cars", 1))
    names = [column.name for column in served.manifest.inputs]
    answers = served.predict(rows.select(names).to_dicts())
    assert table["prediction"].to_list() == pytest.approx(list(answers.values), rel=1e-6)


def test_a_file_with_some_targets_and_an_unknown_class() -> None:
    found, _ = predicted("preprocessing/dataset=wine")
    wine = run(["c=preprocessing", "preprocessing/dataset=wine"]).artifact("preprocessing")
    rows = pl.read_parquet(wine.path / "holdout.parquet").head(4)
    known = [found.classes[0], None, "no such wine", found.classes[1]]
    rows.with_columns(cultivar=pl.Series(known)).write_parquet("new.parquet")
    new, table = predicted("preprocessing/dataset=wine", "prediction/rows=parquet", "new_rows.path=new.parquet")
    assert table["target"].to_list() == known
    assert (new.rows, new.known) == (4, 2)
    assert 0 <= new.scores["accuracy"] <= 1
    changed = rows.with_columns(cultivar=pl.Series([None] * 4, dtype=pl.String))
    changed.write_parquet("new.parquet")
    again, _ = predicted("preprocessing/dataset=wine", "prediction/rows=parquet", "new_rows.path=new.parquet")
    assert again.known == 0, "another content is predicted anew"


def test_rows_that_do_not_fit_are_refused_before_anything_runs() -> None:
    rows = pl.read_csv(CARS, infer_schema_length=None)
    words = ("c=prediction", *LINEAR, "modeling/param=small", "prediction/rows=csv", "m_param.seed=77")

    def refused(*more: str) -> str:
        done = inside(*words, *more)
        assert (done.code, "Nothing ran" in done.err) == (2, True), done.err
        return done.err

    rows.drop("Horsepower").write_csv("new.csv")
    assert "new_rows: the data have no column Horsepower, which the model needs" in refused("new_rows.path=new.csv")
    assert "new_rows.path=none.csv: there is no such file" in refused("new_rows.path=none.csv")
    assert "new_rows.path: a value is needed" in refused()
    assert "rows.id=nothing: there is no such column" in refused(f"new_rows.path={CARS}", "rows.id=nothing")
    Path("new.csv").write_bytes("Größe\n".encode("latin-1"))
    message = refused("new_rows.path=new.csv")
    assert "new_rows.path=new.csv: the header (line 1) has the bytes f6" in message
    assert "new_rows.encoding=latin-1" in message
    assert "dataset." not in message
    comma = pl.col("Acceleration").cast(pl.String).str.replace(".", ",", literal=True)
    rows.with_columns(comma).write_csv("new.csv", separator=";")
    message = refused("new_rows.path=new.csv", "new_rows.separator=';'")
    assert "new_rows: row 1 of the column 'Acceleration' is '12,0', which is not a number" in message
    assert "Write new_rows.decimal=','" in message
    advised = inside(*words, "new_rows.path=new.csv", "new_rows.separator=';'", "new_rows.decimal=','")
    assert (advised.code, f"{rows.height} rows predicted" in advised.out) == (0, True), advised.out
    rows.with_columns(pl.lit("low").alias("Acceleration")).write_csv("new.csv")
    message = refused("new_rows.path=new.csv")
    assert "new_rows: row 1 of the column 'Acceleration' is 'low', which is not a number" in message
    assert "Correct it, or add what means a missing value to new_rows.null_values" in message
    Path("new.parquet").write_bytes(b"PAR1 no")
    message = refused("prediction/rows=parquet", "new_rows.path=new.parquet")
    assert "new_rows.path=new.parquet: this is no Parquet file that can be read" in message
    assert "If it is a CSV file, choose the option csv instead of parquet" in message
    stored = ("c=prediction", "prediction/model=run", "stored_model.run=last", "prediction/rows=csv")
    assert run(["c=modeling", *LINEAR]).exit_code == 0
    rows.drop("Horsepower").write_csv("new.csv")
    done = inside(*stored, "new_rows.path=new.csv")
    assert (done.code, "Nothing ran" in done.err, "no column Horsepower" in done.err) == (2, True, True)


class _Html(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.outside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))
        links = [v or "" for name, v in attrs if name in ("src", "href", "srcset", "action")]
        self.outside += [link for link in links if not link.startswith(("data:", "#"))]


def whole_page(text: str) -> _Html:
    """A page that needs nothing else, with words for each of its pictures."""
    page = _Html(text)
    assert not page.outside
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import", text)
    assert all(len(str(p["alt"])) > 20 for p in page.pictures)
    for picture in page.pictures:
        svg = base64.b64decode(str(picture["src"]).partition("base64,")[2])
        assert svg.startswith(b"<?xml")
    return page


def test_the_report_on_two_classes_has_the_numbers_of_the_predictions() -> None:
    words = ("preprocessing/dataset=breast_cancer", "page.sections.importance.repeats=1")
    report, text = reported(*words)
    found, table = predicted("preprocessing/dataset=breast_cancer")
    sections = {s["name"]: s["numbers"] for s in report["sections"]}
    assert list(sections) == ["confusion", "curves", "calibration", "importance"]
    true, said = table["target"], table["prediction"]
    counts = metrics.confusion_matrix(true, said, labels=list(found.classes))
    assert sections["confusion"]["counts"] == counts.tolist()
    (curve,) = sections["curves"]["classes"]
    scores = table[f"probability_{found.classes[1]}"]
    assert curve["class"] == found.classes[1]
    assert curve["roc_auc"] == pytest.approx(metrics.roc_auc_score(true == found.classes[1], scores))
    assert (curve["roc"][0], curve["roc"][-1]) == ([0, 0], [1, 1])
    bins = sections["calibration"]["bins"]
    assert sum(b["rows"] for b in bins) == table.height
    assert all(b["from"] <= b["predicted"] <= b["to"] for b in bins)
    assert report["metrics"] == pytest.approx(found.scores)
    page = whole_page(text)
    assert page.tags.count("section") == 4
    assert len(page.pictures) == 5
    assert f"<dd>{found.scores['accuracy']:.4g}" in text


def test_the_report_on_numbers() -> None:
    report, text = reported("page.sections.importance.repeats=2")
    _, table = predicted()
    sections = {s["name"]: s["numbers"] for s in report["sections"]}
    assert list(sections) == ["residuals", "importance"], "a linear model is not trained step by step"
    errors = (table["prediction"] - table["target"]).to_numpy()
    assert sections["residuals"]["mean"] == pytest.approx(errors.mean())
    assert sum(sections["residuals"]["histogram"]["counts"]) == table.height
    assert sections["residuals"]["quantiles"]["0.5"] == pytest.approx(np.median(errors))
    columns = sections["importance"]["columns"]
    assert len(columns) == 7
    assert columns[0]["column"] in ("Weight_in_lbs", "Year", "Horsepower", "Displacement")
    assert columns[0]["mean"] > columns[-1]["mean"]
    whole_page(text)


def test_what_the_model_does_not_look_at_has_no_importance() -> None:
    rng = np.random.default_rng(0)
    useful = rng.normal(size=300)
    frame = pl.DataFrame({"useful": useful, "same": [1.0] * 299 + [2.0], "y": 3 * useful})
    frame.write_parquet("data.parquet")
    words = (
        "preprocessing/dataset=parquet",
        "dataset.path=data.parquet",
        "dataset.target=y",
        "dataset.task=regression",
    )
    report, _ = reported(*words)
    importance = next(s["numbers"] for s in report["sections"] if s["name"] == "importance")
    found = {c["column"]: c["mean"] for c in importance["columns"]}
    assert found["useful"] > 1
    assert abs(found["same"]) < 0.1


def test_the_learning_curve_of_trees_and_the_same_bytes_twice(tmp_path: Path) -> None:
    words = ("modeling/model=gradient_boosting", "m_param.n_estimators=12", "page.sections.importance=null")
    report, text = reported(*words)
    curve = next(s["numbers"] for s in report["sections"] if s["name"] == "learning_curve")
    assert curve["step"] == "tree"
    assert {len(v) for v in curve["losses"].values()} == {12}
    losses = curve["losses"]["training rows"]
    assert losses[-1] < losses[0]
    again, text_again = reported(*words, f"home={tmp_path / 'elsewhere'}")
    assert (again, text_again) == (report, text)


@pytest.mark.integration("torch", "onnxscript")
def test_the_learning_curve_of_a_network() -> None:
    done = run(["c=analysis", "+experiment=good_run", "m_param.epochs=3", "page.sections.importance=null"])
    assert done.exit_code == 0
    report = json.loads((done.artifact("analysis").path / "report.json").read_text("utf-8"))
    sections = {s["name"]: s["numbers"] for s in report["sections"]}
    curve = sections["learning_curve"]
    assert (curve["step"], {len(v) for v in curve["losses"].values()}) == ("epoch", {3})
    assert 1 <= curve["best"] <= 3
    assert len(sections["curves"]["classes"]) == 3, "each class against the others"


def test_names_are_shown_as_texts() -> None:
    evil = "<script>alert(1)</script>"
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    frame = pl.DataFrame({evil: x, "y": [evil if v > 0 else "b$\\frac" for v in x]})
    frame.write_parquet("data.parquet")
    _, text = reported("preprocessing/dataset=parquet", "dataset.path=data.parquet", "dataset.target=y")
    whole_page(text)
    assert "&lt;script&gt;" in text


def test_rows_without_targets_cannot_be_reported_on() -> None:
    pl.read_csv(CARS, infer_schema_length=None).drop("Miles_per_Gallon").write_csv("new.csv")
    done = inside("c=analysis", *LINEAR, "prediction/rows=csv", "new_rows.path=new.csv")
    assert done.code == 1
    assert "No row of new has a known target, so nothing can be compared" in done.err
