"""Networks are trained for every task, exported unchanged, and resumed where they were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets

from conftest import PROGRAM, Cli
from noted import Noted
from prepared_tables import prepared, written
from small_pipeline import inside
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.clusters.local import Local
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Pruned, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import (
    ONNX_IR_VERSION,
    ONNX_ML_OPSET,
    ONNX_OPSET,
    Image,
    PreparedData,
    Task,
    TrainedModel,
)
from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate
from when_ml_pipeline_meets_hydra.ml.models.cnn import Cnn
from when_ml_pipeline_meets_hydra.ml.models.fcn import Fcn
from when_ml_pipeline_meets_hydra.ml.models.network import InDim, Network
from when_ml_pipeline_meets_hydra.ml.training import predictions
from when_ml_pipeline_meets_hydra.ml.training.matrices import read_split
from when_ml_pipeline_meets_hydra.ml.training.network_param import NetworkParam
from when_ml_pipeline_meets_hydra.ml.training.param import Loss
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.ml.training.target_scale import TargetScale
from when_ml_pipeline_meets_hydra.serving.bundling import held_out_rows
from when_ml_pipeline_meets_hydra.stages.modeling import train

pytestmark = pytest.mark.integration("torch", "onnxscript")

QUICK = NetworkParam(epochs=15, learning_rate=0.01, patience=None)
LINEAR = Fcn(name="single_linear_layer", num_hidden=0, norm=None)
FCN = Fcn(hidden_dim=32, num_hidden=1)
TABLES: dict[str, Any] = {
    "numbers": lambda: (*datasets.load_diabetes(return_X_y=True), ()),
    "two classes": lambda: (*datasets.load_breast_cancer(return_X_y=True), ("malignant", "benign")),
    "three classes": lambda: (*datasets.load_wine(return_X_y=True), ("a", "b", "c")),
}
FILES = ("model.onnx", "metrics.json", "predictions.parquet", "history.json")

silent = NoProgress()


def trained(
    model: Any, data: PreparedData, out: Path, param: NetworkParam = QUICK, checkpoints: Path | None = None
) -> TrainedModel:
    out.mkdir()
    return train(model, param, data, out=out, progress=silent, checkpoints=checkpoints)


def learnt(model: Network, data: PreparedData, param: NetworkParam = QUICK, **further: Any) -> tuple[Any, Any]:
    """Metrics and predictions on the held-out rows, without the export, which takes seconds."""
    known, held_out = read_split(data, "train"), read_split(data, "test")
    scale = None if data.classes else TargetScale.of(known.target)
    target = known.target if scale is None else scale.apply(known.target)
    estimator = model.fit(data.task, param, known.features, target, silent, image=data.image, **further)
    predicted = predictions.predict(estimator, held_out.features, len(data.classes), scale)
    return evaluate(held_out.target, predicted), (predicted, held_out.target)


def table(folder: Path, name: str) -> PreparedData:
    features, target, classes = TABLES[name]()
    return prepared(folder, features, target, classes=classes)


def images(folder: Path, channels: int, height: int, width: int) -> PreparedData:
    """80 images that are bright in the upper or the lower half."""
    rng, target = np.random.default_rng(0), np.arange(80) % 2
    pixels = rng.normal(scale=0.3, size=(80, channels, height, width))
    pixels[target == 0, :, : height // 2] += 1
    pixels[target == 1, :, height // 2 :] += 1
    flat = pixels.reshape(80, -1)
    data = written(folder, flat[20:], target[20:], flat[:20], target[:20], ("above", "below"))
    return replace(data, image=Image(channels=channels, height=height, width=width))


def answers(result: TrainedModel, data: PreparedData) -> dict[str, Any]:
    features = pl.read_parquet(data.path / "test.parquet").select(data.features).to_numpy().astype(np.float32)
    session = onnxruntime.InferenceSession(result.path / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": features}), strict=True))


@pytest.mark.parametrize(
    ("model", "name"),
    [(FCN, "numbers"), (FCN, "three classes"), (LINEAR, "numbers"), (LINEAR, "two classes")],
    ids=lambda value: getattr(value, "name", value),
)
def test_tables_of_every_task(model: Fcn, name: str, tmp_path: Path) -> None:
    data = table(tmp_path / "data", name)
    result = trained(model, data, tmp_path / "out")
    recorded, found = pl.read_parquet(result.path / "predictions.parquet"), answers(result, data)
    if name == "numbers":
        assert found["prediction"].shape == (data.rows_test, 1)
        np.testing.assert_allclose(found["prediction"][:, 0], recorded["prediction"], rtol=1e-6)
        assert result.metrics["r2"] > 0.3
        return
    assert found["label"].tolist() == recorded["prediction"].to_list()
    probabilities = recorded.select(f"probability_{c}" for c in data.classes).to_numpy()
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
    assert result.metrics["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        ((1, 8, 8), Cnn()),
        ((1, 8, 8), Cnn(kernel_size=3, pool_stride=1, activation="SELU", channels=(4,), hidden_dims=())),
        ((1, 4, 6), Cnn(kernel_size=2, dropout_prob=0.2)),
        ((1, 64, 64), Cnn(channels=(2, 2), kernel_size=4, pool_stride=3, activation="GELU")),
        ((3, 8, 8), Fcn(hidden_dim=16, input_norm=True, norm="BN", activation="SILU", final_bias=False)),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_images_of_every_size(shape: tuple[int, int, int], model: Network, tmp_path: Path) -> None:
    data = images(tmp_path / "data", *shape)
    result = trained(model, data, tmp_path / "out", replace(QUICK, epochs=8, learning_rate=0.005, batch_size=16))
    assert result.metrics["accuracy"] > 0.9
    graph = onnx.load(result.path / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    versions = {entry.domain: entry.version for entry in graph.opset_import}
    assert (versions, graph.ir_version) == ({"": ONNX_OPSET, "ai.onnx.ml": ONNX_ML_OPSET}, ONNX_IR_VERSION)
    assert [value.name for value in graph.graph.input] == ["features"]
    assert sorted(file.name for file in result.path.iterdir()) == sorted(FILES)
    assert b".py" not in (result.path / "model.onnx").read_bytes(), "no line of source, and no folder of this machine"


def test_build_takes_a_number_of_features_or_a_shape() -> None:
    import torch

    assert FCN.build(7, out_dim=3)(torch.zeros(2, 7)).shape == (2, 3)
    assert FCN.build((3, 4, 5), out_dim=3)(torch.zeros(2, 3, 4, 5)).shape == (2, 3)
    assert Fcn().build(7, out_dim=3)[0][0].out_features == 7
    for size in (4, 5, 8, 28, 63, 64):
        assert Cnn().build((3, size, size + 1), out_dim=2)(torch.zeros(1, 3, size, size + 1)).shape == (1, 2)
    with pytest.raises(
        BadInput, match=r"model\.pool_stride=2: of an image of 3 × 3 × 3 nothing is left after 2 maxima"
    ):
        Cnn().build((3, 3, 3), out_dim=2)
    with pytest.raises(BadInput, match="takes images"):
        Cnn().build(9, out_dim=2)
    with pytest.raises(BadInput, match=r"model\.hidden_dim: model\.norm=LN makes a layer of a single value 0"):
        Fcn().build(1, out_dim=2)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 5),
    layers=st.integers(1, 4),
)
def test_an_image_fits_or_a_problem_is_reported(
    shape: tuple[int, int, int], kernel: int, stride: int, layers: int
) -> None:
    import torch

    model = Cnn(kernel_size=kernel, pool_stride=stride, channels=(2,) * layers, hidden_dims=(3,))
    if list(model.misfit(Image(channels=shape[0], height=shape[1], width=shape[2]))):
        with pytest.raises(BadInput, match=r"model\.pool_stride=\d: of an image of"):
            model.build(shape, out_dim=4)
    else:
        assert model.build(shape, out_dim=4)(torch.zeros(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize("loss", Loss)
def test_each_loss_finds_the_middle(loss: Loss, tmp_path: Path) -> None:
    metrics, (_, target) = learnt(FCN, table(tmp_path / "data", "numbers"), replace(QUICK, loss=loss))
    assert metrics["mae"] < 0.85 * np.abs(target - np.median(target)).mean()


def test_a_quantile_leaves_its_part_of_the_rows_below(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, size=(2000, 2))
    data = prepared(tmp_path / "data", features, 1e6 + 300 * features[:, 0] + 100 * rng.normal(size=2000))
    _, (predicted, target) = learnt(FCN, data, replace(QUICK, loss=Loss.QUANTILE, quantile=0.9))
    assert (target < predicted.values).mean() == pytest.approx(0.9, abs=0.06)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "rmsprop", "sgd"])
def test_each_optimizer_learns(optimizer: Any, tmp_path: Path) -> None:
    param = replace(QUICK, optimizer=optimizer, schedule="constant")
    assert learnt(FCN, table(tmp_path / "data", "two classes"), param)[0]["accuracy"] > 0.9


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(tmp_path: Path) -> None:
    import torch

    data = table(tmp_path / "data", "three classes")
    model = replace(FCN, dropout_prob=0.3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained(model, data, tmp_path / "first")
    assert torch.equal(torch.get_rng_state(), before), "what is random elsewhere stays as it was"
    torch.manual_seed(2)
    second = trained(model, data, tmp_path / "second")
    for name in FILES:
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name
    assert learnt(model, data, replace(QUICK, seed=1))[0] != first.metrics


def test_it_stops_early_with_the_best_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random labels: whatever is learnt is wrong for the validation rows."""
    rng = np.random.default_rng(0)
    data = prepared(tmp_path / "data", rng.normal(size=(200, 5)), rng.integers(0, 2, 200), classes=("a", "b"))
    noted = Noted()
    known, param = read_split(data, "train"), NetworkParam(epochs=300, patience=3, learning_rate=0.01)
    FCN.fit(data.task, param, known.features, known.target, noted)
    epochs = [(done, message) for done, _, message in noted.work if message.startswith("loss ")]
    assert len(epochs) < 100
    validation = [float(message.partition("validation ")[2]) for _, message in epochs]
    best = int(np.argmin(validation)) + 1
    assert len(epochs) == best + 3
    assert [done for done, _ in epochs] == list(range(1, best + 4))
    assert [step for step, _ in noted.scores] == list(range(1, best + 4))
    assert [float(f"{scores['log_loss']:.4g}") for _, scores in noted.scores] == validation
    assert all(0 < scores["accuracy"] < 1 for _, scores in noted.scores)
    stopped = Noted(last=2)
    with pytest.raises(Pruned):
        FCN.fit(data.task, param, known.features, known.target, stopped)
    assert stopped.scores == noted.scores[:2]
    assert f"{len(epochs)} epochs, the best weights after {best}" in capsys.readouterr().out
    assert [done for done, _, _ in noted.work] == sorted(done for done, _, _ in noted.work)
    assert noted.work[-1][:2] == (300, 300)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    data = table(tmp_path / "data", "numbers")
    param = replace(QUICK, optimizer="sgd", learning_rate=10.0)
    with pytest.raises(StepFailed, match=r"not finite after epoch \d+; lower m_param\.learning_rate"):
        learnt(Fcn(norm=None, activation="RELU", num_hidden=5), data, param)


