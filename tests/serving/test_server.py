"""The model server, a real process: predictions, authentication, errors, switches of the version."""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import tiny_models as tiny
from model_server import COMMAND, ID, PASSWORD, Server, running
from small_pipeline import inside
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.app import create_app
from when_ml_pipeline_meets_hydra.serving.formats import archive
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings
from when_ml_pipeline_meets_hydra.serving.http.users import Role, new_user
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

# One worker starts the servers once.
pytestmark = pytest.mark.xdist_group("serving_server")
ROWS = [tiny.json_row(row) for row in tiny.ROWS]
PREDICT, INFER = "/v2/models/things/predict", "/v2/models/things/infer"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three prices that differ by their slope, and a classification."""
    root = tmp_path_factory.mktemp("bundles")
    data = tiny.prepared(root / "data")
    classes = tiny.prepared(root / "classes-data", task=Task.CLASSIFICATION)
    made = {}
    for name in ("1", "2", "3", "classes"):
        model = tiny.classification(root / "m-c") if name == "classes" else None
        (root / name).mkdir()
        trained = model or tiny.regression(root / f"m-{name}", slope=float(name))
        bundling.build(classes if model else data, trained, root / name)
        made[name] = root / name
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Path]) -> Iterator[Server]:
    """A server of two models, for tests that change nothing."""
    root = tmp_path_factory.mktemp("server")
    repository = Repository(root / "models")
    for name, versions in {"things": ["2", "3"], "kinds": ["classes"]}.items():
        for version in versions:
            repository.activate(name, repository.add(name, bundles[version], "ann"), "ann")
    repository.rollback("things", "ann")
    with running(root / "models", root / "log", "--failed-logins", "1000") as started:
        yield started


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Server]:
    """A server without models."""
    with running(tmp_path / "models", tmp_path / "log") as started:
        yield started


def packed(folder: Path) -> bytes:
    target = io.BytesIO()
    archive.pack(folder, target)
    return target.getvalue()


def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as inputs of the protocol; a date is a number there."""
    days = [None if row["built"] is None else int(row["built"][-2:]) - 1 for row in rows]
    inputs = {
        "weight": ("FP64", [row["weight"] for row in rows]),
        "seats": ("INT64", [row["seats"] for row in rows]),
        "maker": ("BYTES", [row["maker"] for row in rows]),
        "sold": ("BOOL", [row["sold"] for row in rows]),
        "built": ("FP32", days),
    }
    return [
        {"name": name, "datatype": datatype, "shape": [len(data), 1], "data": data}
        for name, (datatype, data) in inputs.items()
    ]


def test_rows_as_objects(server: Server) -> None:
    status, answer = server.call("POST", PREDICT, {"rows": ROWS})
    assert (status, answer["model_name"], answer["model_version"]) == (200, "things", "1")
    assert answer["predictions"] == pytest.approx([tiny.price(row) for row in tiny.ROWS], rel=1e-6)
    assert "probabilities" not in answer
    assert server.call("POST", PREDICT, {"rows": []})[1]["predictions"] == []
    _, other = server.call("POST", "/v2/models/things/versions/2/predict", {"rows": ROWS})
    assert other["predictions"] == pytest.approx([tiny.price(row, 3.0) for row in tiny.ROWS], rel=1e-6)


def test_classes_have_names_and_probabilities(server: Server) -> None:
    _, answer = server.call("POST", "/v2/models/kinds/predict", {"rows": ROWS[:4]})
    for name, probabilities in zip(answer["predictions"], answer["probabilities"], strict=True):
        assert list(probabilities) == list(tiny.CLASSES)
        assert name == max(probabilities, key=probabilities.get)
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-6)


def test_responses_do_not_wait_for_delayed_acknowledgements(server: Server) -> None:
    """On a kept connection, Nagle's algorithm with delayed acknowledgements takes 40 ms for each response."""
    token = base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    took = []
    for _ in range(40):
        started = time.perf_counter()
        connection.request("POST", PREDICT, json.dumps({"rows": ROWS[:1]}), {"Authorization": f"Basic {token}"})
        assert connection.getresponse().read()
        took.append(time.perf_counter() - started)
    connection.close()
    assert statistics.median(took) < 0.03


