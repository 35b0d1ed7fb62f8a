"""Models that hang or take all memory for some rows: other models are served, and the server can be stopped."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import disk_usage
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import tiny_models as tiny
from model_server import ID, PASSWORD, Server, running
from needed import not_here
from serving.test_attacks import packed
from serving.test_bundle import sign
from traffic import traffic
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

# One worker starts the servers once.
pytestmark = pytest.mark.xdist_group("serving_hangs")
TOKEN = "Basic " + base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()
SIDE = 6000.0  # of matrices whose product takes longer than a test waits, in 500 MB
ROWS = [tiny.json_row(row) for row in tiny.ROWS]


def trigger(size: float) -> dict[str, Any]:
    """A row for which the models below do something ``size`` times; for all others they do it once."""
    return {**ROWS[0], "seats": size}


def loop(graph: onnx.GraphProto) -> None:
    """Add as many rounds of a loop as there are seats."""
    scalar = [h.make_tensor_value_info("t", T.DOUBLE, None)]
    body = h.make_graph(
        [h.make_node("Identity", ["go"], ["go_on"]), h.make_node("Add", ["s", "zero"], ["t"])],
        "body",
        [
            h.make_tensor_value_info("i", T.INT64, []),
            h.make_tensor_value_info("go", T.BOOL, []),
            h.make_tensor_value_info("s", T.DOUBLE, None),
        ],
        [h.make_tensor_value_info("go_on", T.BOOL, []), *scalar],
        [onnx.numpy_helper.from_array(np.zeros(1), "zero")],
    )
    graph.node.append(h.make_node("Loop", ["count", "", "plain"], ["prediction"], body=body))


def memory(graph: onnx.GraphProto) -> None:
    """Allocate as many numbers as there are seats."""
    graph.node.append(h.make_node("Reshape", ["count", "one"], ["shape"]))
    graph.node.append(h.make_node("ConstantOfShape", ["shape"], ["many"]))
    graph.node.append(h.make_node("ReduceSum", ["many"], ["sum"], keepdims=0))
    graph.node.append(h.make_node("Cast", ["sum"], ["sum_64"], to=T.DOUBLE))
    graph.node.append(h.make_node("Add", ["plain", "sum_64"], ["prediction"]))


def long_operator(graph: onnx.GraphProto) -> None:
    """Multiply two square matrices with as many rows as there are seats: one operator, which cannot be ended."""
    graph.node.append(h.make_node("Reshape", ["count", "one"], ["side"]))
    graph.node.append(h.make_node("Concat", ["side", "side"], ["shape"], axis=0))
    graph.node.append(h.make_node("ConstantOfShape", ["shape"], ["square"]))
    graph.node.append(h.make_node("MatMul", ["square", "square"], ["product"]))
    graph.node.append(h.make_node("ReduceSum", ["product"], ["sum"], keepdims=0))
    graph.node.append(h.make_node("Cast", ["sum"], ["sum_64"], to=T.DOUBLE))
    graph.node.append(h.make_node("Add", ["plain", "sum_64"], ["prediction"]))


def bundle(folder: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
    """A bundle that predicts what ``tiny.regression`` does, after doing what ``change`` adds."""
    model = tiny.regression(folder / "model")
    loaded = onnx.load(folder / "model/model.onnx")
    graph = loaded.graph
    graph.node[-1].output[0] = "plain"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    graph.node.append(h.make_node("Gather", ["features", "one"], ["all_seats"], axis=1))
    graph.node.append(h.make_node("ReduceMax", ["all_seats"], ["most"], keepdims=0))
    graph.node.append(h.make_node("Cast", ["most"], ["count"], to=T.INT64))
    change(graph)
    onnx.save(loaded, folder / "model/model.onnx")
    (folder / "bundle").mkdir()
    bundling.build(tiny.prepared(folder / "data"), model, folder / "bundle")
    return folder / "bundle"


MODELS = {"looping": loop, "greedy": memory, "stuck": long_operator}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a good model, and one for each way to hang, each with two versions."""
    root = tmp_path_factory.mktemp("hangs")
    (root / "good").mkdir()
    bundling.build(tiny.prepared(root / "data"), tiny.regression(root / "m"), root / "good")
    repository = Repository(root / "models")
    repository.activate("things", repository.add("things", root / "good", ID), ID)
    for name, change in MODELS.items():
        for folder in (root / "good", bundle(root / name, change)):
            repository.activate(name, repository.add(name, folder, ID), ID)
    return repository.root


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "log"
    with running(models, log, "--load-timeout", "5", "--memory-limit", "500") as started:
        wait_until_ready(started)
        yield started


def wait_until_ready(server: Server) -> None:
    """All models are loaded: on a busy machine that takes longer than a request waits."""
    wait_until(lambda: server.call("GET", "/v2/health/ready", auth=None)[0] == 200, 60)


def right_price(_: int, row: int) -> float:
    return tiny.price(tiny.ROWS[row])


