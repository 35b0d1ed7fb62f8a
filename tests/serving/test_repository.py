"""The model repository: writes are atomic, and it stays consistent when writers are killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tiny_models as tiny
from when_ml_pipeline_meets_hydra.errors import BadInput, Refused
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.formats.manifest import BundleRefused, verified
from when_ml_pipeline_meets_hydra.serving.formats.versions import Action, Event, Terms
from when_ml_pipeline_meets_hydra.serving.observations import canary_counts
from when_ml_pipeline_meets_hydra.serving.observations.canary_counts import Counts, add_counts
from when_ml_pipeline_meets_hydra.serving.observations.latencies import histogram
from when_ml_pipeline_meets_hydra.serving.repository import active_version, repository
from when_ml_pipeline_meets_hydra.serving.repository.repository import NotFound, Repository
from when_ml_pipeline_meets_hydra.storage import durable_files


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of the same data."""
    root = tmp_path_factory.mktemp("bundles")
    data = tiny.prepared(root / "data")
    for number in (1, 2, 3):
        (root / str(number)).mkdir()
        bundling.build(data, tiny.regression(root / f"model-{number}", slope=float(number)), root / str(number))
    return [root / str(number) for number in (1, 2, 3)]


def test_versions_are_activated_and_rolled_back(tmp_path: Path, bundles: list[Path]) -> None:
    repository = Repository(tmp_path / "models")
    assert repository.models() == ()
    for number, folder in enumerate(bundles, start=1):
        assert repository.add("cars", folder, "ann") == number
        assert repository.activate("cars", number, "ann").active == number
    assert repository.models() == ("cars",)
    assert repository.status("cars").previous == (2, 1)
    assert repository.rollback("cars", "bob").active == 2
    assert repository.rollback("cars", "bob").active == 1
    with pytest.raises(Refused, match="no earlier version"):
        repository.rollback("cars", "bob")
    assert repository.activate("cars", 3, "ann").previous == (1,)
    events = [(event.who, event.action.value, event.version) for event in repository.status("cars").history]
    assert events[-4:] == [
        ("ann", "activate", 3),
        ("bob", "rollback", 2),
        ("bob", "rollback", 1),
        ("ann", "activate", 3),
    ]
    assert len(events) == 9


def test_the_same_bundle_is_the_same_version(tmp_path: Path, bundles: list[Path]) -> None:
    repository = Repository(tmp_path)
    assert [repository.add("cars", bundles[n], "ann") for n in (0, 1, 0, 1)] == [1, 2, 1, 2]
    repository.activate("cars", 1, "ann")
    stamp = repository.stamp("cars")
    repository.activate("cars", 1, "ann")
    assert repository.stamp("cars") == stamp
    assert [event.action.value for event in repository.status("cars").history] == ["push", "push", "activate"]


def test_a_damaged_version_is_reported_and_never_activated(tmp_path: Path, bundles: list[Path]) -> None:
    repository = Repository(tmp_path)
    for folder in bundles[:2]:
        repository.activate("cars", repository.add("cars", folder, "ann"), "ann")
    (tmp_path / "cars" / "versions" / "1" / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleRefused, match="checksum"):
        repository.rollback("cars", "ann")
    assert repository.status("cars").active == 2
    (tmp_path / "cars" / "versions" / "2" / "model.onnx").unlink()
    found = repository.status("cars").version(2)
    assert found is not None
    assert found.problem == "model.onnx is missing"
    assert repository.add("cars", bundles[1], "ann") == 3


@pytest.mark.parametrize("name", ["", "../cars", "/etc", "a/b", ".hidden", "a b", "ä", "cars\n", "x" * 101])
def test_no_path_traversal_in_names(tmp_path: Path, name: str, bundles: list[Path]) -> None:
    repository = Repository(tmp_path / "models")
    for change in (
        lambda: repository.add(name, bundles[0], "ann"),
        lambda: repository.status(name),
        lambda: repository.activate(name, 1, "ann"),
    ):
        with pytest.raises(BadInput, match="model_name"):
            change()
    assert not (tmp_path / "models").exists()


def test_requests_for_unknown_models_leave_nothing_behind(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "models")
    assert repository.status("cars").versions == ()
    with pytest.raises(NotFound):
        repository.activate("cars", 1, "ann")
    with pytest.raises(NotFound):
        repository.rollback("cars", "ann")
    assert not (tmp_path / "models").exists()


def test_many_pushers_at_once(tmp_path: Path, bundles: list[Path]) -> None:
    def push(number: int) -> int:
        repository = Repository(tmp_path)
        version = repository.add("cars", bundles[number % 3], f"user{number}")
        return repository.activate("cars", version, f"user{number}").version(version) is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(push, range(24)))
    status = Repository(tmp_path).status("cars")
    assert [version.number for version in status.versions] == [1, 2, 3]
    assert len({version.digest for version in status.versions}) == 3
    check_consistent(Repository(tmp_path))


def test_a_killed_writers_events_are_appended_by_the_next(tmp_path: Path, bundles: list[Path]) -> None:
    repository = Repository(tmp_path)
    repository.activate("cars", repository.add("cars", bundles[0], "ann"), "ann")
    history = tmp_path / "cars" / "history.jsonl"
    whole = history.read_bytes()
    for kept in (0, 10, whole.index(b"\n") + 1, len(whole) - 1):
        history.write_bytes(whole[:kept])
        repository.add("cars", bundles[0], "bob")
        assert history.read_bytes() == whole