def test_many_rows_at_once(server: Server) -> None:
    _, answer = server.call("POST", PREDICT, {"rows": ROWS * 400})
    assert len(answer["predictions"]) == 12_000
    assert answer["predictions"][-30:] == answer["predictions"][:30]


def test_curl_gets_the_models_prediction(server: Server) -> None:
    body = json.dumps({"rows": [ROWS[0]]})
    command = ["curl", "-sS", "-K", "-", f"{server.url}{PREDICT}", "-d", body]
    done = subprocess.run(command, input=f'user = "{ID}:{PASSWORD}"', capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["predictions"] == pytest.approx([tiny.price(tiny.ROWS[0])], rel=1e-6)


def test_open_inference_protocol(server: Server) -> None:
    assert server.call("GET", "/v2")[1]["extensions"] == ["binary_tensor_data", "model_repository"]
    assert server.call("GET", "/v2/models/things/ready") == (200, {"name": "things", "ready": True})
    assert server.call("GET", "/v2/models/things/versions/2/ready")[0] == 200
    _, signature = server.call("GET", "/v2/models/kinds")
    assert [(i["name"], i["datatype"], i["shape"]) for i in signature["inputs"]][:3] == [
        ("weight", "FP64", [-1, 1]),
        ("seats", "FP64", [-1, 1]),
        ("maker", "BYTES", [-1, 1]),
    ]
    assert [(o["name"], o["datatype"], o["shape"]) for o in signature["outputs"]] == [
        ("label", "BYTES", [-1]),
        ("probabilities", "FP32", [-1, 3]),
    ]
    status, answer = server.call("POST", INFER, {"id": "7", "inputs": tensors(ROWS)})
    assert (status, answer["id"], answer["model_version"]) == (200, "7", "1")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("prediction", "FP64", [30, 1])
    assert output["data"] == pytest.approx([tiny.price(row) for row in tiny.ROWS], rel=1e-6)
    body = {"inputs": tensors(ROWS), "outputs": [{"name": "probabilities"}]}
    _, answer = server.call("POST", "/v2/models/kinds/versions/1/infer", body)
    assert [(o["name"], o["shape"], len(o["data"])) for o in answer["outputs"]] == [("probabilities", [30, 3], 90)]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (PREDICT, b"{", 400, "not JSON"),
        (PREDICT, b"\xff\xfe", 400, "not JSON"),
        (PREDICT, b"[" * 200_000, 400, "not JSON"),
        (PREDICT, b'{"rows":[{"weight":' + b"9" * 5000 + b"}]}", 400, "not JSON"),
        (PREDICT, [], 422, "body: Input should be"),
        (PREDICT, {}, 422, "rows: Field required"),
        (PREDICT, {"rows": {}}, 422, "rows: Input should be a valid array"),
        (PREDICT, {"rows": [3]}, 422, "rows[0]: Input should be an object"),
        (PREDICT, {"rows": [{}], "row": 1}, 422, "row: Extra inputs"),
        (PREDICT, {"rows": [{}, {"wieght": 1}]}, 422, "rows[1].wieght: there is no such input. Did you mean 'weight'?"),
        (PREDICT, {"rows": [{"weight": "two"}]}, 422, "rows[0].weight: 'two' is not a number"),
        (PREDICT, b'{"rows":[{"weight":Infinity}]}', 422, "rows[0].weight: inf is not a finite number"),
        (PREDICT, b'{"rows":[{"maker":"\\ud800"}]}', 400, "not JSON"),
        (PREDICT, {"rows": [{"weight": 1e308}]}, 422, "rows[0]: the model's prediction is not a finite number"),
        (PREDICT, {"rows": [3, 4], "row": 1}, 422, "rows[1]: Input should be an object; row: Extra inputs"),
        (INFER, {"inputs": tensors(ROWS)[1:]}, 422, "inputs.weight: is missing"),
        (INFER, {"inputs": tensors(ROWS)[2:]}, 422, "inputs.seats: is missing; inputs.weight: is missing"),
        (INFER, {"inputs": tensors(ROWS) * 2}, 422, "one of them is repeated"),
        (INFER, {"inputs": [*tensors(ROWS)[:4], *tensors(ROWS[:3])[4:]]}, 422, "the same number of rows"),
        (INFER, {"inputs": [{"name": "weight", "shape": [2], "datatype": "FP64", "data": [1]}]}, 422, "1 values for"),
        (INFER, {"inputs": [{"name": "weight", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}, 422, "[N, 1]"),
        (INFER, {"inputs": tensors(ROWS), "outputs": [{"name": "price"}]}, 422, "outputs.price: there is no such"),
        (INFER, {"inputs": []}, 422, "is missing"),
        ("/v2/models/nothing/predict", {"rows": []}, 404, "no version of 'nothing' is active"),
        ("/v2/models/things/versions/9/predict", {"rows": []}, 404, "'things' has no version 9"),
        ("/v2/models/..%2f..%2fetc/predict", {"rows": []}, 404, "Not Found"),
        ("/v2/models/%2e%2e/predict", {"rows": []}, 422, "only ASCII letters, digits"),
        ("/v2/repository/models/things/activate", {"version": 9}, 404, "no version 9"),
        ("/v2/repository/models/things/activate", {"version": "2"}, 422, "version: Input should be a valid integer"),
        ("/v2/repository/models/things/rollback", b"", 409, "no earlier version"),
    ],
)
def test_invalid_bodies(server: Server, path: str, body: Any, status: int, message: str) -> None:
    found, answer = server.call("POST", path, body)
    assert (found, message in answer["error"]) == (status, True), answer


@pytest.mark.parametrize("auth", [None, f"{ID}:wrong", f"bob:{PASSWORD}", ID, ":", f"{ID}:{PASSWORD} ", f":{PASSWORD}"])
def test_wrong_credentials(server: Server, auth: str | None) -> None:
    for method, path in (("GET", "/v2"), ("POST", PREDICT), ("GET", "/openapi.json"), ("GET", "/nowhere")):
        found, answer = server.call(method, path, auth=auth)
        message = "wrong id or password" if auth else "an id and a password are needed"
        assert (found, answer["error"]) == (401, message)
    assert server.call("POST", "/v2/repository/models/things/versions", b"x", auth=auth)[0] == 401
    assert server.call("GET", "/v2/health/live", auth=auth)[0] == 200
    assert server.call("GET", "/v2/health/ready", auth=auth)[0] == 200


@pytest.mark.parametrize("header", ["Basic", "Basic ???", "Bearer abc", "Basic \xff", "basic " + "A" * 10_000])
def test_malformed_credentials(server: Server, header: str) -> None:
    assert server.call("GET", "/v2", auth=None, Authorization=header)[0] == 401


def test_cross_site_requests_are_refused(server: Server) -> None:
    assert server.call("POST", PREDICT, {"rows": []}, Origin="https://evil.example")[0] == 403
    assert server.call("POST", PREDICT, {"rows": []}, Origin=server.url)[0] == 200


def test_a_body_over_the_limit_is_refused(server: Server) -> None:
    assert server.call("POST", PREDICT, **{"Content-Length": str(10**12)})[0] == 413


@pytest.mark.parametrize("path", [PREDICT, "/v2/repository/models/things/versions"])
def test_a_body_that_grows_over_the_limit_is_refused(tmp_path: Path, path: str, bundles: dict[str, Path]) -> None:
    repository = Repository(tmp_path / "models")
    repository.activate("things", repository.add("things", bundles["1"], "ann"), "ann")
    sole = {ID: new_user(Role.DEPLOY, PASSWORD)}
    app = create_app(Settings(root=repository.root, sole=sole, request_limit=1000, upload_limit=2000))

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"[" * 100

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, auth=(ID, PASSWORD), base_url="http://server") as client:
            digest = {"Content-Digest": archive.digest_header(bytes(32))}
            return await client.post(path, content=blocks(), headers=digest)

    answer = asyncio.run(send())
    limit = 2000 if path.endswith("versions") else 1000
    assert (answer.status_code, answer.json()) == (413, {"error": f"the body is larger than {limit} bytes"})


