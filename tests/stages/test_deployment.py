"""push, rollback and status, as the pipeline calls them."""

from __future__ import annotations

import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

import tiny_models as tiny
from model_server import ID, PASSWORD, running
from when_ml_pipeline_meets_hydra.deploy.clusters.http import Http
from when_ml_pipeline_meets_hydra.deploy.clusters.local import Local
from when_ml_pipeline_meets_hydra.deploy.strategies.canary import AsCanary
from when_ml_pipeline_meets_hydra.deploy.strategies.interface import Strategy
from when_ml_pipeline_meets_hydra.deploy.strategies.replace import Replace
from when_ml_pipeline_meets_hydra.errors import Refused, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions
from when_ml_pipeline_meets_hydra.stages import deployment

RUN = "20260102-030405-0001"
Push = Callable[..., None]


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return tiny.prepared(tmp_path / "data")


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(path=tmp_path / "models")


@pytest.fixture
def push(tmp_path: Path, data: PreparedData) -> Push:
    """Pushes a model as ``things``."""
    seen: list[float] = []

    def pushed(
        modeling: TrainedModel,
        cluster: typing.Any,
        preprocessing: PreparedData = data,
        strategy: Strategy = Replace(),  # noqa: B008 (it is frozen)
    ) -> None:
        out = tmp_path / f"out-{len(seen)}"
        out.mkdir()
        seen.append(0)
        deployment.push(
            preprocessing, modeling, cluster, strategy, "things", out=out, progress=NoProgress(), run_id=RUN
        )

    return pushed


def test_the_stage_functions_can_be_bound() -> None:
    for function in (deployment.push, deployment.promote, deployment.rollback, deployment.undeploy, deployment.status):
        assert typing.get_type_hints(function, include_extras=True)["return"] is type(None)
        assert vars(function)["is_effect"]


def test_push_rollback_status_on_disk(
    tmp_path: Path, local: Local, push: Push, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (tiny.regression(tmp_path / f"m{slope}", slope=slope) for slope in (1.0, 2.0))
    deployment.status(local, "things")
    push(first, local)
    push(second, local)
    push(second, local)
    deployment.rollback(local, "things", run_id=RUN)
    push(second, local)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "things is not on local",
        "things version 1 is active on local: smoke test passed on 30 rows",
        "things version 2 is active on local: smoke test passed on 30 rows (previous: version 1)",
        "things version 2 on local is unchanged",
        "things version 1 is active on local again (before: version 2)",
        "things version 2 is active on local: smoke test passed on 30 rows (previous: version 1)",
    ]
    deployment.status(local, "things")
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [
        "things version 2 is active on local",
        "  version 2    active    tiny r2=2",
        "  version 1    previous  tiny r2=1",
    ]
    assert len(said) == 8


CANARY = AsCanary(share=0.2, requests=10, minutes=0, errors=0, latency=None, agreement=0.9, sample=0.5, tolerance=0.01)


def test_a_canary_on_disk(tmp_path: Path, local: Local, push: Push, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (tiny.regression(tmp_path / f"m{slope}", slope=slope) for slope in (1.0, 2.0))
    push(first, local, strategy=CANARY)
    push(first, local, strategy=CANARY)
    push(second, local, strategy=CANARY)
    push(second, local, strategy=CANARY)
    assert capsys.readouterr().out.splitlines() == [
        "things version 1 is active on local: smoke test passed on 30 rows",
        "things version 1 on local is unchanged",
        "things version 2 is a canary on local and gets 0.2 of the requests: smoke test passed on 30 rows",
        "things version 2 on local is unchanged, as a canary",
    ]
    deployment.status(local, "things")
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        "things version 1 is active on local",
        "things version 2 is a canary on local and gets 0.2 of the requests",
    ]
    assert said[3:6] == [
        "  no request has reached it: is a server running?",
        "  version 2    canary    tiny r2=2",
        "  version 1    active    tiny r2=1",
    ]
    assert said[-1].endswith(f"in run {RUN}")
    deployment.rollback(local, "things", run_id=RUN)
    with pytest.raises(Refused, match="'things' has no canary on local"):
        deployment.promote(local, "things", run_id=RUN)
    push(second, local, strategy=CANARY)
    deployment.promote(local, "things", run_id=RUN)
    deployment.undeploy(local, "things", run_id=RUN)
    deployment.undeploy(local, "things", run_id=RUN)
    deployment.rollback(local, "things", run_id=RUN)
    assert capsys.readouterr().out.splitlines() == [
        "things version 2 is taken back, things version 1 is active on local",
        "things version 2 is a canary on local and gets 0.2 of the requests: smoke test passed on 30 rows",
        "things version 2 is active on local (previous: version 1)",
        "no version of things is active on local (before: version 2)",
        "no version of things is active on local (before: no version)",
        "things version 2 is active on local again (before: no version)",
    ]


def test_replacing_ends_a_canary(tmp_path: Path, local: Local, push: Push) -> None:
    first, second = (tiny.regression(tmp_path / f"m{slope}", slope=slope) for slope in (1.0, 2.0))
    push(first, local)
    push(second, local, strategy=CANARY)
    push(first, local)
    found = local.status("things")
    assert (found.active, found.canary, found.previous) == (1, None, ())


