"""Malicious and malformed requests: they are rejected, and other clients are not affected."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import pickle
import random
import re
import socket
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

import tiny_models as tiny
from model_server import ID, PASSWORD, Server, running
from serving.test_bundle import sign
from traffic import Traffic, traffic
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.formats import archive
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

# One worker starts the servers once.
pytestmark = pytest.mark.xdist_group("serving_attacks")
ROWS = [tiny.json_row(row) for row in tiny.ROWS]
VERSIONS = "/v2/repository/models/things/versions"
PREDICT = "/v2/models/things/predict"
TOKEN = "Basic " + base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()
Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good")
    (root / "bundle").mkdir()
    bundling.build(tiny.prepared(root / "data"), tiny.regression(root / "m"), root / "bundle")
    return root / "bundle"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, good: Path) -> Iterator[Server]:
    """A server with limits of a megabyte."""
    root = tmp_path_factory.mktemp("server")
    repository = Repository(root / "models")
    repository.activate("things", repository.add("things", good, ID), ID)
    with running(root / "models", root / "log", "--request-limit", "1", "--upload-limit", "1") as started:
        yield started


@pytest.fixture
def unaffected(server: Server) -> Iterator[Traffic]:
    """A client that sends requests throughout the test; every prediction must be right."""
    with traffic(server, "things", ROWS, lambda _, row: tiny.price(tiny.ROWS[row]), rate=25) as seen:
        yield seen
    assert seen.problems == []
    assert seen.answers


def packed(folder: Path) -> bytes:
    target = io.BytesIO()
    archive.pack(folder, target)
    return target.getvalue()


def tar_of(**files: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def changed(good: Path, folder: Path, change: Change) -> bytes:
    """Archive of a bundle with a changed model and matching checksums."""
    folder.mkdir()
    for file in good.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    change(folder / "model.onnx")
    sign(folder)
    return packed(folder)


class Harm:
    """Object that leaves a file if it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def external(location: str) -> Change:
    """A model with a tensor that lies in another file."""

    def change(model: Path) -> None:
        loaded = onnx.load(model)
        tensor = loaded.graph.initializer.add(name="stolen", data_type=onnx.TensorProto.FLOAT, dims=[1])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        model.write_bytes(loaded.SerializeToString())

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.write_bytes(model.read_bytes()[:-100]), "model.onnx"),
        (lambda model: model.write_bytes(b""), "model.onnx"),
        (lambda model: model.write_bytes(gzip.compress(bytes(100_000_000))), "model.onnx"),
        (lambda model: model.write_bytes(pickle.dumps(Harm(model.parent.parent / "harm"))), "model.onnx"),
        (external("/etc/passwd"), "outside its own file"),
        (external("../../users.json"), "outside its own file"),
    ],
    ids=["truncated", "empty", "bomb", "pickle", "absolute path", "relative path"],
)
def test_malicious_models(
    server: Server, unaffected: Traffic, good: Path, tmp_path: Path, change: Change, message: str
) -> None:
    status, answer = server.upload("things", changed(good, tmp_path / "bundle", change))
    assert (status, message in answer["error"]) == (422, True), answer
    assert not (tmp_path / "harm").exists()
    assert len(server.call("GET", "/v2/repository/models/things")[1]["versions"]) == 1


def test_invalid_archives(server: Server, unaffected: Traffic, good: Path, tmp_path: Path) -> None:
    huge = tarfile.TarInfo("model.onnx")
    huge.size = 1 << 60
    sparse = tarfile.TarInfo("model.onnx")
    sparse.type = tarfile.GNUTYPE_SPARSE
    bodies = {
        "bare pickle": pickle.dumps(Harm(tmp_path / "harm")),
        "a compressed bomb": gzip.compress(bytes(200_000_000), mtime=0),
        "a size that is a lie": huge.tobuf() + bytes(1024),
        "a hole": sparse.tobuf() + bytes(1024),
        "names that lead elsewhere": tar_of(**{"../../users.json": b"{}"}),
        "an absolute name": tar_of(**{"/tmp/harm": b"x"}),
        "a pickle beside the model": tar_of(**{"model.pkl": pickle.dumps(Harm(tmp_path / "harm"))}),
    }
    for name, body in bodies.items():
        status, answer = server.upload("things", body)
        assert (status, "error" in answer) == (422, True), (name, answer)
    assert not (tmp_path / "harm").exists()
    assert not (server.log.parent / "models/users.json").exists()


@pytest.mark.parametrize(
    "name", ["..", "../things", "%2e%2e", "..%2f..%2fevil", "a%00b", "users.json", "-x", "a" * 101]
)
def test_path_traversal_in_names(server: Server, good: Path, name: str) -> None:
    before = _files(server)
    status, _ = server.upload(name, packed(good))
    assert status in (404, 405, 422)
    assert server.call("POST", f"/v2/models/{name}/predict", {"rows": []})[0] in (404, 405, 422)
    assert _files(server) == before


def _files(server: Server) -> list[Path]:
    """All files, except those that the server writes by itself while it counts requests."""
    return sorted(path for path in server.log.parent.rglob("*") if "observed" not in path.parts)


def test_a_replayed_upload_with_another_body(server: Server, good: Path, tmp_path: Path) -> None:
    """The digest is that of the first body: another body is rejected."""
    first = packed(good)
    headers = {"Content-Digest": archive.digest_header(hashlib.sha256(first).digest())}
    other = first.replace(b'"acme"', b'"acmE"')
    assert other != first
    status, answer = server.call("POST", VERSIONS, other, **headers)
    assert (status, "does not match Content-Digest" in answer["error"]) == (422, True), answer
    assert server.call("POST", VERSIONS, first, **headers) == (
        201,
        {"version": 1},
    )  # the same once more changes nothing
    for digest in ({}, {"Content-Digest": "sha-256=:x:"}, {"Content-Digest": "md5=:AAAA:"}):
        status, answer = server.call("POST", VERSIONS, first, **digest)
        assert (status, "Content-Digest" in answer["error"]) == (422, True), answer


