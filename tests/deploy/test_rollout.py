"""New versions under traffic: canaries are promoted or taken back, and nobody notices but by the version's number."""

from __future__ import annotations

import http.client
import io
import math
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter

import tiny_models as tiny
from model_server import ID, PASSWORD, Server, running
from serving.test_repository import check_consistent
from traffic import traffic
from when_ml_pipeline_meets_hydra.deploy.clusters.http import Http
from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.engine.encode import feeds_from_rows
from when_ml_pipeline_meets_hydra.serving.formats import archive
from when_ml_pipeline_meets_hydra.serving.formats.versions import Canary, Measured, Status, Terms
from when_ml_pipeline_meets_hydra.serving.http.models import LoadedVersions
from when_ml_pipeline_meets_hydra.serving.monitoring.agreement import agreement
from when_ml_pipeline_meets_hydra.serving.monitoring.background import Monitor
from when_ml_pipeline_meets_hydra.serving.observations import latencies
from when_ml_pipeline_meets_hydra.serving.observations.canary_counts import Verdict, canary_progress, judge
from when_ml_pipeline_meets_hydra.serving.observations.counters import MAX_ROWS, RequestCounters, Rows, with_fallback
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

# One worker starts the servers once.
pytestmark = pytest.mark.xdist_group("rollout")
SECONDS = float(os.environ.get("TRAFFIC_SECONDS", "8"))  # about how long there is traffic in the longest test
KILLS = int(os.environ.get("KILLS", "2"))
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TERMS = Terms(share=0.3, requests=40, minutes=0, errors=0, latency=None, agreement=0.9, sample=1.0, tolerance=0.1)
SLOPES = (1.0, 1.01, 2.0, 1e306)  # the second is nearly the first, the last is beyond all bounds for heavy things
ROWS = [tiny.json_row(row) for row in tiny.ROWS]
HEAVY = {**tiny.ROWS[0], "weight": 1e6}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("bundles")
    data = tiny.prepared(root / "data")
    for number, slope in enumerate(SLOPES):
        (root / str(number)).mkdir()
        bundling.build(data, tiny.regression(root / f"m{number}", slope=slope), root / str(number))
    return [root / str(number) for number in range(len(SLOPES))]


