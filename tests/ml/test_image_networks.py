"""A convolutional network of image files: trained, served, and asked with a file."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from model_server import running
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData

pytestmark = pytest.mark.integration("torch", "onnxscript")


def test_a_network_of_faces_answers_a_file_as_it_did_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, faces = np.random.default_rng(0), tmp_path / "celeba" / "img_align_celeba"
    faces.mkdir(parents=True)
    lines = ["200", "Male Smiling"]
    for number in range(200):
        pixels = draw.integers(60, 120, (218, 178, 3)).astype(np.uint8)
        pixels[130:170, 50:130] = (230, 20, 40) if number % 2 else (60, 60, 60)
        Image.fromarray(pixels).save(faces / f"{number}.jpg", quality=90)
        lines.append(f"{number}.jpg {1 if number % 3 else -1} {1 if number % 2 else -1}")
    (tmp_path / "celeba" / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("CELEBA_ROOT", str(tmp_path))
    done = run(
        [
            *("c=deployment", "preprocessing/dataset=celeba_male_smiling_small", "dataset.default_res=28"),
            *("modeling/model=cnn", "m_param.epochs=3"),
        ]
    )
    assert done.exit_code == 0
    data = done.artifact("preprocessing")
    assert isinstance(data, PreparedData)
    assert (data.rows_train, data.rows_test, len(data.features)) == (160, 40, 3 * 28 * 28)
    assert done.metrics["modeling.accuracy"] > 0.9
    row = int(pl.read_parquet(data.path / "rows.parquet")["row"][0])
    predicted = pl.read_parquet(done.artifact("modeling").path / "predictions.parquet")
    sent = base64.b64encode((faces / f"{row}.jpg").read_bytes()).decode()
    with running(done.prepared.home / "models", tmp_path / "log", "--timeout", "60") as server:
        path = "/v2/models/celeba_male_smiling_small"
        status, answer = server.call("POST", f"{path}/predict", {"rows": [{"image": sent}]})
        assert status == 200, answer
        assert answer["probabilities"][0]["true"] == pytest.approx(predicted["probability_true"][0], abs=1e-6)
        status, known = server.call("GET", path)
        assert (status, known["parameters"]["image"]["height"]) == (200, 28)