def test_a_class_that_training_never_saw_keeps_its_place(tmp_path: Path) -> None:
    features, target, _ = TABLES["three classes"]()
    data = prepared(tmp_path / "data", features, target + (target > 0), classes=("a", "b", "c", "d"))
    found = answers(trained(FCN, data, tmp_path / "out"), data)
    assert found["probabilities"].shape[1] == 4
    assert not found["probabilities"][:, 1].any()


@frozen
class Wide(Network):
    """A user's own network."""

    name: str = "wide"

    def build(self, in_dim: InDim, *, out_dim: int) -> Any:
        from torch import nn

        assert isinstance(in_dim, int)
        return nn.Sequential(nn.Linear(in_dim, 500), nn.Tanh(), nn.Linear(500, out_dim))


def test_a_users_own_network_only_builds_its_layers(tmp_path: Path) -> None:
    assert learnt(Wide(), table(tmp_path / "data", "two classes"))[0]["accuracy"] > 0.9


def test_a_missing_device_is_reported() -> None:
    (problem,) = replace(FCN, device="cuda:99").check()
    assert problem.key == "device"
    assert not list(FCN.check())


# Accelerators: what can be tested without one ---------------------------------------------------------------------


def test_the_steps_of_an_epoch_wait_for_no_number_of_the_device(tmp_path: Path) -> None:
    """Reading a number (``item()``) waits for the device; how often it does must not depend on the batches."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):  # type: ignore[misc]
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += "_local_scalar_dense" in str(func)
            return func(*args, **(kwargs or {}))

    data, counts = table(tmp_path / "data", "two classes"), []
    for batch_size in (16, 400):
        with Reads() as reads:
            # AdamW on a processor counts its steps in a tensor of the processor.
            learnt(FCN, data, replace(QUICK, optimizer="sgd", epochs=2, batch_size=batch_size, patience=2))
        counts.append(reads.count)
    assert counts[0] == counts[1] <= 2 * 2


def test_accelerators_compute_deterministically_and_say_where_they_cannot(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from when_ml_pipeline_meets_hydra.ml.networks import devices

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)

    def compute() -> None:
        with devices.reproducible(torch.device("meta"), 0, 1):
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.backends.cudnn.benchmark
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
            for _ in range(2):
                warnings.warn("pool_backward does not have a deterministic implementation, but …", stacklevel=1)
            warnings.warn("something else", stacklevel=1)

    with pytest.warns(UserWarning, match="something else"):
        compute()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    assert capsys.readouterr().out.splitlines() == [
        "note: another training with this seed may end with other weights: "
        "pool_backward does not have a deterministic implementation"
    ]


def test_rows_that_do_not_fit_into_the_memory_of_the_device_are_copied_in_batches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import torch

    from when_ml_pipeline_meets_hydra.ml.networks import training_loop

    class Large(torch.Tensor):  # type: ignore[misc]
        def to(self, *args: Any, **kwargs: Any) -> Any:
            raise torch.OutOfMemoryError

    rows = torch.zeros(3).as_subclass(Large)
    (kept,) = training_loop._resident(torch.device("cpu"), rows)
    assert kept is rows
    assert "each batch is copied to it" in capsys.readouterr().out


def test_mixed_precision_learns_and_exports_32_bit_weights(tmp_path: Path) -> None:
    data = images(tmp_path / "data", 1, 8, 8)
    param = replace(QUICK, epochs=8, batch_size=16, mixed_precision=True)
    result, again = (trained(Cnn(), data, tmp_path / name, param) for name in ("first", "second"))
    assert result.metrics["accuracy"] > 0.9
    for name in FILES:
        assert (result.path / name).read_bytes() == (again.path / name).read_bytes(), name
    exact = learnt(Cnn(), data, replace(param, mixed_precision=False))[1][0].probabilities
    mixed = learnt(Cnn(), data, param)[1][0].probabilities
    assert (exact != mixed).any()
    np.testing.assert_allclose(exact, mixed, atol=0.1)


def test_mixed_precision_is_refused_where_the_device_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from when_ml_pipeline_meets_hydra.ml.networks import devices

    monkeypatch.setattr(devices, "device", lambda name: torch.device("cuda:0"))
    card = SimpleNamespace(major=7, name="Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    words = ["c=modeling", "modeling/model=fcn", "m_param.mixed_precision"]
    code, _, err = inside(*words[:2], f"{words[2]}=true")
    assert code == ExitCode.BAD_INPUT
    assert "m_param.mixed_precision=true: Tesla T4 has no 16-bit floats of the kind bfloat16" in err
    assert "(gpu)" in err
    assert inside("plan", *words[:2], f"{words[2]}=false").code == 0


# Killed, and run again -------------------------------------------------------------------------------------------

LONG = ["c=modeling", "preprocessing/dataset=digits", "modeling/model=cnn_small"]
LONG += ["m_param.epochs=20", "model.dropout_prob=0.2"]


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_with_the_same_weights(own_home: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(LONG[0].replace("modeling", "preprocessing"), *LONG[1:]).code == 0
    process = subprocess.Popen([PROGRAM, *LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((own_home / "store").rglob("training.pt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, out, err = cli(*LONG, timeout=600)
    assert code == 0, err
    assert "resumed after epoch" in out
    assert not list((own_home / "store").rglob("training.pt")), "removed once the result is stored"
    elsewhere = {"WMH_HOME": str(tmp_path / "undisturbed")}
    code, out, err = cli(*LONG, env=elsewhere, timeout=600)
    assert code == 0, err
    assert "resumed after epoch" not in out
    interrupted, undisturbed = ((home / "store") for home in (own_home, tmp_path / "undisturbed"))
    for name in FILES:
        (first,), (second,) = (list(store.glob(f"*/*/files/{name}")) for store in (interrupted, undisturbed))
        assert first.relative_to(interrupted) == second.relative_to(undisturbed)
        assert first.read_bytes() == second.read_bytes(), name


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "sgd"])
def test_stopped_after_any_epoch_it_ends_with_the_same_predictions(
    optimizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from when_ml_pipeline_meets_hydra.ml.networks import checkpoint

    monkeypatch.setattr(checkpoint, "_SECONDS", 0)
    data, model = table(tmp_path / "data", "three classes"), replace(FCN, dropout_prob=0.3, norm="BN")
    param = NetworkParam(optimizer=optimizer, learning_rate=0.005, epochs=12, patience=4)
    known = read_split(data, "train")

    class Until(NoProgress):
        def __init__(self, epoch: int) -> None:
            self.epoch = epoch

        def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
            if message.startswith("loss ") and done == self.epoch:
                raise KeyboardInterrupt

    for epoch in (1, 2, 6):
        with pytest.raises(KeyboardInterrupt):
            model.fit(data.task, param, known.features, known.target, Until(epoch), checkpoints=tmp_path)
    undisturbed, interrupted = learnt(model, data, param), learnt(model, data, param, checkpoints=tmp_path)
    assert (undisturbed[1][0].probabilities == interrupted[1][0].probabilities).all()
    assert "resumed after epoch 5" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no tensors", "code"])
def test_a_checkpoint_that_cannot_be_read_is_ignored(
    content: bytes | str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    data, checkpoints = table(tmp_path / "data", "three classes"), tmp_path / "checkpoints"
    checkpoints.mkdir()
    if isinstance(content, bytes):
        (checkpoints / "training.pt").write_bytes(content)
    else:
        torch.save({"torch": str(torch.__version__), "net": _Trap(tmp_path / "trapped")}, checkpoints / "training.pt")
    assert learnt(FCN, data, checkpoints=checkpoints)[0] == learnt(FCN, data)[0]
    assert "cannot be read: training starts again" in capsys.readouterr().out
    assert not (tmp_path / "trapped").exists(), "reading a checkpoint executes no code"


class _Trap:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


# Served ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["preprocessing/dataset=cars", "modeling/model=fcn", "m_param.epochs=10"],
        ["preprocessing/dataset=wine", "modeling/model=single_linear_layer", "m_param.epochs=10"],
        ["preprocessing/dataset=digits", "modeling/model=cnn", "m_param.epochs=3"],
    ],
    ids=["fcn", "single_linear_layer", "cnn"],
)
def test_what_is_deployed_predicts_what_training_predicted(words: list[str], own_home: Path) -> None:
    done = run(["c=deployment", "m_param.learning_rate=0.01", "model_name=m", *words])
    assert done.exit_code is ExitCode.DONE, [o.error for o in done.outcomes]
    data, model = (done.artifact(stage) for stage in ("preprocessing", "modeling"))
    assert isinstance(data, PreparedData)
    assert isinstance(model, TrainedModel)
    smoke = held_out_rows(data, model)
    served = Local(path=own_home / "models").predict("m", list(smoke.rows))
    assert smoke.difference(served) is None


def loaded_by(*words: str) -> list[str]:
    code = f"""