def test_the_same_model_computed_again_is_unchanged(
    tmp_path: Path, local: Local, push: Push, capsys: pytest.CaptureFixture[str]
) -> None:
    push(tiny.regression(tmp_path / "m1"), local)
    push(tiny.regression(tmp_path / "m2"), local, tiny.prepared(tmp_path / "data-again"))
    assert capsys.readouterr().out.splitlines()[1:] == ["things version 1 on local is unchanged"]


def test_a_damaged_active_version_is_replaced(
    tmp_path: Path, local: Local, push: Push, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.regression(tmp_path / "m1")
    push(model, local)
    (local.path / "things" / "versions" / "1" / "model.onnx").write_bytes(b"")
    push(model, local)
    assert "things version 2 is active on local" in capsys.readouterr().out


def test_classification(tmp_path: Path, local: Local, push: Push) -> None:
    classes = tiny.prepared(tmp_path / "classes", task=Task.CLASSIFICATION)
    push(tiny.classification(tmp_path / "model"), local, classes)
    assert set(local.predict("things", [tiny.json_row(tiny.ROWS[0])]).values) <= set(tiny.CLASSES)


def test_nothing_is_pushed_that_differs_from_training(tmp_path: Path, local: Local, push: Push) -> None:
    with pytest.raises(StepFailed, match="differ from training's on held-out rows: row 0"):
        push(tiny.regression(tmp_path / "m1", lie=1.0), local)
    assert local.status("things").versions == ()


class Lying(Local):
    """A cluster on whose machine the model answers something else."""

    def predict(self, model: str, rows: typing.Any, version: int | None = None) -> Predictions:
        found = super().predict(model, rows, version)
        return Predictions(values=tuple(-typing.cast(float, value) for value in found.values))


def test_a_failed_smoke_test_there_leaves_the_old_version_active(tmp_path: Path, local: Local, push: Push) -> None:
    push(tiny.regression(tmp_path / "m1", slope=1.0), local)
    with pytest.raises(StepFailed, match=r"version 2 failed its smoke test on local: row 0: .*; version 1 goes on"):
        push(tiny.regression(tmp_path / "m2", slope=2.0), Lying(path=local.path))
    assert local.status("things").active == 1


def test_an_unchanged_model_needs_no_ml_library(tmp_path: Path, local: Local, push: Push, data: PreparedData) -> None:
    model = tiny.regression(tmp_path / "m1")
    push(model, local)
    code = f"""
import sys, pickle
from pathlib import Path
from when_ml_pipeline_meets_hydra.stages import deployment
from when_ml_pipeline_meets_hydra.deploy.strategies.replace import Replace
data, model, cluster = pickle.loads(bytes.fromhex(sys.argv[1]))
out, progress = Path({str(tmp_path)!r}), lambda *_: None
deployment.push(data, model, cluster, Replace(), "things", out=out, progress=progress, run_id="1")
print(sorted({{"numpy", "polars", "onnx", "onnxruntime", "sklearn", "pyarrow", "fastapi"}} & set(sys.modules)))
"""
    import pickle

    words = [sys.executable, "-c", code, pickle.dumps((data, model, local)).hex()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["things version 1 on local is unchanged", "[]"]


@pytest.mark.integration
def test_over_http(tmp_path: Path, push: Push, capfd: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path / "served", tmp_path / "log") as server:
        cluster = Http(name="staging", url=server.url, id=ID, pw=SecretStr(PASSWORD))
        first, second = (tiny.regression(tmp_path / f"m{slope}", slope=slope) for slope in (1.0, 2.0))
        push(first, cluster)
        wrong = Http(name="staging", url=server.url, id=ID, pw=SecretStr("wr0ng-secret"))
        with pytest.raises(Refused, match=r"^cluster\.pw: .* refused the password of the id 'ann'$"):
            push(second, wrong)
        row = tiny.json_row(tiny.ROWS[0])
        status, answer = server.call("POST", "/v2/models/things/predict", {"rows": [row]})
        assert (status, answer["model_version"]) == (200, "1")
        push(second, cluster)
        _, answer = server.call("POST", "/v2/models/things/predict", {"rows": [row]})
        assert answer["predictions"] == pytest.approx([tiny.price(tiny.ROWS[0], 2.0)], rel=1e-6)
        push(second, cluster)
        deployment.rollback(cluster, "things", run_id=RUN)
        deployment.status(cluster, "things")
        # Another process pushes into the repository under the server: no restart, no password.
        push(second, Local(path=tmp_path / "served"))
        assert server.call("GET", "/v2/models/things/ready")[0] == 200
        assert server.call("POST", "/v2/models/things/predict", {"rows": [row]})[1]["model_version"] == "2"
    said = capfd.readouterr()
    assert said.out.splitlines()[:5] == [
        "things version 1 is active on staging: smoke test passed on 30 rows",
        "things version 2 is active on staging: smoke test passed on 30 rows (previous: version 1)",
        "things version 2 on staging is unchanged",
        "things version 1 is active on staging again (before: version 2)",
        "things version 1 is active on staging",
    ]
    for secret in (PASSWORD, "wr0ng-secret"):
        assert secret not in said.out + said.err
        assert not [p for p in tmp_path.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
