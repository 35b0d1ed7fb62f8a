"""Several workers, real processes: dead ones are replaced, a stop loses no request, changed files are reloaded."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import trustme

import tiny_models as tiny
from model_server import COMMAND, ID, PASSWORD, Server, running
from small_pipeline import inside
from traffic import traffic
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.http.users import Role, Users
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

# One worker starts the servers once.
pytestmark = pytest.mark.xdist_group("serving_workers")
ROWS = [tiny.json_row(row) for row in tiny.ROWS]
PREDICT = "/v2/models/things/predict"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workers")
    (root / "bundle").mkdir()
    bundling.build(tiny.prepared(root / "data"), tiny.regression(root / "model"), root / "bundle")
    repository = Repository(root / "models")
    repository.activate("things", repository.add("things", root / "bundle", ID), ID)
    return repository.root


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers."""
    with running(models, tmp_path_factory.mktemp("log") / "log", "--workers", "2") as started:
        until(lambda: len(started.workers()) == 2)
        yield started


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def expected(_: int, row: int) -> float:
    return tiny.price(tiny.ROWS[row])


def test_a_worker_that_dies_is_replaced(server: Server) -> None:
    killed, other = server.workers()
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(workers := server.workers()) == 2 and killed not in workers)
    assert other in server.workers()
    assert server.call("POST", PREDICT, {"rows": ROWS})[0] == 200
    assert f"worker {killed} ended" in server.log.read_text()


@pytest.mark.integration
def test_workers_are_replaced_under_load_without_one_failure(server: Server) -> None:
    """SIGTERM of a worker, SIGTERM of both, and SIGHUP of the supervisor, while clients keep their connections."""
    before = server.workers()
    with traffic(server, "things", ROWS, expected, rate=100) as seen:
        time.sleep(0.5)
        os.kill(before[0], signal.SIGTERM)
        until(lambda: before[0] not in server.workers() and len(server.workers()) == 2)
        both = server.workers()
        for worker in both:
            os.kill(worker, signal.SIGTERM)
        until(lambda: not set(both) & set(server.workers()) and len(server.workers()) == 2)
        until(lambda: server.call("POST", PREDICT, {"rows": ROWS})[0] == 200)
        old = server.workers()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: not set(old) & set(server.workers()) and len(server.workers()) == 2)
        count = len(seen.answers)
        until(lambda: len(seen.answers) > count + 100)
    assert seen.problems == []


def test_open_connections_are_served_while_the_server_stops(models: Path, tmp_path: Path) -> None:
    """A request on an idle connection is served, with ``Connection: close``."""
    token = base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {token}"}
    with running(models, tmp_path / "log") as server:
        connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(5)]

        def answered(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            connection.request("POST", PREDICT, json.dumps({"rows": ROWS}), headers)
            response = connection.getresponse()
            assert len(json.loads(response.read())["predictions"]) == len(ROWS)
            return response

        assert {answered(connection).getheader("connection") for connection in connections} == {None}
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(server.port))
        assert {answered(connection).getheader("connection") for connection in connections} == {"close"}
        assert server.process.wait(timeout=120) == 0
    assert "Traceback" not in server.log.read_text()


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.integration
def test_workers_stop_when_their_supervisor_was_killed(models: Path, tmp_path: Path) -> None:
    with running(models, tmp_path / "log", "--workers", "2") as server:
        until(lambda: len(server.workers()) == 2)
        assert server.call("GET", "/v2")[0] == 200
        workers = server.workers()
        metrics = f"*/model_server_metrics-{server.process.pid}-*"
        assert [*Path("/dev").glob(metrics), *Path("/").glob(metrics)]
        server.process.kill()
        server.process.wait(timeout=120)
        until(lambda: refuses(server.port))
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    with running(models, tmp_path / "log"):  # the next server removes the metrics of dead ones
        assert not [*Path("/dev").glob(metrics), *Path("/").glob(metrics)]