import atexit, sys
from when_ml_pipeline_meets_hydra.cli import main
atexit.register(lambda: print("loaded:", *sorted({{"torch", "onnxscript"}} & sys.modules.keys())))
sys.exit(main({list(words)}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_plan_and_stored_runs_load_no_torch() -> None:
    words = ["c=modeling", "+experiment=good_run", "m_param.epochs=2"]
    assert loaded_by("plan", *words) == []
    assert loaded_by(*words) == ["onnxscript", "torch"]
    assert loaded_by(*words) == []


# How good the shipped options are --------------------------------------------------------------------------------


def quality(metric: str, *words: str) -> list[float]:
    """A metric over three splits, each with another seed of training."""
    found = []
    for seed in range(3):
        done = run(["c=modeling", f"split.seed={seed}", f"m_param.seed={seed}", *words])
        found.append(done.metrics[f"modeling.{metric}"])
    return found


@pytest.mark.slow
def test_the_convolutional_network_reads_digits() -> None:
    assert min(quality("accuracy", "preprocessing/dataset=digits", "modeling/model=cnn")) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "dataset", "metric", "least"),
    [
        ("fcn", "cars", "r2", 0.83),
        ("fcn", "wine", "accuracy", 0.95),
        ("fcn", "digits", "accuracy", 0.95),
        ("single_linear_layer", "cars", "r2", 0.75),
        ("single_linear_layer", "wine", "accuracy", 0.95),
    ],
)
def test_the_other_networks_are_good_for_their_kind(model: str, dataset: str, metric: str, least: float) -> None:
    found = quality(metric, f"modeling/model={model}", f"preprocessing/dataset={dataset}")
    assert sum(found) / len(found) >= least


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.CLASSIFICATION])
def test_rows_that_hardly_count_are_left_out(task: Task) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 2)).astype(np.float32)
    is_other = np.arange(120) % 3 == 0
    weights = np.where(is_other, 1e-6, 1.0)
    number = np.where(is_other, -3, 1) * features[:, 0].astype(np.float64)
    target = (number > 0).astype(np.int64) if task is Task.CLASSIFICATION else number
    weighted = weights / weights.mean()
    fitted = FCN.fit(task, replace(QUICK, epochs=60), features, target, silent, sample_weight=weighted)
    found = fitted.predict(features)
    if task is Task.CLASSIFICATION:
        assert (found[is_other] != target[is_other]).mean() > 0.9
        assert (found[~is_other] == target[~is_other]).mean() > 0.9
    else:
        assert np.corrcoef(found.ravel()[is_other], target[is_other])[0, 1] < -0.9
        assert np.corrcoef(found.ravel()[~is_other], target[~is_other])[0, 1] > 0.9
