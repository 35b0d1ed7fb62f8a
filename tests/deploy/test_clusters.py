"""Every kind of cluster does the same, and says clearly when it cannot."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

import tiny_models as tiny
from model_server import ID, PASSWORD, Server, running
from when_ml_pipeline_meets_hydra.deploy.clusters.http import Http
from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster, Judging
from when_ml_pipeline_meets_hydra.deploy.clusters.local import Local
from when_ml_pipeline_meets_hydra.errors import PipelineError, Refused, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.formats.versions import Terms

# One worker starts the servers once.
pytestmark = pytest.mark.xdist_group("clusters")
ROWS = [tiny.json_row(row) for row in tiny.ROWS]


def http(url: str, pw: str = PASSWORD, **options: Any) -> Http:
    return Http(url=url, id=ID, pw=SecretStr(pw), **options)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests here; each has a model of its own there."""
    root = tmp_path_factory.mktemp("server")
    with running(root / "models", root / "log") as started:
        yield started


@pytest.fixture(params=["local", "http"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Cluster:
    """A cluster of each kind, where nobody knows ``model``."""
    if request.param == "local":
        return Local(path=tmp_path / "models")
    return http(request.getfixturevalue("server").url)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A name that no other test has."""
    return tmp_path.name.replace("_", "-")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("bundles")
    data = tiny.prepared(root / "data")
    models = [tiny.regression(root / "m1", slope=1.0), tiny.regression(root / "m2", slope=2.0)]
    for number, model in enumerate(models):
        (root / str(number)).mkdir()
        bundling.build(data, model, root / str(number))
    (root / "classes").mkdir()
    classes = tiny.prepared(root / "classes-data", task=Task.CLASSIFICATION)
    bundling.build(classes, tiny.classification(root / "m3"), root / "classes")
    return [root / "0", root / "1", root / "classes"]


def test_life_of_a_model(cluster: Cluster, model: str, bundles: list[Path]) -> None:
    assert isinstance(cluster, Cluster)
    assert cluster.status(model).versions == ()
    for number, (folder, slope) in enumerate(zip(bundles[:2], (1.0, 2.0), strict=True), start=1):
        assert cluster.push(model, folder) == cluster.push(model, folder) == number
        assert cluster.status(model).active == (number - 1 or None)
        found = cluster.predict(model, ROWS, number)
        assert found.values == pytest.approx([tiny.price(row, slope) for row in tiny.ROWS], rel=1e-6)
        assert cluster.activate(model, number).active == number
    assert cluster.predict(model, ROWS[:1]).values == pytest.approx([tiny.price(tiny.ROWS[0], 2.0)], rel=1e-6)
    assert cluster.rollback(model).active == 1
    assert cluster.predict(model, ROWS[:1]).values == pytest.approx([tiny.price(tiny.ROWS[0], 1.0)], rel=1e-6)
    assert [event.action.value for event in cluster.status(model).history] == [
        "push",
        "activate",
        "push",
        "activate",
        "rollback",
    ]


TERMS = Terms(share=0.1, requests=10, minutes=0, errors=0, latency=None, agreement=0.9, sample=0.5, tolerance=0.01)


def test_life_of_a_canary(cluster: Judging, model: str, bundles: list[Path]) -> None:
    first, second = (cluster.push(model, folder, run="20260102-030405-0001") for folder in bundles[:2])
    with pytest.raises(Refused, match=f"no version of '{model}' is active"):
        cluster.canary(model, first, TERMS)
    cluster.activate(model, first)
    started = cluster.canary(model, second, TERMS, run="20260102-030405-0002")
    assert started.active == first
    assert started.canary is not None
    assert (started.canary.version, started.canary.terms) == (second, TERMS)
    assert cluster.canary(model, second, TERMS).canary == started.canary
    taken = cluster.rollback(model)
    assert (taken.active, taken.canary) == (first, None)
    cluster.canary(model, second, TERMS)
    promoted = cluster.activate(model, second)
    assert (promoted.active, promoted.previous, promoted.canary) == (second, (first,), None)
    for _ in range(2):
        gone = cluster.undeploy(model)
        assert (gone.active, gone.previous) == (None, (second, first))
    with pytest.raises(Refused, match=f"no version of '{model}' is active"):
        cluster.predict(model, ROWS)
    assert cluster.rollback(model).active == second
    said = [(event.action.value, event.version, event.run) for event in cluster.status(model).history]
    assert said == [
        ("push", 1, "20260102-030405-0001"),
        ("push", 2, "20260102-030405-0001"),
        ("activate", 1, None),
        ("canary", 2, "20260102-030405-0002"),
        ("take back", 2, None),
        ("canary", 2, None),
        ("promote", 2, None),
        ("undeploy", 2, None),
        ("rollback", 2, None),
    ]


def test_classes(cluster: Cluster, model: str, bundles: list[Path]) -> None:
    found = cluster.predict(model, ROWS, cluster.push(model, bundles[2]))
    assert set(found.values) <= set(tiny.CLASSES)
    assert [len(row) for row in found.probabilities or ()] == [3] * len(ROWS)


def test_what_is_not_there_is_refused(cluster: Judging, model: str, bundles: list[Path]) -> None:
    for ask in (
        lambda: cluster.activate(model, 1),
        lambda: cluster.canary(model, 1, TERMS),
        lambda: cluster.rollback(model),
        lambda: cluster.undeploy(model),
        lambda: cluster.predict(model, ROWS),
        lambda: cluster.predict(model, ROWS, 3),
    ):
        with pytest.raises(Refused, match=f"'{model}'") as raised:
            ask()
        assert raised.value.key == "model_name"
    cluster.activate(model, cluster.push(model, bundles[0]))
    with pytest.raises(Refused, match="no earlier version"):
        cluster.rollback(model)


def test_a_bad_bundle_is_refused(cluster: Cluster, model: str, bundles: list[Path], tmp_path: Path) -> None:
    bad = shutil.copytree(bundles[0], tmp_path / "bad")
    (bad / "model.onnx").write_bytes((bundles[1] / "model.onnx").read_bytes())
    with pytest.raises(Refused, match=r"model\.onnx does not match its checksum"):
        cluster.push(model, bad)
    assert cluster.status(model).versions == ()


def test_a_wrong_password_is_refused_and_never_shown(server: Server, model: str, bundles: list[Path]) -> None:
    good = http(server.url)
    good.activate(model, good.push(model, bundles[0]))
    wrong = http(server.url, "wr0ng-secret")
    for ask in (
        lambda: wrong.status(model),
        lambda: wrong.push(model, bundles[1]),
        lambda: wrong.activate(model, 1),
        lambda: wrong.predict(model, ROWS),
    ):
        with pytest.raises(Refused) as raised:
            ask()
        said = f"{raised.value} {raised.value!r} {raised.value.__cause__} {wrong!r} {wrong}"
        assert raised.value.key == "cluster.pw"
        assert "wr0ng-secret" not in said
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert good.predict(model, ROWS[:1]).values == pytest.approx([tiny.price(tiny.ROWS[0], 1.0)], rel=1e-6)
    assert "wr0ng-secret" not in server.log.read_text()


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(StepFailed, match=r"cluster\.url=http://127\.0\.0\.1:\d+ cannot be reached"):
        http(url).status("things")
    with pytest.raises(StepFailed, match=r"cluster\.url=http://no-such-host\.invalid cannot be reached"):
        http("http://no-such-host.invalid").status("things")


def test_a_server_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = http(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
        with pytest.raises(StepFailed, match=r"no answer within cluster\.timeout=0\.3 s"):
            cluster.status("things")


class Stranger(BaseHTTPRequestHandler):
    """Something else that listens at the URL."""

    body = b""
    code = 200

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (200, b"<html>", "no response of a model server"),
        (200, b"{}", "is not understood"),
        (200, b"[1]", "no response of a model server"),
        (302, b"{}", "answered 302"),
        (404, b"<html>", "answered 404"),
        (500, b'{"error": "the server failed"}', "failed: the server failed"),
        (502, b"bad gateway", "answered 502"),
    ],
)
def test_something_else_at_the_url(code: int, body: bytes, said: str) -> None:
    handler = type("Handler", (Stranger,), {"code": code, "body": body})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(PipelineError, match=said):
            http(f"http://127.0.0.1:{server.server_port}").status("things")
        server.shutdown()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "cluster:8080"}, "expected a URL like"),
        ({"url": "ftp://cluster"}, "expected a URL like"),
        ({"url": "http://"}, "expected a URL like"),
        ({"url": "http://cluster:port"}, "is no URL"),
        ({"url": "http://ann:pw@cluster"}, "must not hold an id or a password"),
        ({"url": "http://cluster/?a=b"}, "must not have a query"),
        ({"pw": None}, "there is no password"),
        ({"pw": ""}, "there is no password"),
        ({"id": "a:b"}, "must not be empty or hold a colon"),
        ({"timeout": 0}, "greater than 0"),
    ],
)
def test_options_of_the_http_cluster(change: dict[str, Any], said: str) -> None:
    values = {"url": "https://cluster:8080/", "id": "ann", "pw": "x"}
    adapter = TypeAdapter(Http)
    assert adapter.validate_json(json.dumps(values), strict=True).url == "https://cluster:8080"
    with pytest.raises(ValidationError, match=said):
        adapter.validate_json(json.dumps(values | change), strict=True)


def test_option_classes_import_no_ml_library() -> None:
    heavy = "{'numpy', 'polars', 'onnx', 'onnxruntime', 'sklearn', 'pyarrow', 'fastapi', 'httpx', 'uvicorn'}"
    modules = ["deploy.clusters.http", "deploy.clusters.local", "deploy.clusters.interface", "cli.commands.serve"]
    lines = [f"import when_ml_pipeline_meets_hydra.{module}" for module in [*modules, "stages.deployment"]]
    code = "\n".join([*lines, f"import sys; print({heavy} & set(sys.modules))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
