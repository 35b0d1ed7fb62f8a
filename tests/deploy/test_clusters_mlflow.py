"""The registry of a real MLflow server with passwords; what we push, MLflow's own tools take."""

from __future__ import annotations

import json
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

import tiny_models as tiny
from cluster_life import ROWS, eventually, killed_at, live, prices, regressions
from conftest import Cli
from mlflow_server import ID, MLFLOW, PASSWORD, MlflowServer
from model_server import Server, running
from small_pipeline import inside
from when_ml_pipeline_meets_hydra.deploy.clusters.mlflow import Mlflow
from when_ml_pipeline_meets_hydra.deploy.clusters.mlflow_registry import Registry
from when_ml_pipeline_meets_hydra.deploy.clusters.replay import previous
from when_ml_pipeline_meets_hydra.errors import Refused, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Reading, Task
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine.encode import feeds_from_rows
from when_ml_pipeline_meets_hydra.serving.formats.versions import Action, Event
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture(scope="module")
def server(mlflow: MlflowServer) -> MlflowServer:
    return mlflow


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two regressions, and a classification."""
    root = tmp_path_factory.mktemp("bundles")
    (root / "classes").mkdir()
    data = tiny.prepared(root / "classes-data", task=Task.CLASSIFICATION)
    bundling.build(data, tiny.classification(root / "m3"), root / "classes")
    return [*regressions(root), root / "classes"]


def registry(url: str, pw: str = PASSWORD, **options: Any) -> Mlflow:
    return Mlflow(url=url, id=ID, pw=SecretStr(pw), **options)


@MLFLOW
def test_life_of_a_model(server: MlflowServer, bundles: list[Path]) -> None:
    found = live(registry(server.url), bundles)
    assert {event.who for event in found.history} == {ID}


@MLFLOW
def test_what_is_not_there_is_refused(server: MlflowServer) -> None:
    cluster = registry(server.url)
    for ask in (
        lambda: cluster.activate("nothing", 1),
        lambda: cluster.rollback("nothing"),
        lambda: cluster.undeploy("nothing"),
        lambda: cluster.predict("nothing", ROWS),
        lambda: cluster.predict("nothing", ROWS, 3),
    ):
        with pytest.raises(Refused, match="'nothing'") as raised:
            ask()
        assert raised.value.key == "model_name"


@MLFLOW
def test_mlflows_own_tools_take_what_we_push(
    server: MlflowServer, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas

    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    cluster = registry(server.url)
    for model, folder in (("prices", bundles[0]), ("kinds", bundles[2])):
        cluster.activate(model, cluster.push(model, folder))
        expected = cluster.predict(model, ROWS)
        theirs = mlflow.pyfunc.load_model(f"models:/{model}@champion")
        feeds = feeds_from_rows(tiny.COLUMNS, ROWS, Reading())
        frame = pandas.DataFrame({name: values.reshape(-1) for name, values in feeds.items()})
        answers = theirs.predict(frame)
        if model == "prices":
            assert answers["prediction"].reshape(-1).tolist() == list(expected.values)
        else:
            assert answers["label"].tolist() == list(expected.values)
            assert [tuple(row) for row in answers["probabilities"].tolist()] == list(expected.probabilities or ())
    found = mlflow.MlflowClient().get_model_version_by_alias("kinds", "champion")
    assert found.description == "tiny accuracy=0.9"


@MLFLOW
def test_an_alias_that_others_move_counts(
    server: MlflowServer, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    cluster = registry(server.url)
    for number, folder in enumerate(bundles[:2], start=1):
        cluster.activate("moved", cluster.push("moved", folder))
        assert cluster.status("moved").active == number
    mlflow.MlflowClient().set_registered_model_alias("moved", "champion", "1")
    found = cluster.status("moved")
    assert (found.active, found.previous) == (1, (2,))
    assert cluster.rollback("moved").active == 2
    experiment = mlflow.MlflowClient().create_experiment("theirs")
    run = mlflow.MlflowClient().create_run(experiment).info
    mlflow.MlflowClient().create_model_version("moved", source=f"{run.artifact_uri}/model", run_id=run.run_id)
    with pytest.raises(Refused, match="version 3 was not pushed by this program"):
        cluster.activate("moved", 3)


@MLFLOW
def test_a_damaged_version_is_not_taken_for_the_bundle(server: MlflowServer, bundles: list[Path]) -> None:
    cluster = registry(server.url, experiment="damaged")
    assert cluster.push("damaged", bundles[0]) == 1
    with cluster.downloaded("damaged", 1) as folder:
        content = (folder / "model.onnx").read_bytes()
    newest = max(server.artifacts.rglob("model.onnx"), key=lambda path: path.stat().st_mtime_ns)
    assert newest.read_bytes() == content
    newest.write_bytes(content[:-1])
    with pytest.raises(Refused, match="checksum"):
        cluster.predict("damaged", ROWS, 1)
    assert cluster.push("damaged", bundles[0]) == 2


@MLFLOW
def test_whatever_is_interrupted_what_was_active_stays(server: MlflowServer, bundles: list[Path]) -> None:
    cluster = registry(server.url)
    cluster.activate("killed", cluster.push("killed", bundles[0]))
    for step in ("log_model", "upload", "finish", "create_version"):
        with killed_at(Registry, step):
            cluster.push("killed", bundles[1])
        found = cluster.status("killed")
        assert (found.active, len(found.versions)) == (1, 1)
    assert cluster.push("killed", bundles[1]) == 2
    with killed_at(Registry, "tag"):  # the alias has moved, and nobody wrote it down
        cluster.activate("killed", 2)
    found = cluster.status("killed")
    assert (found.active, found.previous) == (2, (1,))
    assert cluster.rollback("killed").active == 1


@MLFLOW
def test_files_may_lie_elsewhere(
    server: MlflowServer, bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    mlflow.MlflowClient().create_experiment("elsewhere", artifact_location=(tmp_path / "files").as_uri())
    cluster = registry(server.url, experiment="elsewhere")
    assert cluster.push("elsewhere", bundles[0]) == 1
    (model,) = (tmp_path / "files").rglob("model.onnx")
    assert model.read_bytes() == (bundles[0] / "model.onnx").read_bytes()
    assert cluster.predict("elsewhere", ROWS, 1).values == prices(1.0)
    shutil.rmtree(tmp_path / "files")
    with pytest.raises(StepFailed, match="cannot be read or written"):
        cluster.predict("elsewhere", ROWS, 1)


@MLFLOW
def test_a_bad_bundle_is_refused(server: MlflowServer, bundles: list[Path], tmp_path: Path) -> None:
    for name in ("bundle.json", "smoke.json"):
        (tmp_path / name).write_bytes((bundles[0] / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes((bundles[1] / "model.onnx").read_bytes())
    cluster = registry(server.url)
    with pytest.raises(Refused, match=r"model\.onnx does not match its checksum"):
        cluster.push("bad", tmp_path)
    assert cluster.status("bad").versions == ()


@MLFLOW
def test_a_wrong_password_is_refused_and_never_shown(server: MlflowServer, bundles: list[Path]) -> None:
    wrong = registry(server.url, "wr0ng-secret")
    for ask in (
        lambda: wrong.status("things"),
        lambda: wrong.push("things", bundles[0]),
        lambda: wrong.activate("things", 1),
        lambda: wrong.predict("things", ROWS),
    ):
        with pytest.raises(Refused, match="refused the password of the id 'admin'") as raised:
            ask()
        assert raised.value.key == "cluster.pw"
        assert "wr0ng-secret" not in f"{raised.value!r} {raised.value.__cause__} {wrong!r}"
    with pytest.raises(Refused, match="refused to answer without an id and a password"):
        Mlflow(url=server.url).status("things")


@MLFLOW
def test_from_the_command_line(server: MlflowServer, cli: Cli, own_home: Path) -> None:
    words = ["c=deployment", "deployment/cluster=mlflow", "modeling/param=small", "model_name=mpg"]
    code, out, err = cli(*words, env=server.environment)
    assert code == 0, out + err
    assert "mpg version 1 is active on mlflow: smoke test passed on 80 rows" in out
    assert "mpg version 1 on mlflow is unchanged" in inside(*words, env=server.environment).out
    second = inside(*words, "m_param.n_estimators=20", env=server.environment)
    assert "mpg version 2 is active on mlflow: smoke test passed on 80 rows (previous: version 1)" in second.out
    refused = inside(*words, "cluster.pw=wr0ng-secret", env=server.environment)
    assert refused.code == 3
    assert f"cluster.pw: {server.url} refused the password of the id 'admin'" in refused.out + refused.err
    back = inside(*words, "c/deployment_sub=rollback", env=server.environment)
    assert "mpg version 1 is active on mlflow again (before: version 2)" in back.out
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    unreachable = inside(*words, f"cluster.url={url}", env=server.environment)
    assert unreachable.code == 1
    assert f"cluster.url={url} cannot be reached" in unreachable.out + unreachable.err
    written = [path.read_bytes() for path in own_home.rglob("*") if path.is_file()]
    assert written
    assert not any(secret in content for content in written for secret in (PASSWORD.encode(), b"wr0ng-secret"))


@MLFLOW
def test_a_server_serves_straight_from_the_registry(
    server: MlflowServer, bundles: list[Path], tmp_path: Path, cli: Cli
) -> None:
    cluster = registry(server.url, alias="live")
    for folder in bundles[:2]:
        cluster.push("mirrored", folder)
    cluster.activate("mirrored", 2)
    words = ["--registry", server.url, "--model", "mirrored", "--alias", "live", "--every", "0.2"]
    row = {"rows": [tiny.json_row(tiny.ROWS[0])]}

    def serves(asked: Server, version: int, slope: float) -> bool:
        code, answer = asked.call("POST", "/v2/models/mirrored/predict", row)
        if code != 200 or answer["model_version"] != str(version):
            return False
        assert answer["predictions"] == pytest.approx([tiny.price(tiny.ROWS[0], slope)], rel=1e-6)
        return True

    with running(tmp_path / "copy", tmp_path / "log", *words, **server.environment) as started:
        assert serves(started, 2, slope=2.0), "from its first request on"
        cluster.activate("mirrored", 1)
        eventually(lambda: serves(started, 1, slope=1.0))
        cluster.rollback("mirrored")
        eventually(lambda: serves(started, 2, slope=2.0))
        cluster.undeploy("mirrored")
        eventually(lambda: started.call("POST", "/v2/models/mirrored/predict", row)[0] == 404)
        assert started.call("POST", "/v2/repository/models/mirrored/rollback")[0] == 403, "the registry decides"
    cluster.rollback("mirrored")
    log = (tmp_path / "log").read_text()
    assert PASSWORD not in log

    gone = {**server.environment, "MLFLOW_TRACKING_URI": "", "WMH_SERVE_PW": "x" * 12}
    words[1] = "http://127.0.0.1:1"
    refused = cli("serve", "--repository", str(tmp_path / "new"), *words, env=gone)
    assert refused.code == 1
    assert "cluster.url=http://127.0.0.1:1 cannot be reached" in refused.err
    words[1] = server.url
    wrong = cli(
        "serve", "--repository", str(tmp_path / "new"), *words, env=gone | {"MLFLOW_TRACKING_PASSWORD": "wr0ng-one"}
    )
    assert wrong.code == 3
    assert "refused the password of the id 'admin'" in wrong.err


def test_a_registry_that_cannot_be_reached_leaves_what_was_active(bundles: list[Path], tmp_path: Path) -> None:
    repository = Repository(tmp_path / "copy")
    repository.add("mirrored", bundles[1], "ann", number=7)
    repository.activate("mirrored", 7, "ann")
    words = ["--registry", "http://127.0.0.1:1", "--model", "mirrored", "--every", "0.1"]
    with running(tmp_path / "copy", tmp_path / "log", *words) as started:
        code, answer = started.call("POST", "/v2/models/mirrored/predict", {"rows": ROWS})
        assert (code, answer["model_version"]) == (200, "7")
        eventually(lambda: "cannot be reached" in started.log.read_text().partition("Try: ")[2])
    assert "mirrored version 7, which was active last, is served" in started.log.read_text()
    assert started.log.read_text().partition("Try: ")[2].count("cannot be reached") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--registry", "http://127.0.0.1:1"], "--model: name at least one"),
        (["--model", "mpg"], "is only used with --registry"),
        (["--registry", "mlflow", "--model", "mpg"], "--registry=mlflow: expected a URL"),
        (["--registry", "http://127.0.0.1:1", "--model", "mpg", "--alias", "a b"], "--alias=a b"),
    ],
)
def test_a_registry_that_is_not_well_named(words: list[str], said: str) -> None:
    code, _, err = inside("serve", *words, env={"WMH_SERVE_PW": "x" * 12})
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pw": None}, "an id needs a password"),
        ({"id": None}, "a password an id"),
        ({"id": "a:b"}, "must not be empty or hold a colon"),
        ({"pw": ""}, "there is no password"),
        ({"alias": "a b"}, "should match pattern"),
        ({"url": "mlflow"}, "expected a URL like"),
    ],
)
def test_options(change: dict[str, Any], said: str) -> None:
    adapter, values = TypeAdapter(Mlflow), {"url": "http://127.0.0.1:5000", "id": "ann", "pw": "x"}
    assert adapter.validate_json(json.dumps(values), strict=True).url == "http://127.0.0.1:5000"
    with pytest.raises(ValidationError, match=said):
        adapter.validate_json(json.dumps(values | change), strict=True)


def test_something_else_at_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = registry(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
        with pytest.raises(StepFailed, match=r"no answer within cluster\.timeout=0\.3 s"):
            cluster.status("things")


A, R, U = Action.ACTIVATE, Action.ROLLBACK, Action.UNDEPLOY


@pytest.mark.parametrize(
    ("done", "active", "expected"),
    [
        ([], None, ()),
        ([], 1, ()),
        ([(A, 1), (A, 2), (A, 3)], 3, (2, 1)),
        ([(A, 1), (A, 2), (A, 1)], 1, (2,)),
        ([(A, 1), (A, 2), (A, 3), (R, 2)], 2, (1,)),
        ([(A, 1), (U, 1)], None, (1,)),
        ([(A, 1), (A, 2), (U, 2), (R, 2)], 2, (1,)),
        ([(A, 1), (A, 2)], 3, (2, 1)),  # moved by somebody else
        ([(A, 1), (A, 2)], 1, (2,)),
        ([(A, 1)], None, (1,)),
    ],
)
def test_what_served_before(done: list[tuple[Action, int]], active: int | None, expected: tuple[int, ...]) -> None:
    history = [Event(when=datetime.now(UTC), who="ann", action=action, version=n) for action, n in done]
    assert previous(history, active) == expected
