"""Bundles: one graph from raw rows to predictions, and the digest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import pytest

import tiny_models as tiny
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.engine.encode import BadRow
from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, difference
from when_ml_pipeline_meets_hydra.serving.formats.manifest import (
    BundleRefused,
    describe_files,
    digest_of,
    read_manifest,
    write_manifest,
)


def build(folder: Path, out: str = "bundle", **model: Any) -> Path:
    data, trained = tiny.prepared(folder / f"{out}-data"), tiny.regression(folder / f"{out}-model", **model)
    (folder / out).mkdir()
    bundling.build(data, trained, folder / out)
    return folder / out


def test_regression_from_raw_rows(tmp_path: Path) -> None:
    loaded = scorer.check(build(tmp_path))
    found = loaded.predict([tiny.json_row(row) for row in tiny.ROWS])
    assert found.values == pytest.approx([tiny.price(row) for row in tiny.ROWS], rel=1e-6)
    assert found.probabilities is None


def test_classification_predicts_names_and_probabilities(tmp_path: Path) -> None:
    data = tiny.prepared(tmp_path / "data", task=Task.CLASSIFICATION)
    (tmp_path / "bundle").mkdir()
    smoke = bundling.build(data, tiny.classification(tmp_path / "model"), tmp_path / "bundle")
    found = scorer.check(tmp_path / "bundle").predict([tiny.json_row(row) for row in tiny.ROWS])
    assert len(set(found.values)) > 1
    assert set(found.values) <= set(tiny.CLASSES)
    assert found.values == smoke.expected.values
    assert smoke.difference(found) is None
    assert [sum(row) for row in found.probabilities or ()] == pytest.approx([1.0] * len(tiny.ROWS), abs=1e-6)


def test_same_model_same_digest_whenever_it_is_built(tmp_path: Path) -> None:
    first, second, other = build(tmp_path, "a"), build(tmp_path, "b"), build(tmp_path, "c", slope=3.0)
    assert read_manifest(first)[1] == read_manifest(second)[1] != read_manifest(other)[1]
    assert read_manifest(first)[0].source == read_manifest(second)[0].source


def test_a_bundle_of_an_earlier_version_is_served() -> None:
    """Made before graphs were of opset 21 and ai.onnx.ml 5, and before manifests had a ``spread``."""
    loaded = scorer.check(Path(__file__).parent / "bundle_of_opset_18")
    assert loaded.manifest.spread is None
    assert [(output.name, output.datatype.value) for output in loaded.manifest.outputs] == [("prediction", "FP32")]
    (prediction,) = loaded.predict([{"Cylinders": 8, "Weight_in_lbs": 4000, "Origin": "USA"}]).values
    assert 5 < float(prediction) < 25


def test_graphs_that_do_not_fit_each_other(tmp_path: Path) -> None:
    data, trained = tiny.prepared(tmp_path / "data"), tiny.regression(tmp_path / "model")
    model = onnx.load(trained.path / "model.onnx")
    model.opset_import[0].version -= 1
    onnx.save(model, trained.path / "model.onnx")
    with pytest.raises(StepFailed, match="do not fit each other"):
        bundling.build(data, trained, tmp_path)


def test_predictions_that_differ_from_trainings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"row 0: .* instead of"):
        build(tmp_path, lie=0.5)


def test_a_column_may_be_named_as_an_output(tmp_path: Path) -> None:
    data, trained = tiny.prepared(tmp_path / "data"), tiny.regression(tmp_path / "model")
    graph = onnx.load(data.path / "preprocessing.onnx")
    for node in graph.graph.node:
        node.input[:] = ["prediction" if name == "maker" else name for name in node.input]
    graph.graph.input[2].name = "prediction"
    onnx.save(graph, data.path / "preprocessing.onnx")
    raw = pl.read_parquet(data.path / "holdout.parquet").rename({"maker": "prediction"})
    raw.write_parquet(data.path / "holdout.parquet")
    summary = (data.path / "summary.json").read_text()
    (data.path / "summary.json").write_text(summary.replace('"maker"', '"prediction"'))
    columns = tuple(replace(c, name="prediction") if c.name == "maker" else c for c in data.columns)
    (tmp_path / "bundle").mkdir()
    bundling.build(replace(data, columns=columns), trained, tmp_path / "bundle")
    loaded = scorer.check(tmp_path / "bundle")
    assert [output.name for output in loaded.manifest.outputs] == ["predicted_prediction"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"weigth": 1.0}, "rows[0].weigth: there is no such input. Did you mean 'weight'?"),
        ({"weight": "heavy"}, "rows[0].weight: 'heavy' is not a number"),
        ({"weight": True}, "rows[0].weight: True is not a number"),
        ({"weight": 10**400}, "is not a finite number"),
        ({"weight": float("inf")}, "rows[0].weight: inf is not a finite number"),
        ({"seats": 2.5}, "rows[0].seats: 2.5 is not a whole number"),
        ({"maker": [3]}, "rows[0].maker: [3] is not a text"),
        ({"maker": "\ud800"}, "is not a text of valid Unicode"),
        ({"sold": "yes"}, "rows[0].sold: 'yes' is not true or false"),
        ({"built": "1970-13-01"}, "rows[0].built: '1970-13-01' is not a date like 2026-01-31"),
        ({"built": 3}, "rows[0].built: 3 is not a date like 2026-01-31"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRow) as raised:
        scorer.load(build(tmp_path)).predict([row])
    assert message in str(raised.value)


def test_everything_wrong_in_a_request_is_named_up_to_ten(tmp_path: Path) -> None:
    loaded = scorer.load(build(tmp_path))
    with pytest.raises(BadRow) as raised:
        loaded.predict([{"weight": "heavy", "weigth": 1.0, "sold": "yes"}, {"weight": 1.0}, {"weight": "light"}])
    assert sorted(str(raised.value).split("; ")) == [
        "rows[0].sold: 'yes' is not true or false",
        "rows[0].weight: 'heavy' is not a number",
        "rows[0].weigth: there is no such input. Did you mean 'weight'?",
        "rows[2].weight: 'light' is not a number",
    ]
    with pytest.raises(BadRow) as raised:
        loaded.predict([{"weight": "heavy", f"x{k}": 1.0} for k in range(30)])
    assert str(raised.value).count("; rows[") == 9
    assert str(raised.value).endswith("; and 50 more")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"columns": {}, "prediction": {"edges": [1.0], "counts": [1]}}', "cannot be read"),
        ('{"columns": {}, "prediction": null}', "does not match the manifest's inputs"),
    ],
)
def test_training_json_must_match_the_model(tmp_path: Path, content: str, message: str) -> None:
    folder = build(tmp_path)
    (folder / "training.json").write_text(content)
    sign(folder)
    with pytest.raises(BundleRefused, match=rf"training\.json.* {message}"):
        scorer.check(folder)


def test_missing_keys_and_null_are_missing_values(tmp_path: Path) -> None:
    loaded = scorer.load(build(tmp_path))
    empty, null = loaded.predict([{}]).values, loaded.predict([dict.fromkeys(tiny.ROWS[0])]).values
    assert empty == null == pytest.approx([tiny.price(dict.fromkeys(tiny.ROWS[0]))])
    assert loaded.predict([]).values == ()


def rewrite(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(content | changes))


def sign(folder: Path) -> None:
    """Make a changed bundle pass its checksums."""
    manifest, _ = read_manifest(folder)
    write_manifest(folder, replace(manifest, files=describe_files(folder)))


def test_a_bundle_of_before_columns_had_rules_and_texts_a_reading_still_serves(tmp_path: Path) -> None:
    folder = build(tmp_path)
    content = json.loads((folder / "bundle.json").read_bytes())
    del content["digest"], content["reading"]
    columns = [{name: c[name] for name in ("name", "dtype", "description")} for c in content["inputs"]]
    older = {**content, "inputs": columns}
    facts = {name: fact for name, fact in older.items() if name != "provenance"}
    (folder / "bundle.json").write_text(json.dumps({"digest": digest_of(facts), **older}), encoding="utf-8")
    row = tiny.ROWS[0]
    (answer,) = scorer.check(folder).predict([tiny.json_row(row)]).values
    assert answer == pytest.approx(tiny.price(row), rel=1e-6)


def test_a_damaged_file_or_manifest_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (folder / "smoke.json").write_text((folder / "smoke.json").read_text().replace("acme", "acmE"))
    with pytest.raises(BundleRefused, match=r"smoke\.json does not match its checksum"):
        scorer.check(folder)
    rewrite(folder, dataset="other")
    with pytest.raises(BundleRefused, match="digest"):
        scorer.check(folder)
    rewrite(folder, format=1)
    with pytest.raises(BundleRefused, match=r"bundle\.json: format"):
        scorer.check(folder)
    (folder / "bundle.json").write_text("[" * 100_000)
    with pytest.raises(BundleRefused, match="cannot be read"):
        scorer.check(folder)


def test_a_bundle_that_fails_its_smoke_rows_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (folder / "model.onnx").write_bytes((build(tmp_path, "other", slope=5.0) / "model.onnx").read_bytes())
    sign(folder)
    with pytest.raises(BundleRefused, match="its own smoke rows fail: row 0"):
        scorer.check(folder)


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickle.", b"PK\x03\x04" + bytes(100)])
def test_files_that_are_not_models_are_refused(tmp_path: Path, content: bytes) -> None:
    folder = build(tmp_path)
    (folder / "model.onnx").write_bytes(content)
    sign(folder)
    with pytest.raises(BundleRefused, match=r"model\.onnx"):
        scorer.check(folder)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path)
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    sign(folder)
    with pytest.raises(BundleRefused, match=r"model\.onnx"):
        scorer.check(folder)


@pytest.mark.parametrize("place", ["initializer", "attribute"])
def test_data_outside_the_file_are_refused(tmp_path: Path, place: str) -> None:
    folder = build(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(4))
    model = onnx.load(folder / "model.onnx")
    tensor = onnx.TensorProto(
        name="stolen", data_type=onnx.TensorProto.FLOAT, dims=[1], data_location=onnx.TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="../secret.bin")
    if place == "initializer":
        model.graph.initializer.append(tensor)
    else:
        model.graph.node.append(onnx.helper.make_node("Constant", [], ["stolen"], value=tensor))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    sign(folder)
    with pytest.raises(BundleRefused, match="outside its own file"):
        scorer.check(folder)


def test_what_counts_as_a_difference() -> None:
    numbers = Predictions(values=(100.0, -50.0))
    for spread in (75.0, None):
        assert difference(numbers, Predictions(values=(100.001, -50.001)), spread) is None
        assert difference(numbers, Predictions(values=(100.0, -50.1)), spread) == "row 1: -50.1 instead of -50"
        assert difference(numbers, Predictions(values=(100.0, float("nan"))), spread) == "row 1: nan instead of -50"
        assert difference(numbers, Predictions(values=(100.0,)), spread) == "1 predictions for 2 rows"
    far, near = Predictions(values=(2e9, 2e9 + 40)), Predictions(values=(2e9, 2e9))
    assert difference(far, near, 11.5) == "row 1: 2e+09 instead of 2.00000004e+09"
    assert difference(far, near, None) is None, "as bundles of earlier versions were checked"
    names = Predictions(values=("a", "b"), probabilities=((0.9, 0.1), (0.5, 0.5)))
    assert difference(names, Predictions(values=("a", "a"), probabilities=names.probabilities), None) is None
    wrong = Predictions(values=("b", "b"), probabilities=names.probabilities)
    assert difference(names, wrong, None) == "row 0: 'b' instead of 'a'"
    assert difference(names, Predictions(values=("a", "b")), None) == "the probabilities are missing"