def test_a_server_that_cannot_start_reports_an_error(models: Path, tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text('{"ann": {"role": "king", "hash": "x"}}')
    words: list[str | Path] = [*COMMAND, "serve", "--repository", str(tmp_path), "--port", "0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "users.json" in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_a_server_whose_workers_cannot_start_ends(tmp_path: Path) -> None:
    """A worker that fails before it serves would fail the same way each time."""
    (tmp_path / "limits.py").write_text("raise ImportError('a library that is broken')")  # only workers import it
    variables = {**os.environ, "WMH_SERVE_PW": PASSWORD, "PYTHONPATH": str(tmp_path)}
    words: list[str | Path] = [*COMMAND, "serve", "--repository", str(tmp_path / "models"), "--port", "0"]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "a worker cannot start" in done.stderr
    assert "The server could not start" in done.stderr


@pytest.mark.integration
def test_users_roles_and_the_metrics_of_all_workers(models: Path, tmp_path: Path) -> None:
    """Added, changed and removed users take effect in every worker at once."""
    root = tmp_path / "models"
    users = Users(root)
    users.add("reader", Role.PREDICT, "password-of-reader")
    users.add("deployer", Role.DEPLOY, "password-of-deployer")
    repository = Repository(root)
    repository.activate("things", repository.add("things", models / "things/versions/1", ID), ID)
    with running(root, tmp_path / "log", "--workers", "2", "--failed-logins", "1000") as server:

        def status(who: str, path: str = PREDICT, password: str | None = None) -> set[int]:
            auth = f"{who}:{password or f'password-of-{who}'}"
            return {server.call("POST", path, {"rows": ROWS}, auth=auth)[0] for _ in range(3)}

        assert status(ID, password=PASSWORD) == {401}  # the sole user is not valid with a users.json
        assert status("reader") == {200}
        assert status("reader", "/v2/repository/models/things/rollback") == {403}
        assert server.call("GET", "/v2/repository/models", auth="reader:password-of-reader")[0] == 200
        assert status("deployer", "/v2/repository/models/things/rollback") == {409}
        users.add("reader", Role.DEPLOY, "another-password", replace=True)
        assert status("reader") == {401}
        assert status("reader", "/v2/repository/models/things/rollback", "another-password") == {409}
        users.remove("deployer")
        assert status("deployer") == {401}
        found = metrics(server, "reader:another-password")
    predicted = 'method="POST",model="things",route="/v2/models/{model}/predict",status="200",version="1"'
    assert found[f"model_server_requests_total{{{predicted}}}"] == 3
    assert found['model_server_rows_total{model="things",version="1"}'] == 3 * len(ROWS)
    assert found["model_server_failed_logins_total"] >= 1
    answers = 'model_server_request_seconds_count{model="things",route="/v2/models/{model}/predict",version="1"}'
    assert found[answers] == 3


def metrics(server: Server, auth: str) -> dict[str, float]:
    """Return the metrics as Prometheus reads them."""
    user, _, password = auth.partition(":")
    answer = httpx.get(f"{server.url}/metrics", auth=(user, password), timeout=60)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {name: float(value) for name, value in re.findall(r"^([a-z]\S*(?:\{.*\})?) (\S+)$", answer.text, re.M)}


@pytest.mark.integration
def test_tls_and_a_certificate_that_is_replaced(models: Path, tmp_path: Path) -> None:
    authorities = [trustme.CA(), trustme.CA()]

    def certify(authority: trustme.CA) -> None:
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(tmp_path / "key.pem")
        (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    certify(authorities[0])
    words = ["--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    with running(models, tmp_path / "log", *words) as server:

        def answers(authority: trustme.CA) -> bool:
            context = ssl.create_default_context()
            authority.configure_trust(context)
            try:
                url = f"https://127.0.0.1:{server.port}{PREDICT}"
                answer = httpx.post(url, json={"rows": ROWS}, auth=(ID, PASSWORD), verify=context, timeout=60)
                return answer.status_code == 200
            except httpx.ConnectError:
                return False

        until(lambda: answers(authorities[0]))
        assert not answers(authorities[1])
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/v2", timeout=60)
        certify(authorities[1])
        server.process.send_signal(signal.SIGHUP)
        until(lambda: answers(authorities[1]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--certificate", "cert.pem"], "--key"),
        (["--key", "cert.pem"], "--certificate"),
        (["--certificate", "nowhere.pem", "--key", "nowhere.pem"], "nowhere.pem"),
        (["--certificate", __file__, "--key", __file__], "PEM"),
    ],
)
def test_certificates_that_cannot_be_used(words: list[str], message: str, tmp_path: Path) -> None:
    variables = {"WMH_SERVE_PW": PASSWORD}
    done = inside("serve", "--port", "0", "--repository", str(tmp_path), *words, env=variables)
    assert (done.code, message in done.err, "Traceback" in done.err) == (2, True, False), done.err