def expected(version: int, row: int) -> float:
    return tiny.price(tiny.ROWS[row], SLOPES[version - 1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the repository ``models`` beside its log; each test has a model of its own there."""
    root = tmp_path_factory.mktemp("server")
    with running(root / "models", root / "log") as started:
        yield started


def pushed(root: Path, model: str, bundles: list[Path]) -> Repository:
    """A repository with all versions of a model, of which the first is active."""
    repository = Repository(root)
    for one in bundles:
        repository.add(model, one, "ann")
    repository.activate(model, 1, "ann")
    return repository


def until(ask: Callable[[], Status], is_so: Callable[[Status], bool], seconds: float = 60) -> Status:
    end = time.monotonic() + seconds
    while not is_so(found := ask()):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def client(server: Server) -> Http:
    return Http(name="here", url=server.url, id=ID, pw=SecretStr(PASSWORD))


def test_a_canary_that_agrees_is_promoted(server: Server, bundles: list[Path]) -> None:
    repository, cluster = pushed(server.log.parent / "models", "good", bundles), client(server)
    with traffic(server, "good", ROWS, expected, rate=100) as seen:
        cluster.canary("good", 2, replace(TERMS, requests=100_000))
        stands = until(lambda: cluster.status("good"), lambda s: bool(s.measured and s.measured.compared))
        assert stands.active == 1
        assert stands.measured is not None
        assert stands.measured.agreed == stands.measured.compared
        cluster.canary("good", 2, TERMS)
        done = until(lambda: cluster.status("good"), lambda s: s.canary is None)
    assert (done.active, done.previous) == (2, (1,))
    last = done.history[-1]
    assert (last.action, last.version, last.who) == ("promote", 2, "server")
    assert "within its bounds" in (last.why or "")
    assert not seen.problems
    assert set(seen.versions()) == {1, 2}
    assert repository.status("good") == done


def test_a_canary_that_disagrees_is_taken_back(server: Server, bundles: list[Path]) -> None:
    repository = pushed(server.log.parent / "models", "other", bundles)
    with traffic(server, "other", ROWS, expected, rate=100) as seen:
        repository.canary("other", 3, TERMS, "bob")
        done = until(lambda: repository.status("other"), lambda s: s.canary is None)
    assert (done.active, done.previous) == (1, ())
    assert (done.history[-1].action, done.history[-1].who) == ("take back", "server")
    assert "rows predicted as by the active version" in (done.history[-1].why or "")
    assert not seen.problems


def test_what_a_canary_fails_the_active_version_answers(server: Server, bundles: list[Path]) -> None:
    repository, heavy = pushed(server.log.parent / "models", "bad", bundles), tiny.json_row(HEAVY)

    def answer(version: int, row: int) -> float:
        return tiny.price(HEAVY, SLOPES[version - 1])

    with traffic(server, "bad", [heavy], answer, rate=100) as seen:
        assert server.call("POST", "/v2/models/bad/versions/4/predict", {"rows": [heavy]})[0] == 422
        repository.canary("bad", 4, replace(TERMS, share=0.5, requests=10_000), "bob")
        done = until(lambda: repository.status("bad"), lambda s: s.canary is None)
    assert done.active == 1
    assert "failed" in (done.history[-1].why or "")
    assert not seen.problems
    assert set(seen.versions()) == {1}


def test_a_canary_that_cannot_be_loaded_is_taken_back(server: Server, bundles: list[Path]) -> None:
    repository = pushed(server.log.parent / "models", "damaged", bundles)
    with traffic(server, "damaged", ROWS, expected, rate=50) as seen:
        repository.canary("damaged", 2, TERMS, "bob")
        (repository.folder("damaged", 2) / "model.onnx").write_bytes(b"")
        done = until(lambda: repository.status("damaged"), lambda s: s.canary is None)
    assert (done.active, done.history[-1].action) == (1, "take back")
    assert "model.onnx" in (done.history[-1].why or "")
    assert not seen.problems


@pytest.mark.slow
@pytest.mark.integration
def test_nobody_notices(tmp_path: Path, bundles: list[Path]) -> None:
    """Two hundred requests a second while versions come and go, and workers too: each answer is its version's."""
    rows, root = [*ROWS, tiny.json_row(HEAVY)], tmp_path / "models"

    slopes = {1: SLOPES[0], 2: SLOPES[2], 3: SLOPES[1], 4: SLOPES[3]}  # by version, in the order of the story

    def answer(version: int, row: int) -> float:
        return tiny.price([*tiny.ROWS, HEAVY][row], slopes[version])

    first = Repository(root)
    first.activate("things", first.add("things", bundles[0], "ann"), "ann")
    with (
        running(root, tmp_path / "log", "--workers", "2") as server,
        traffic(server, "things", rows, answer, 200) as seen,
    ):
        cluster = client(server)

        def pause() -> float:
            time.sleep(SECONDS / 12)
            return seen.now

        def judged() -> Status:
            return until(lambda: cluster.status("things"), lambda s: s.canary is None)

        pause()
        assert cluster.push("things", bundles[2]) == 2
        workers = server.workers()
        pause()
        with pytest.raises(Refused, match=r"model\.onnx does not match its checksum"):
            cluster.push("things", damaged(tmp_path, bundles[1]))
        server.process.send_signal(signal.SIGHUP)
        until_is(lambda: len(server.workers()) == 2 and not set(workers) & set(server.workers()))
        pause()
        cluster.canary("things", cluster.push("things", bundles[1]), TERMS)
        assert judged().active == 3
        pause()
        cluster.canary("things", cluster.push("things", bundles[3]), TERMS)
        assert (judged().active, cluster.status("things").history[-1].action) == (3, "take back")
        gone, stays = server.workers()
        os.kill(gone, signal.SIGTERM)
        pause()
        until_is(lambda: len(server.workers()) == 2 and gone not in server.workers())
        assert stays in server.workers()
        cluster.activate("things", 2)
        since = pause()
        cluster.rollback("things")
        pause()
        assert cluster.status("things").active == 3
        time.sleep(max(0.0, SECONDS - seen.now))
    print(f"{len(seen.answers)} answers, {len(seen.problems)} failed or wrong; by version {dict(seen.versions())}")
    assert len(seen.answers) > 50 * SECONDS
    assert not seen.problems, seen.problems[:5]
    assert {1, 2, 3} <= set(seen.versions()) <= {1, 2, 3, 4}
    assert 3 in seen.versions(since)


@pytest.mark.slow
@pytest.mark.integration
def test_the_server_is_killed(tmp_path: Path, bundles: list[Path]) -> None:
    """``kill -9`` of all its processes while uploads and changes go on; ``KILLS=100`` does it more often."""
    root, chance = tmp_path / "models", random.Random(11)
    repository = pushed(root, "things", bundles)
    unfinished = unwritten = 0
    for number in range(KILLS):
        with running(root, tmp_path / f"log-{number}", "--workers", "2") as server:
            check_answer(server, repository)
            done: list[float] = []
            do = (upload if number % 2 else change)(server, f"new-{number}", bundles, random.Random(number))
            worker = threading.Thread(target=until_it_is_gone, args=[do, done])
            worker.start()
            until_is(lambda done=done: len(done) > 2)  # type: ignore[misc]
            time.sleep(chance.uniform(0, 5 * (done[2] - done[1])))
            for pid in (server.process.pid, *server.workers()):
                os.kill(pid, signal.SIGKILL)
            worker.join()
            server.process.wait()
        unfinished += any(root.glob("*/incoming"))
        unwritten += lines_of(root / "things") < len(repository.status("things").history)
        for model in [folder.name for folder in root.iterdir() if folder.is_dir()]:
            check_consistent(repository, model)
            repository.add(model, bundles[0], "bob")
            check_consistent(repository, model, finished=True)
            if model != "things":
                shutil.rmtree(root / model)
    print(f"{KILLS} kills; {unfinished} left a version unfinished, {unwritten} the history a line behind")


def lines_of(folder: Path) -> int:
    return len((folder / "history.jsonl").read_bytes().splitlines())


def upload(server: Server, model: str, bundles: list[Path], _: random.Random) -> Iterator[int]:
    """Push one bundle after the other as a new model, all the time."""
    archives = [packed(one) for one in bundles]
    yield server.call("GET", f"/v2/repository/models/{model}")[0]
    for number in range(1000):
        yield server.upload(f"{model}-{number // len(archives)}", archives[number % len(archives)])[0]


def change(server: Server, _: str, bundles: list[Path], chance: random.Random) -> Iterator[int]:
    """Let others serve, all the time."""
    terms = TypeAdapter(Terms).dump_python(TERMS, mode="json")
    for _turn in range(10_000):
        what = chance.choice(["activate", "activate", "canary", "canary", "rollback", "undeploy"])
        body = {"activate": {"version": chance.randint(1, len(bundles))}, "rollback": None, "undeploy": None}
        body["canary"] = {"version": chance.randint(1, len(bundles)), "terms": terms}
        yield server.call("POST", f"/v2/repository/models/things/{what}", body[what])[0]


def packed(one: Path) -> bytes:
    target = io.BytesIO()
    archive.pack(one, target)
    return target.getvalue()


def until_it_is_gone(do: Iterator[int], done: list[float]) -> None:
    """Go on until the server is gone, and note when each thing was done."""
    with suppress(OSError, http.client.HTTPException, ValueError):
        for status in do:
            assert status in (200, 201, 404, 409), status
            done.append(time.monotonic())


def check_answer(server: Server, repository: Repository) -> None:
    """The server answers as what the repository says."""
    until_is(lambda: is_ready(server))
    status, answer = server.call("POST", "/v2/models/things/predict", {"rows": ROWS[:1]})
    found = repository.status("things")
    if found.active is None:
        assert status == 404
        return
    version = int(answer["model_version"])
    assert version in (found.active, found.canary.version if found.canary else None)
    assert answer["predictions"] == pytest.approx([expected(version, 0)], rel=1e-5)


def is_ready(server: Server) -> bool:
    try:
        return server.call("GET", "/v2/health/ready", auth=None)[0] == 200
    except OSError:
        return False


def damaged(folder: Path, one: Path) -> Path:
    """A copy of a bundle whose model is not what it says."""
    copy = shutil.copytree(one, folder / "damaged")
    (copy / "model.onnx").write_bytes(b"no model")
    return copy


def until_is(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 180
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_more_versions_than_are_kept_in_memory(tmp_path: Path, bundles: list[Path]) -> None:
    """What serves is watched also where others have taken its place among the loaded versions."""
    repository = pushed(tmp_path, "things", bundles)
    loaded = LoadedVersions(repository, capacity=1)
    served = loaded.routed("things")
    loaded.version("things", 2)
    with_fallback(served, lambda one: one.scorer.predict(ROWS))
    Monitor(loaded).check(last=True)
    found = repository.observation("things").observed
    assert found is not None
    assert (found.requests, found.prediction.total) == (1, len(ROWS))


def test_a_canary_gets_its_share(tmp_path: Path, bundles: list[Path]) -> None:
    repository = pushed(tmp_path, "things", bundles)
    repository.canary("things", 2, TERMS, "ann")
    loaded = LoadedVersions(repository)
    found = [loaded.routed("things").number for _ in range(3000)]
    assert 0.26 < found.count(2) / 3000 < 0.34
    assert set(found) == {1, 2}
    assert {loaded.active("things").number for _ in range(50)} == {1}


def test_agreement(tmp_path: Path, bundles: list[Path]) -> None:
    first, near, far = (scorer.load(bundles[number]) for number in (0, 1, 2))
    feeds = feeds_from_rows(first.manifest.inputs, ROWS, first.manifest.reading)
    mine = [Rows(feeds, first.run_unobserved(feeds))]
    assert agreement(mine, first.manifest, near, 0.05) == (len(ROWS), len(ROWS))
    assert agreement(mine, first.manifest, near, 0.0) == (len(ROWS), 0)
    assert agreement(mine, first.manifest, far, 0.05) == (len(ROWS), 0)
    assert first.manifest.spread
    for part, agreed in ((0.04, len(ROWS)), (0.06, 0)):
        moved = [Rows(rows.feeds, [rows.outputs[0] + part * first.manifest.spread]) for rows in mine]
        assert agreement(moved, first.manifest, first, 0.05) == (len(ROWS), agreed), "a part of the target's spread"
    # A column that this version does not know is missing to the other one.
    columns = tuple(column for column in first.manifest.inputs if column.name not in ("maker", "weight"))
    without = {column.name: feeds[column.name] for column in columns}
    missing = first.run_unobserved(
        feeds_from_rows(
            first.manifest.inputs, [{**row, "maker": None, "weight": None} for row in ROWS], first.manifest.reading
        )
    )
    fewer = replace(first.manifest, inputs=columns)
    assert agreement([Rows(without, missing)], fewer, first, 0.0) == (len(ROWS), len(ROWS))


def test_agreement_of_classes(tmp_path: Path, bundles: list[Path]) -> None:
    data = tiny.prepared(tmp_path / "data", task=Task.CLASSIFICATION)
    (tmp_path / "bundle").mkdir()
    bundling.build(data, tiny.classification(tmp_path / "model"), tmp_path / "bundle")
    classes, number = scorer.load(tmp_path / "bundle"), scorer.load(bundles[0])
    feeds = feeds_from_rows(classes.manifest.inputs, ROWS, classes.manifest.reading)
    label, probabilities = classes.run_unobserved(feeds)
    assert agreement([Rows(feeds, [label, probabilities])], classes.manifest, classes, 0.0) == (len(ROWS), len(ROWS))
    wrong = np.array(["fair" if name == "cheap" else "cheap" for name in label], dtype=object)
    assert agreement([Rows(feeds, [wrong, probabilities])], classes.manifest, classes, 0.0) == (len(ROWS), 0)
    assert agreement([Rows(feeds, [label, probabilities])], classes.manifest, number, 0.0) == (len(ROWS), 0)


def test_an_error_of_one_model_does_not_stop_the_monitoring_of_others(
    tmp_path: Path, bundles: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    for model in ("bad", "good"):
        repository = pushed(tmp_path, model, bundles)
    loaded = LoadedVersions(repository)
    monitor = Monitor(loaded)
    versions = [loaded.routed(model) for model in ("bad", "good")]
    (tmp_path / "bad" / "versions" / "1" / "training.json").write_text("{")
    for _ in range(2):
        for served in versions:
            with_fallback(served, lambda one: one.scorer.predict(ROWS))
        monitor.check(last=True)
    found = repository.observation("good").observed
    assert found is not None
    assert found.requests == 2
    own = [record for record in caplog.records if record.name.startswith("when_ml_pipeline_meets_hydra")]
    assert [record.message.partition(":")[0] for record in own] == ["bad"], "said once"


def test_of_many_rows_an_evenly_spaced_sample_is_kept() -> None:
    counters = RequestCounters()
    for _ in range(2):
        for turn in range(5000):
            counters.record_rows({"x": np.array([[turn]])}, [np.array([[turn]])])
        kept = [int(rows.outputs[0][0, 0]) for rows in counters.snapshot().rows]
        assert len(kept) <= MAX_ROWS
    assert max(kept) > 4900
    counters = RequestCounters()
    counters.record_rows({"x": np.arange(7000)[:, None]}, [np.arange(7000)[:, None]])
    (rows,) = counters.snapshot().rows
    assert len(rows.outputs[0]) <= MAX_ROWS
    assert rows.outputs[0].max() > 6900
    assert (rows.feeds["x"] == rows.outputs[0]).all()


def measured(**changes: Any) -> Measured:
    found = Measured(requests=100, active_requests=900, latency=0.002, active_latency=0.0015, compared=100, agreed=99)
    return replace(found, **changes)


def canary(**terms: Any) -> Canary:
    whole = replace(TERMS, requests=100, minutes=10, latency=2.0, errors=0.02, **terms)
    return Canary(version=2, since=NOW - timedelta(minutes=15), terms=whole)


@pytest.mark.parametrize(
    ("found", "verdict", "why"),
    [
        ({}, "promote", "100 requests within its bounds"),
        ({"requests": 99}, "wait", "99 of 100 requests"),
        ({"requests": 3, "errors": 2}, "wait", "3 of 100"),
        ({"requests": 3, "errors": 3}, "take back", "failed 3 of 3 requests, allowed 2.0%"),
        ({"requests": 1000, "errors": 20}, "promote", ""),
        ({"requests": 1000, "errors": 21}, "take back", "failed 21"),
        ({"latency": 0.0031}, "take back", "95th percentile is 2.1 times"),
        ({"agreed": 89}, "take back", "89.0% of 100 rows"),
        ({"agreed": 90}, "promote", ""),
        ({"compared": 0, "agreed": 0}, "wait", "no row was predicted by both"),
        ({"active_requests": 0, "active_latency": None}, "wait", "the active version had no request"),
        ({"agreed": 10, "latency": 1.0}, "take back", "; "),
    ],
)
def test_the_rules(found: dict[str, Any], verdict: str, why: str) -> None:
    judged = judge(canary(), measured(**found), NOW)
    assert (judged.verdict.value, why in judged.why) == (verdict, True), judged


def test_progress_of_a_canary() -> None:
    assert list(canary_progress(canary(), measured(errors=1))) == [
        "since 2026-11-21 11:45:00 UTC, judged after 100 requests and 10 minutes",
        "100 requests, the active version had 900",
        "1 failed, allowed 2.0%",
        "95th percentile 2 ms, of the active version 1.5 ms, allowed 2 times",
        "99 of 100 rows with equal predictions (99.0%, at least 90.0%)",
    ]
    assert list(canary_progress(canary(), Measured()))[1:] == ["no request has reached it: is a server running?"]
    assert list(canary_progress(canary(), None))[1:] == ["the cluster reports no measurements of it"]


def test_a_canary_has_to_serve_for_a_while() -> None:
    young = replace(canary(), since=NOW - timedelta(minutes=4))
    assert judge(young, measured(), NOW).why == "4.0 of 10 minutes"


def test_bounds_may_be_left_out() -> None:
    stands = canary(agreement=None, sample=0.0)
    without = replace(stands, terms=replace(stands.terms, latency=None))
    assert judge(without, measured(latency=9.0, compared=0, agreed=0), NOW).verdict is Verdict.PROMOTE


@given(st.builds(Measured, requests=st.integers(1, 10**6), errors=st.integers(0, 10**4), compared=st.just(100)))
def test_more_failures_never_help(found: Measured) -> None:
    worse = replace(found, errors=found.errors + 1, requests=found.requests + 1)
    before, after = (judge(canary(), one, NOW).verdict for one in (found, worse))
    assert after is Verdict.TAKE_BACK or before is not Verdict.TAKE_BACK


@given(st.lists(st.floats(1e-5, 100), min_size=1), st.floats(0.01, 1))
def test_quantiles_of_times_in_buckets(times: list[float], part: float) -> None:
    found = latencies.quantile(latencies.histogram(times), part)
    exact = sorted(times)[max(0, math.ceil(len(times) * part) - 1)]
    assert found is not None
    assert found <= max(exact, latencies.FIRST) * 1.21
    assert found >= exact / 1.21