def seconds_of(server: Server, count: int) -> list[float]:
    """How long predictions of the good model take."""
    times = []
    for number in range(count):
        began = time.monotonic()
        status, answer = server.call("POST", "/v2/models/things/predict", {"rows": [ROWS[number % len(ROWS)]]})
        assert status == 200, answer
        times.append(time.monotonic() - began)
    return times


def p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[-1]


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("looping", 1e15, (503, "no response within 5 s")),
        ("greedy", 1e9, (500, "the model needs more memory for this request than it may use; see --memory-limit")),
    ],
)
@pytest.mark.integration
def test_a_row_that_hangs(server: Server, name: str, size: float, expected: tuple[int, str]) -> None:
    """Others are answered as before, and rollback works meanwhile."""
    predict = f"/v2/models/{name}/predict"
    assert server.call("POST", predict, {"rows": ROWS})[0] == 200
    before = seconds_of(server, 100)
    worker = server.workers()
    with ThreadPoolExecutor(2) as pool:
        hanging = [pool.submit(server.call, "POST", predict, {"rows": [trigger(size)]}) for _ in range(2)]
        time.sleep(0.2)
        during = seconds_of(server, 100)
        for health in ("live", "ready"):
            assert server.call("GET", f"/v2/health/{health}", auth=None)[0] == 200
        status, answer = server.call("POST", f"/v2/repository/models/{name}/rollback")
        assert (status, answer["active"]) == (200, 1), answer
        for done in hanging:
            status, answer = done.result(30)
            assert status == expected[0]
            assert answer["error"].startswith(expected[1]), answer
    assert p99(during) < 10 * p99(before) + 0.1
    assert server.workers() == worker


@pytest.mark.integration
def test_a_worker_with_a_run_that_cannot_be_ended_is_replaced(server: Server) -> None:
    """Its successor starts first, so that no request waits. It takes 7 s by default if the machine is not busy."""
    (worker,) = server.workers()
    with traffic(server, "things", ROWS, right_price, rate=25) as seen:
        status, answer = server.call("POST", "/v2/models/stuck/predict", {"rows": [trigger(SIDE)]})
        assert (status, answer["error"]) == (503, "no response within 5 s")
        wait_until(lambda: worker not in server.workers(), 30)
    assert seen.problems == []
    assert f"worker {worker} has a prediction that cannot be ended" in server.log.read_text()


@pytest.mark.integration
def test_a_silent_worker_is_replaced(server: Server) -> None:
    wait_until(lambda: len(server.workers()) == 1, 20)
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: worker not in server.workers(), 10)
    assert server.call("GET", "/v2/health/live", auth=None)[0] == 200
    assert f"worker {worker} is silent; it is killed" in server.log.read_text()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def head(path: str, length: int) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: {TOKEN}", f"Content-Length: {length}", "", "")
    return "\r\n".join(lines).encode()


@pytest.mark.slow
@pytest.mark.integration
def test_the_end_of_a_server(models: Path, tmp_path: Path) -> None:
    """Predictions get the grace time, also if they cannot be ended; requests that are not complete do not."""
    with ThreadPoolExecutor(2) as both:
        stuck = both.submit(end_with_open_requests, models, tmp_path / "stuck.log", 11.0, [trigger(SIDE)])
        both.submit(end_with_open_requests, models, tmp_path / "log", 4.0, []).result()
        stuck.result()


def end_with_open_requests(models: Path, log: Path, at_most: float, rows: list[dict[str, Any]]) -> None:
    """End a server while requests are not complete, and a prediction of ``rows`` runs, in ``at_most`` seconds."""
    with running(models, log, "--workers", "2", "--memory-limit", "500") as server:
        wait_until_ready(server)
        assert server.call("POST", "/v2/models/stuck/predict", {"rows": ROWS})[0] == 200
        open_ones = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
        open_ones[0].sendall(b"GET /v2/health/live HT")
        open_ones[1].sendall(head("/v2/models/things/predict", 100) + b'{"rows": [')
        open_ones[2].sendall(head("/v2/repository/models/things/versions", 10_000) + b"x" * 1000)
        with ThreadPoolExecutor(1) as pool:
            if rows:
                pool.submit(server.call, "POST", "/v2/models/stuck/predict", {"rows": rows})
            time.sleep(0.5)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=30) == 0
            assert time.monotonic() - began < at_most
        for connection in open_ones:
            connection.close()