def test_upload_activate_rollback(empty: Server, bundles: dict[str, Path]) -> None:
    for number in ("1", "2"):
        assert empty.upload("things", packed(bundles[number])) == (201, {"version": int(number)})
        assert empty.call("POST", PREDICT, {"rows": ROWS})[0] == (404 if number == "1" else 200)
        status, found = empty.call("POST", "/v2/repository/models/things/activate", {"version": int(number)})
        assert (status, found["active"]) == (200, int(number))
        _, answer = empty.call("POST", PREDICT, {"rows": ROWS[:1]})
        assert answer["predictions"] == pytest.approx([tiny.price(tiny.ROWS[0], float(number))], rel=1e-6)
    assert empty.upload("things", packed(bundles["1"])) == (201, {"version": 1})
    status, found = empty.call("POST", "/v2/repository/models/things/rollback")
    assert (status, found["active"]) == (200, 1)
    assert empty.call("POST", PREDICT, {"rows": ROWS})[1]["model_version"] == "1"
    assert {event["who"] for event in found["history"]} == {ID}
    assert [model["model"] for model in empty.call("GET", "/v2/repository/models")[1]["models"]] == ["things"]


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def link(name: str, to: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


def test_uploads_that_are_refused(empty: Server, bundles: dict[str, Path], tmp_path: Path) -> None:
    good = packed(bundles["1"])
    zipped = shutil.make_archive(str(tmp_path / "zipped"), "gztar", bundles["1"])
    damaged = good.replace(b'"acme"', b'"acmE"')
    bad = {
        "not a readable": [b"", b"PK\x03\x04" + bytes(200), b"\x80\x04\x95", Path(zipped).read_bytes(), b"x" * 5000],
        "the archive holds": [
            tar_of((tarfile.TarInfo("../evil"), b"x")),
            tar_of((tarfile.TarInfo("/tmp/evil"), b"x")),
            tar_of((tarfile.TarInfo("evil.py"), b"x")),
            tar_of((tarfile.TarInfo("model.onnx"), b"x"), (tarfile.TarInfo("model.onnx"), b"y")),
        ],
        "not a regular file": [
            tar_of((link("model.onnx", "/etc/passwd", tarfile.SYMTYPE), b"")),
            tar_of((link("model.onnx", "bundle.json", tarfile.LNKTYPE), b"")),
            tar_of((link("model.onnx", "", tarfile.FIFOTYPE), b"")),
        ],
        "the archive has no": [tar_of((tarfile.TarInfo("model.onnx"), b"x")), good[: len(good) // 2]],
        "checksum": [damaged],
    }
    for message, bodies in bad.items():
        for body in bodies:
            status, answer = empty.upload("things", body)
            assert status == 422, answer
            assert message in answer["error"] or body == good[: len(good) // 2], answer
    assert empty.call("GET", "/v2/repository/models/things")[1]["versions"] == []
    assert empty.upload("..evil", good)[0] == 422
    assert empty.upload("things", good)[0] == 201


def test_switches_under_load_without_one_failure(tmp_path: Path, bundles: dict[str, Path]) -> None:
    """Each prediction is that of the version in its response, and no request fails."""
    repository = Repository(tmp_path / "models")
    for number in ("1", "2", "3"):
        repository.add("things", bundles[number], "ann")
    repository.activate("things", 1, "ann")
    answers: list[tuple[int, float, float]] = []
    stop = threading.Event()

    def send(server: Server) -> None:
        while not stop.is_set():
            status, answer = server.call("POST", PREDICT, {"rows": ROWS[:1]})
            version = int(answer["model_version"]) if status == 200 else 0
            answers.append((status, tiny.price(tiny.ROWS[0], float(version)), answer.get("predictions", [0])[0]))

    with running(tmp_path / "models", tmp_path / "log") as server:
        threads = [threading.Thread(target=send, args=[server]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(30):
            if turn % 3 == 2:
                server.call("POST", "/v2/repository/models/things/rollback")
            elif turn % 3 == 1:
                server.call("POST", "/v2/repository/models/things/activate", {"version": turn % 2 + 1})
            else:
                repository.activate("things", turn % 3 + 1 if turn % 2 else 3, "bob")
            seen = server.call("POST", PREDICT, {"rows": []})[1]["model_version"]
            assert seen == str(repository.active("things"))
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
    assert len(answers) > 100
    assert [status for status, _, _ in answers if status != 200] == []
    assert all(found == pytest.approx(wanted, rel=1e-6) for _, wanted, found in answers)
    assert len({found for _, _, found in answers}) == 3


def test_a_damaged_active_version_leaves_the_old_one_serving(tmp_path: Path, bundles: dict[str, Path]) -> None:
    repository = Repository(tmp_path / "models")
    for number in ("1", "2"):
        repository.add("things", bundles[number], "ann")
    repository.activate("things", 1, "ann")
    with running(tmp_path / "models", tmp_path / "log") as server:
        assert server.call("POST", PREDICT, {"rows": ROWS})[1]["model_version"] == "1"
        repository.activate("things", 2, "ann")
        (tmp_path / "models/things/versions/2/model.onnx").write_bytes(b"")
        status, answer = server.call("POST", PREDICT, {"rows": ROWS})
        assert (status, answer["model_version"]) == (200, "1")
        shutil.rmtree(tmp_path / "models")
        assert server.call("POST", PREDICT, {"rows": ROWS})[1]["model_version"] == "1"
        written_when(server, "the active one cannot be served: model.onnx")


def test_a_request_that_has_begun_is_finished_on_ctrl_c(tmp_path: Path, bundles: dict[str, Path]) -> None:
    repository = Repository(tmp_path / "models")
    repository.activate("things", repository.add("things", bundles["1"], "ann"), "ann")
    with running(tmp_path / "models", tmp_path / "log") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            body = json.dumps({"rows": ROWS}).encode()
            token = base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n"
            head += f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
            connection.sendall(head.encode() + body[:10])
            # Signals that the server has begun to read the body.
            assert connection.recv(1000).startswith(b"HTTP/1.1 100")
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            connection.sendall(body[10:])
            assert b"200 OK" in connection.recv(65536)
        assert server.process.wait(timeout=120) == 0
    assert "Traceback" not in server.log.read_text()
    assert server.log.read_text().rstrip().endswith("Stopped.")


def written_when(server: Server, line: str) -> str:
    """Return the log once it has that line, which is written after the response."""
    for _ in range(1200):
        if line in (log := server.log.read_text()):
            return log
        time.sleep(0.05)
    raise AssertionError(log)


def test_the_log_has_no_secret(empty: Server, tmp_path: Path, bundles: dict[str, Path]) -> None:
    empty.upload("things", packed(bundles["1"]))
    empty.call("GET", f"/v2?pw={PASSWORD}")
    empty.call("GET", "/v2/%0aforged%20line", auth=f"{PASSWORD}:{PASSWORD}")
    log = written_when(empty, "/v2/%0aforged%20line")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in content for content in written)
    seen = [(line["client"], line["user"], line["method"], line["path"], line["status"]) for line in lines]
    assert seen == [
        ("127.0.0.1", ID, "POST", "/v2/repository/models/things/versions", 201),
        ("127.0.0.1", ID, "GET", "/v2", 200),
        ("127.0.0.1", None, "GET", "/v2/%0aforged%20line", 401),
    ]
    command_line = Path(f"/proc/{empty.process.pid}/cmdline").read_bytes()
    assert PASSWORD.encode() not in command_line


@pytest.mark.parametrize(
    ("words", "password", "message"),
    [
        ([], "", "WMH_SERVE_PW"),
        (["--id", "a:b"], "x", "--id"),
        (["--repository", __file__], "x", "--repository"),
        (["--host", "256.0.0.1"], "x", "--host"),
    ],
)
def test_errors_of_the_user(words: list[str], password: str, message: str) -> None:
    done = inside("serve", "--port", "0", *words, env={"WMH_SERVE_PW": password})
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        variables = {**os.environ, "WMH_SERVE_PW": PASSWORD}
        words = ["serve", "--port", port, "--repository", str(tmp_path)]
        done = subprocess.run([*COMMAND, *words], env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"--port={port}" in done.stderr
    assert "address already in use" in done.stderr