def test_bodies_that_are_too_large_or_compressed(server: Server, unaffected: Traffic) -> None:
    for path in (PREDICT, VERSIONS):
        assert server.call("POST", path, **{"Content-Length": str(10**12)})[0] == 413
        assert _chunked(server.port, path, 3 << 20).startswith(b"HTTP/1.1 413")
        bomb = gzip.compress(bytes(50_000_000))
        assert server.call("POST", path, bomb, **{"Content-Encoding": "gzip"})[0] == 415


def test_heads_that_are_too_large(server: Server, unaffected: Traffic) -> None:
    """Whether they are complete, never end, or follow a body as trailers."""
    start = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n".encode()
    trailers = start + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    for first, end in (
        (start, b"\r\n\r\n"),
        (start, b""),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n"),
        (trailers, b""),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(first + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(70)) + end)
            assert connection.recv(1000).startswith((b"HTTP/1.1 431", b"HTTP/1.1 422"))
            try:
                while connection.recv(1000):
                    pass
            except ConnectionResetError:
                pass
    small = {f"X-{n}": "x" * 1000 for n in range(50)}
    assert server.call("POST", PREDICT, {"rows": ROWS}, **small)[0] == 200


def test_too_many_rows(server: Server, unaffected: Traffic) -> None:
    status, answer = server.call("POST", PREDICT, b'{"rows":[' + b"{}," * 100_000 + b"{}]}")
    assert (status, answer) == (413, {"error": "100001 rows, but a request may have 100000"})
    tensor = {"name": "seats", "datatype": "INT64", "shape": [100_001], "data": [1] * 100_001}
    status, answer = server.call("POST", "/v2/models/things/infer", {"inputs": [tensor]})
    assert (status, "rows" in answer["error"]) == (413, True), answer


def _chunked(port: int, path: str, size: int) -> bytes:
    """Response to a body without a Content-Length."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\nTransfer-Encoding: chunked\r\n"
    head += f"Content-Digest: {archive.digest_header(bytes(32))}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode())
        try:
            for _ in range(size >> 16):
                connection.sendall(b"10000\r\n" + b"[" * (1 << 16) + b"\r\n")
        except OSError:
            pass  # the server has responded and closed the connection
        return connection.recv(1000)


@pytest.mark.integration
def test_ten_thousand_failed_logins(server: Server, unaffected: Traffic) -> None:
    """The server keeps serving, few of them cost a check, and no attempted password is logged."""
    seen: Counter[int] = Counter()
    mark = "tried-" + str(random.getrandbits(60))

    def attack(who: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for number in range(500):
            name = ID if number % 2 else f"user{number}"
            token = base64.b64encode(f"{name}:{mark}-{who}-{number}".encode()).decode()
            connection.request("GET", "/v2", headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            assert mark.encode() not in answer.read()
            seen[answer.status] += 1
        connection.close()

    threads = [threading.Thread(target=attack, args=[who]) for who in range(20)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(seen.values()) == 10_000
    assert set(seen) == {401, 429}
    assert server.call("POST", PREDICT, {"rows": ROWS})[0] == 200
    checked = re.search(r"^model_server_failed_logins_total (\S+)", _text(server, "/metrics"), re.MULTILINE)
    assert checked is not None
    minutes = (time.monotonic() - began) // 60 + 2
    assert float(checked[1]) <= 10 * minutes  # those that are sent at once are counted as well
    log = server.log.read_text()
    assert log.count('"path":"/v2","status":4') >= 10_000
    assert mark not in log
    encoded = base64.b64encode(f"{ID}:{mark}".encode()).decode()[:20]
    assert encoded not in log


def _text(server: Server, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", path, headers={"Authorization": TOKEN})
    return connection.getresponse().read().decode()


@pytest.mark.integration
def test_slow_requests_and_too_many_at_once(tmp_path: Path, good: Path) -> None:
    """A request whose body does not arrive times out, which frees its place."""
    repository = Repository(tmp_path / "models")
    repository.activate("things", repository.add("things", good, ID), ID)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\nContent-Length: 100\r\n\r\n".encode()
    with running(tmp_path / "models", tmp_path / "log", "--concurrency", "2", "--receive-timeout", "3") as server:
        assert server.call("POST", PREDICT, {"rows": ROWS})[0] == 200
        quiet, unfinished, *slow = (socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(4))
        unfinished.sendall(head[:20])
        for connection in slow:
            connection.sendall(head + b"{")
        statuses = set()
        end = time.monotonic() + 2.5
        while 503 not in statuses and time.monotonic() < end:
            statuses.add(server.call("POST", PREDICT, {"rows": ROWS})[0])
        assert statuses <= {200, 503}
        assert 503 in statuses
        assert server.call("GET", "/v2/health/live", auth=None)[0] == 200
        for connection in slow:
            answer = connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408")
            assert json.loads(answer.partition(b"\r\n\r\n")[2] or connection.recv(1000))["error"].endswith("within 3 s")
            connection.close()
        assert server.call("POST", PREDICT, {"rows": ROWS})[0] == 200
        for connection in (quiet, unfinished):
            assert connection.recv(100) == b""
            connection.close()