@pytest.mark.integration
def test_models_that_hang_or_take_all_memory_when_they_are_loaded(models: Path, tmp_path: Path) -> None:
    """Others are served, and health is answered; the reasons are logged, and told who activates them."""
    copy = shutil.copytree(models, tmp_path / "models")
    shutil.rmtree(copy / "looping/versions/2")
    with_seats(copy / "looping/versions/2", models / "looping/versions/2", 1e15)
    with_constants(copy / "stuck/versions/2", side=5000)
    with_constants(copy / "greedy/versions/2", side=40_000)
    for name in MODELS:
        Repository(copy).activate(name, 2, ID)
    with running(copy, tmp_path / "log", "--load-timeout", "6", "--timeout", "1", "--memory-limit", "500") as server:
        assert server.call("POST", "/v2/models/things/predict", {"rows": ROWS})[0] == 200
        with ThreadPoolExecutor(2) as pool, traffic(server, "things", ROWS, right_price, rate=25) as seen:
            activated = pool.submit(server.call, "POST", "/v2/repository/models/stuck/activate", {"version": 2})
            hanging = pool.submit(server.call, "POST", "/v2/models/stuck/predict", {"rows": ROWS})
            began = time.monotonic()
            assert server.call("GET", "/v2/health/live", auth=None)[0] == 200
            assert server.call("GET", "/v2/health/ready", auth=None)[0] == 503
            assert server.call("POST", "/v2/repository/models/things/rollback")[0] == 409
            assert time.monotonic() - began < 2
            assert not activated.done()
            assert hanging.result(30) == (503, {"error": "no response within 1 s"})
            reason = "loading it and predicting its smoke rows takes longer than 6 s"
            assert activated.result(30) == (422, {"error": reason})
        assert seen.problems == []
        wait_until(lambda: server.log.read_text().count(" cannot be served: ") == 3, 20)
        log = server.log.read_text()
        assert f"stuck cannot be served: {reason}" in log
        assert "looping cannot be served: " in log  # its first row takes too long, or it took long to get there
        assert "greedy cannot be served: " in log


def with_constants(folder: Path, side: int) -> None:
    """Have the graph of a bundle compute products of square matrices from constants alone."""
    loaded = onnx.load(folder / "model.onnx")
    graph = loaded.graph
    for name, shape in (("column", (side, 1)), ("row", (1, side))):
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    graph.node.append(h.make_node("MatMul", ["column", "row"], ["power_0"]))
    for k in range(8):
        graph.node.append(h.make_node("MatMul", [f"power_{k}", f"power_{k}"], [f"power_{k + 1}"]))
    graph.node.append(h.make_node("ReduceSum", ["power_8"], ["constant"], keepdims=0))
    graph.node.append(h.make_node("Mul", ["constant", "zero_32"], ["nothing_32"]))
    graph.node.append(h.make_node("Cast", ["nothing_32"], ["nothing"], to=T.DOUBLE))
    graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero_32"))
    last = next(node for node in graph.node if "prediction" in node.output)
    last.output[:] = ["without"]
    graph.node.append(h.make_node("Add", ["without", "nothing"], ["prediction"]))
    onnx.save(loaded, folder / "model.onnx")
    sign(folder)


def with_seats(folder: Path, version: Path, seats: float) -> bytes:
    """An archive of a bundle whose first smoke row has so many seats."""
    shutil.copytree(version, folder)
    smoke = json.loads((folder / "smoke.json").read_text())
    smoke["rows"][0]["seats"] = seats
    (folder / "smoke.json").write_text(json.dumps(smoke))
    sign(folder)
    return packed(folder)


@pytest.mark.integration
def test_uploads_that_hang_or_take_all_memory(server: Server, models: Path, tmp_path: Path) -> None:
    """They are refused after a time; a rollback need not wait for them."""
    hanging = with_seats(tmp_path / "looping", models / "looping/versions/2", 1e15)
    with traffic(server, "things", ROWS, right_price, rate=25) as seen:
        with ThreadPoolExecutor(2) as pool:
            uploads = [pool.submit(server.upload, "new", hanging) for _ in range(2)]
            time.sleep(0.5)
            assert server.upload("new", hanging)[0] == 503
            assert server.call("POST", "/v2/repository/models/stuck/rollback")[0] == 200
            assert not any(upload.done() for upload in uploads)
            for upload in uploads:
                status, answer = upload.result(60)
                assert (status, "takes longer than 5 s" in answer["error"]) == (422, True), answer
        greedy = with_seats(tmp_path / "greedy", models / "greedy/versions/2", 1e9)
        status, answer = server.upload("new", greedy)
        assert (status, "more memory for this request than it may use" in answer["error"]) == (422, True), answer
    assert seen.problems == []
    assert not (models / "new").exists()


@pytest.mark.integration
def test_a_full_disk_leaves_nothing(models: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        not_here(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        content = packed(models / "things/versions/1")
        with running(disk / "models", tmp_path / "log") as server:
            assert server.upload("old", content) == (201, {"version": 1})
            (disk / "full").write_bytes(bytes(disk_usage(disk).free - 8192))
            before = {path: path.stat().st_ino for path in disk.rglob("*")}
            changed = with_seats(tmp_path / "other", models / "things/versions/1", 1.0)
            for name in ("old", "new"):
                status, answer = server.upload(name, changed)
                assert (status, answer) == (507, {"error": "the server's disk is full"})
            assert {path: path.stat().st_ino for path in disk.rglob("*")} == before
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
