"""The options of networks and images, validated before training, without PyTorch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError
from sklearn import datasets

from small_pipeline import inside
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, PreparedData
from when_ml_pipeline_meets_hydra.ml.datasets.coloured_digits import ColouredDigits
from when_ml_pipeline_meets_hydra.ml.models.cnn import Cnn
from when_ml_pipeline_meets_hydra.ml.models.fcn import Fcn
from when_ml_pipeline_meets_hydra.ml.training.network_param import NetworkParam

DIGITS = ("preprocessing/dataset=digits", "modeling/model=cnn")


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Fcn, {"activation": "TANH"}),
        (Fcn, {"norm": "GN"}),
        (Fcn, {"num_hidden": -1}),
        (Fcn, {"hidden_dim": 0}),
        (Fcn, {"dropout_prob": 1.0}),
        (Fcn, {"input_norm": True, "norm": None}),
        (Cnn, {"kernel_size": 0}),
        (Cnn, {"pool_stride": 0}),
        (Cnn, {"channels": []}),
        (Cnn, {"hidden_dim": 10}),
        (Cnn, {"device": "tpu"}),
        (NetworkParam, {"learning_rate": 0}),
        (NetworkParam, {"optimizer": "lbfgs"}),
        (NetworkParam, {"batch_size": 1}),
        (NetworkParam, {"patience": 0}),
        (NetworkParam, {"validation_fraction": 1.0}),
        (NetworkParam, {"n_estimators": 10}),
    ],
)
def test_what_is_out_of_range_is_refused(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(wrong)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [*DIGITS, "m_param.max_depth=3"],
            r"m_param\.max_depth: there is no such key\s+Allowed: m_param\.batch_size, .*m_param\.weight_decay "
            r"\(modeling/param=medium of modeling/model=cnn\); m_param\.max_depth is a key of .*model=lightgbm",
        ),
        (
            ["modeling/model=linear", "m_param.epochs=3"],
            r"epochs is a key of .*modeling/model=cnn and .*modeling/model=fcn",
        ),
        (["modeling/model=cnn"], "model=cnn: takes images, and this data set has none"),
        ([*DIGITS, "model.hidden_dim=10"], r"model\.hidden_dim: there is no such key"),
        ([*DIGITS, "model.num_hidden=2"], r"Allowed: [^A-Z]*model\.kernel_size, [^A-Z]*model\.pool_stride"),
        ([*DIGITS, "model.channels=[4,4,4,4]"], r"model\.pool_stride=2: of an image of 1 × 8 × 8 nothing is left"),
        (
            [*DIGITS, "dataset.image.height=9"],
            r"dataset\.image: an image of 1 × 9 × 8 has 72 pixels, and .* 64 columns",
        ),
        ([*DIGITS, "model.activation=relu"], "expected one of RELU, GELU, SELU, SILU"),
    ],
)
def test_what_does_not_fit_is_reported_before_anything_runs(words: list[str], message: str) -> None:
    code, _, err = inside("c=modeling", *words)
    assert code == ExitCode.BAD_INPUT
    assert re.search(message, err), err
    assert "prepare: done" not in err


def test_pytorch_that_is_not_installed_is_said_before_anything_runs() -> None:
    code = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *where):
        return None if name in ("torch", "onnxscript") else self.finder.find_spec(name, *where)

sys.meta_path[:] = map(Without, sys.meta_path)
from when_ml_pipeline_meets_hydra.cli import main
sys.exit(main(["c=modeling", "+experiment=good_run"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == ExitCode.BAD_INPUT
    assert "model=fcn: needs torch and onnxscript" in done.stderr
    assert "pip install 'when_ml_pipeline_meets_hydra[torch]'" in done.stderr
    assert "prepare: done" not in done.stderr


def test_options_inherit_and_experiments_override() -> None:
    config = inside("--cfg", "job", "modeling/model=cnn_small").out
    assert "name: cnn_small" in config
    assert "pool_stride: 2" in config
    config = inside("--cfg", "job", "modeling/model=single_linear_layer").out
    assert "models.fcn.Fcn" in config
    assert "num_hidden: 0" in config
    config = inside("--cfg", "job", "+experiment=cmnist/cnn", "m_param.epochs=3").out
    for line in (
        "name: cmnist_16",
        "resolution: 16",
        "kernel_size: 3",
        "learning_rate: 0.001",
        "scaling: standard",
        "epochs: 3",
    ):
        assert line in config
    code, _, err = inside("--cfg", "job", "+experiment=goodrun")
    assert code == ExitCode.BAD_INPUT
    assert "'good_run'" in err


def coloured(**fields: Any) -> tuple[Any, list[str]]:
    rows = ColouredDigits(name="c", **fields).rows()
    frame = rows.frame.collect()
    size = fields["resolution"]
    pixels = frame.drop("digit").to_numpy().reshape(-1, 3, size, size)
    assert rows.image == Image(channels=3, height=size, width=size, decoded=True)
    return pixels, frame["digit"].to_list()


def test_coloured_digits_have_the_colour_of_their_class_as_often_as_said() -> None:
    pixels, labels = coloured(resolution=8, num_colors=2, colors=(3, 0), correlation=0.8, seed=5)
    again, _ = coloured(resolution=8, num_colors=2, colors=(3, 0), correlation=0.8, seed=5)
    other, _ = coloured(resolution=8, num_colors=2, colors=(3, 0), correlation=0.8, seed=6)
    assert (pixels == again).all()
    assert (pixels != other).any()
    assert pixels.shape == (1797, 3, 8, 8)
    is_red = pixels[:, 0].sum(axis=(1, 2)) > pixels[:, 2].sum(axis=(1, 2))
    wanted = np.array([int(label) % 2 == 0 for label in labels])
    assert (is_red == wanted).mean() == pytest.approx(0.8, abs=0.03)


def test_coloured_digits_are_resized_and_relabelled() -> None:
    large, labels = coloured(resolution=28, label_map={0: 7, 1: 7, 5: 9}, num_colors=1)
    assert large.shape[1:] == (3, 28, 28)
    assert set(labels) == {"7", "9"}
    _, noisy = coloured(resolution=8, label_map={0: 7, 1: 7, 5: 9}, num_colors=1, label_noise=0.25)
    assert mean(a != b for a, b in zip(labels, noisy, strict=True)) == pytest.approx(0.25, abs=0.06)
    grey = np.asarray(datasets.load_digits().data[0]).reshape(8, 8)
    found, _ = coloured(resolution=8, num_colors=1)
    assert np.corrcoef(found[0, 2].ravel(), grey.ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    "wrong", [{"colors": (1, 1), "num_colors": 2}, {"label_map": {0: 1, 1: 1}}, {"label_map": {10: 1, 1: 0}}]
)
def test_colours_and_labels_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ColouredDigits(name="c", **wrong)


def test_the_pixels_of_a_channel_are_scaled_alike(tmp_path: Path) -> None:
    done = run(["c=preprocessing", "preprocessing/dataset=digits"])
    data = done.artifact("preprocessing")
    assert isinstance(data, PreparedData)
    assert data.image == Image(channels=1, height=8, width=8)
    matrix = pl.read_parquet(data.path / "train.parquet").select(data.features).to_numpy()
    assert matrix.mean() == pytest.approx(0, abs=1e-5)
    assert matrix.std() == pytest.approx(1, abs=1e-5)
    assert np.unique(matrix).size == 17  # as many as there are shades


@pytest.mark.integration
def test_hundreds_of_columns(tmp_path: Path) -> None:
    data = run(["c=preprocessing", "preprocessing/dataset=cmnist_16", "p_param.scaling=robust"]).artifact(
        "preprocessing"
    )
    assert isinstance(data, PreparedData)
    assert data.image == Image(channels=3, height=16, width=16, decoded=True)
    matrix = pl.read_parquet(data.path / "train.parquet").select(data.features).to_numpy().reshape(-1, 3, 256)
    dark = matrix.min(axis=(0, 2))
    assert [(matrix[:, k] == dark[k]).mean() > 0.2 for k in range(3)] == [True] * 3, "black is the same in every pixel"


def test_an_image_of_a_file_with_missing_pixels(tmp_path: Path) -> None:
    file = tmp_path / "faces.csv"
    lines = [f"{i % 7},{'' if i % 6 == 3 else i % 5},{i % 3},{i},{'ab'[i % 2]}" for i in range(40)]
    file.write_text("\n".join(["p0,p1,p2,p3,kind", *lines]))
    words = ["c=preprocessing", "preprocessing/dataset=csv", f"dataset.path={file}", "dataset.target=kind"]
    words.append("dataset.image={height: 2, width: 2}")
    done = run(words)
    assert done.exit_code is ExitCode.STEP_FAILED
    assert "missing_indicator=false" in str(done.outcomes[-1].error)
    assert run([*words, "p_param.missing_indicator=false"]).exit_code is ExitCode.DONE
