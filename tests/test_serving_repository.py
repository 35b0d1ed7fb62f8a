"""The model repository: what appears there is whole, and stays consistent whoever dies."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tiny_models as tiny
from when_ml_pipeline_meets_hydra.errors import BadInput, Refused
from when_ml_pipeline_meets_hydra.serving import bundle
from when_ml_pipeline_meets_hydra.serving.manifest import BundleRefused, read_manifest, verify_files
from when_ml_pipeline_meets_hydra.serving.repository import Repository, Unknown


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of the same data."""
    root = tmp_path_factory.mktemp("bundles")
    data = tiny.prepared(root / "data")
    for number in (1, 2, 3):
        (root / str(number)).mkdir()
        bundle.build(data, tiny.regression(root / f"model-{number}", slope=float(number)), root / str(number))
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
    said = [(event.who, event.action.value, event.version) for event in repository.status("cars").history]
    assert said[-4:] == [
        ("ann", "activate", 3),
        ("bob", "rollback", 2),
        ("bob", "rollback", 1),
        ("ann", "activate", 3),
    ]
    assert len(said) == 9


def test_the_same_bundle_is_the_same_version(tmp_path: Path, bundles: list[Path]) -> None:
    repository = Repository(tmp_path)
    assert [repository.add("cars", bundles[n], "ann") for n in (0, 1, 0, 1)] == [1, 2, 1, 2]
    repository.activate("cars", 1, "ann")
    stamp = repository.stamp("cars")
    repository.activate("cars", 1, "ann")
    assert repository.stamp("cars") == stamp
    assert [event.action.value for event in repository.status("cars").history] == ["push", "push", "activate"]


def test_a_damaged_version_is_seen_and_never_activated(tmp_path: Path, bundles: list[Path]) -> None:
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
def test_names_lead_nowhere_else(tmp_path: Path, name: str, bundles: list[Path]) -> None:
    repository = Repository(tmp_path / "models")
    for change in (
        lambda: repository.add(name, bundles[0], "ann"),
        lambda: repository.status(name),
        lambda: repository.activate(name, 1, "ann"),
    ):
        with pytest.raises(BadInput, match="model_name"):
            change()
    assert not (tmp_path / "models").exists()


def test_asking_for_what_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "models")
    assert repository.status("cars").versions == ()
    with pytest.raises(Unknown):
        repository.activate("cars", 1, "ann")
    with pytest.raises(Unknown):
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


def test_a_killed_writers_events_are_written_down_by_the_next(tmp_path: Path, bundles: list[Path]) -> None:
    repository = Repository(tmp_path)
    repository.activate("cars", repository.add("cars", bundles[0], "ann"), "ann")
    history = tmp_path / "cars" / "history.jsonl"
    whole = history.read_bytes()
    for kept in (0, 10, whole.index(b"\n") + 1, len(whole) - 1):
        history.write_bytes(whole[:kept])
        repository.add("cars", bundles[0], "bob")
        assert history.read_bytes() == whole


PUSHER = """
import sys
from pathlib import Path
from when_ml_pipeline_meets_hydra.serving.repository import Repository
print("go", flush=True)
repository = Repository(Path(sys.argv[1]))
while True:
    for folder in sys.argv[2:]:
        repository.activate("cars", repository.add("cars", Path(folder), "ann"), "ann")
    repository.rollback("cars", "ann")
    for path in Path(sys.argv[1]).glob("cars/versions/*"):
        if int(path.name) > 3:
            sys.exit(3)
"""


def test_kill_at_any_moment(tmp_path: Path, bundles: list[Path]) -> None:
    chance = random.Random(7)
    for number in range(12):
        root = tmp_path / str(number)
        killed = subprocess.Popen([sys.executable, "-c", PUSHER, root, *bundles], stdout=subprocess.PIPE)
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"go\n"
        time.sleep(chance.uniform(0, 0.06))
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        killed.stdout.close()
        repository = Repository(root)
        check_consistent(repository)
        version = repository.add("cars", bundles[0], "bob")
        assert repository.activate("cars", version, "bob").active == version
        check_consistent(repository, finished=True)
        shutil.rmtree(root)


def check_consistent(repository: Repository, *, finished: bool = False) -> None:
    status = repository.status("cars")
    for version in status.versions:
        assert version.problem is None
        folder = repository.folder("cars", version.number)
        verify_files(folder, read_manifest(folder)[0])
    numbers = {version.number for version in status.versions}
    assert {*status.previous, *([status.active] if status.active else [])} <= numbers
    assert numbers == set(range(1, len(numbers) + 1))
    if finished:
        moves = [event.version for event in status.history if event.action.value != "push"]
        assert moves[-1] == status.active
        assert {event.version for event in status.history if event.action.value == "push"} == numbers
        lines = (repository.root / "cars" / "history.jsonl").read_text().splitlines()
        assert len(lines) == len(set(lines)) == len(list(map(json.loads, lines)))