TERMS = Terms(share=0.1, requests=1, minutes=0, errors=0, latency=None, agreement=None, sample=0, tolerance=0)


def story(root: Path, bundles: Sequence[Path]) -> None:
    """Run every operation on a model once."""
    repository = Repository(root)
    first, second, third = (repository.add("cars", folder, "ann", "run-1") for folder in bundles)
    repository.activate("cars", first, "ann")
    repository.canary("cars", second, TERMS, "ann", "run-2")
    repository.rollback("cars", "ann")
    repository.canary("cars", second, TERMS, "ann")
    active_version = repository.pointer("cars")
    assert active_version is not None
    assert active_version.canary is not None
    add_counts(root / "cars", active_version.canary, Counts(canary=histogram([0.001])))
    event = repository.judge_canary("cars", "server")
    assert event is not None
    assert event.action is Action.PROMOTE
    repository.activate("cars", third, "bob", "run-3")
    repository.rollback("cars", "bob")
    repository.undeploy("cars", "bob")
    repository.rollback("cars", "bob")
    repository.canary("cars", third, TERMS, "ann")
    repository.activate("cars", third, "ann")


def kill_everywhere(root: Path, every: int, bundles: Sequence[Path]) -> Iterator[int]:
    """Run ``story`` in a child, kill it before its n-th line, and check the repository; for every ``every``-th n."""
    number, ended = 0, False
    while not ended:
        number += every
        folder = root / str(number)
        if (child := os.fork()) == 0:
            killing_line(number)
            story(folder, bundles)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        ended = status == 0
        assert ended or os.WTERMSIG(status) == signal.SIGKILL, status
        repository = Repository(folder)
        check_consistent(repository)
        repository.activate("cars", repository.add("cars", bundles[0], "bob"), "bob")
        check_consistent(repository, finished=True)
        shutil.rmtree(folder)
        yield number


def killing_line(number: int) -> None:
    """Make this process kill itself before the ``number``-th line that it runs of a repository's code."""
    files = {module.__file__ for module in (durable_files, active_version, repository, canary_counts)}
    left = number

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


@pytest.mark.slow
@pytest.mark.integration
def test_kill_at_any_line(tmp_path: Path, bundles: list[Path]) -> None:
    """``KILLS_EVERY=1`` takes every line of the story."""
    every = int(os.environ.get("KILLS_EVERY", "97"))
    words = [str(tmp_path), str(every), *map(str, bundles)]
    # A separate process, since one with threads must not fork.
    code = f"import {Path(__file__).stem} as here; here.main()"
    folders = map(str, Path(__file__).parents[:2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert int(done.stdout.split()[0]) > 1000 / every


def main() -> None:
    """Kill at every EVERY-th line: ``main FOLDER EVERY BUNDLE …``."""
    root, every, *bundles = sys.argv[1:]
    killed = sum(1 for _ in kill_everywhere(Path(root), int(every), [Path(one) for one in bundles])) - 1
    print(f"{killed} kills, each left a consistent repository")


PUSHER = """
import sys
from pathlib import Path
import serving.test_repository as here
print("go", flush=True)
for turn in range(1000):
    here.story(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
"""


def test_kill_at_any_moment(tmp_path: Path, bundles: list[Path]) -> None:
    chance = random.Random(7)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for number in range(int(os.environ.get("KILLS", "3"))):
        root = tmp_path / str(number)
        words = [sys.executable, "-c", PUSHER, str(root), *map(str, bundles)]
        killed = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment)
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"go\n"
        time.sleep(chance.uniform(0, 0.3))
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        killed.stdout.close()
        repository = Repository(root)
        check_consistent(repository)
        version = repository.add("cars", bundles[0], "bob")
        assert repository.activate("cars", version, "bob").active == version
        check_consistent(repository, finished=True)
        shutil.rmtree(root)


def check_consistent(repository: Repository, model: str = "cars", *, finished: bool = False) -> None:
    """Versions are complete, and the history leads exactly to the pointer; if ``finished``, so does its file."""
    status = repository.status(model)
    for version in status.versions:
        assert version.problem is None
        folder = repository.folder(model, version.number)
        verified(folder)
    numbers = {version.number for version in status.versions}
    assert numbers == set(range(1, len(numbers) + 1))
    assert {event.version for event in status.history if event.action is Action.PUSH} == numbers
    assert replay(status.history) == (
        status.active,
        status.previous,
        status.canary and status.canary.version,
    )
    if finished:
        lines = (repository.root / model / "history.jsonl").read_text().splitlines()
        assert len(lines) == len(set(lines)) == len(list(map(json.loads, lines))) == len(status.history)


def replay(history: Sequence[Event]) -> tuple[int | None, tuple[int, ...], int | None]:
    """Return the active version, previous ones and the canary after these events."""
    active: int | None = None
    previous: tuple[int, ...] = ()
    canary: int | None = None
    for event in history:
        before = (() if active is None else (active,)) + previous
        match event.action:
            case Action.ACTIVATE | Action.PROMOTE:
                assert event.action is Action.ACTIVATE or event.version == canary
                active, canary = event.version, None
                previous = tuple(n for n in before if n != active)
            case Action.CANARY:
                canary = event.version
            case Action.TAKE_BACK:
                assert canary == event.version
                canary = None
            case Action.ROLLBACK:
                active, *rest = previous
                assert active == event.version
                previous, canary = tuple(rest), None
            case Action.UNDEPLOY:
                assert active == event.version
                active, previous, canary = None, before, None
    return active, previous, canary
