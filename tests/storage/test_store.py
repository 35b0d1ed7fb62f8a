"""Where results are kept: whole or not at all, and found out when they were touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from glob import glob
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.contracts import Artifact, frozen
from when_ml_pipeline_meets_hydra.storage import durable_files
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest
from when_ml_pipeline_meets_hydra.storage.locks import LockHeld
from when_ml_pipeline_meets_hydra.storage.results import wrong_fields
from when_ml_pipeline_meets_hydra.storage.store import Store, StoreError


@frozen
class Thing(Artifact):
    size: int
    names: tuple[str, ...] = ()
    metrics: Mapping[str, float] | None = None


@frozen
class Other(Artifact):
    pass


def inputs(**arguments: Any) -> dict[str, Any]:
    return {"format": 1, "function": "m.f", "code": "c", "arguments": arguments, "artifacts": {}}


def make(out: Path) -> Thing:
    (out / "deep").mkdir()
    (out / "a.txt").write_text("hello")
    (out / "deep" / "b.bin").write_bytes(b"\0\1")
    return Thing(path=out, size=2, names=("ä", "b"), metrics={"r2": 0.5})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, compute: Callable[[Path], Any] = make, log: Path = Path("no log"), **arguments: Any) -> str:
    key = digest(inputs(**arguments))
    store.put(key, inputs(**arguments), Thing, compute, log)
    return key


def folder(store: Store, key: str) -> Path:
    return store.root / key[:2] / key


def left(store: Store) -> list[str]:
    return [f.name for f in (store.root / "tmp").glob("*")]


def test_what_is_put_is_loaded(store: Store) -> None:
    key = put(store, x=1)
    loaded = store.load(key, inputs(x=1), Thing)
    assert isinstance(loaded, Thing)
    assert (loaded.size, loaded.names, loaded.metrics) == (2, ("ä", "b"), {"r2": 0.5})
    assert loaded.key == key
    assert (loaded.path / "deep" / "b.bin").read_bytes() == b"\0\1"
    assert store.has(key)
    assert store.inputs(key) == inputs(x=1)
    assert list(store.verify()) == []
    assert left(store) == []


def test_everything_lies_readable_beside_it(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("printed\n")
    found = folder(store, put(store, log=log))
    manifest = json.loads((found / "artifact.json").read_text())
    assert manifest["files"]["a.txt"]["size"] == 5
    assert manifest["type"].endswith("Thing")
    assert json.loads((found / "inputs.json").read_text()) == inputs()
    assert (found / "log.txt").read_text() == "printed\n"


def _raise(out: Path, error: BaseException) -> None:
    (out / "half").write_text("x")
    raise error


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_leaves_nothing(store: Store, error: BaseException) -> None:
    with pytest.raises(type(error)):
        put(store, lambda out: _raise(out, error))
    assert not store.has(digest(inputs()))
    assert left(store) == []
    assert list(store.results()) == []


@pytest.mark.parametrize(
    "returned",
    [
        lambda out: None,
        lambda out: Other(path=out),
        lambda out: Thing(path=out.parent, size=1),
        lambda out: {"size": 1},
    ],
)
def test_only_the_announced_artifact_is_stored(store: Store, returned: Callable[[Path], Any]) -> None:
    with pytest.raises(StoreError, match=r"has to return a Thing with path=out"):
        put(store, returned)
    assert left(store) == []


def test_a_field_has_the_type_that_its_annotation_says(store: Store) -> None:
    for wrong, said in (
        ({"size": "7"}, "size is '7', expected a whole number"),
        ({"size": True}, "size is True, expected a whole number"),
        ({"size": 1, "metrics": {"r2": "0.5"}}, "metrics.r2 is '0.5', expected a number"),
        ({"size": 1, "names": 3}, "names is 3, expected a valid tuple"),
    ):
        with pytest.raises(ValidationError) as caught:
            put(store, lambda out, wrong=wrong: Thing(path=out, **wrong))  # type: ignore[misc]
        assert wrong_fields(caught.value).startswith(said)
    assert Thing(path=Path(), size=7.0, names=["a"], metrics={"r2": 1}) == Thing(  # type: ignore[arg-type]
        path=Path(), size=7, names=("a",), metrics={"r2": 1.0}
    )

    def changed_later(out: Path) -> Thing:
        made = Thing(path=out, size=1)
        object.__setattr__(made, "size", "7")
        return made

    with pytest.raises(StoreError, match=r"returned a Thing with wrong values: size is '7', expected a valid integer"):
        put(store, changed_later)
    assert left(store) == []


def test_putting_again_replaces_as_a_whole(store: Store) -> None:
    put(store)
    put(store, lambda out: Thing(path=out, size=9))
    loaded = store.load(digest(inputs()), inputs(), Thing)
    assert isinstance(loaded, Thing)
    assert loaded.size == 9
    assert list(loaded.path.iterdir()) == []
    assert list(store.verify()) == []


def test_a_collision_is_an_error_that_shows_the_difference(store: Store) -> None:
    key = put(store, x=1)
    with pytest.raises(StoreError) as caught:
        store.load(key, inputs(x=2), Thing)
    text = str(caught.value)
    assert '"x": 1' in text
    assert '"x": 2' in text
    assert f"Remove {folder(store, key)}" in text


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def _to_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _fact(file: Path) -> None:
    file.write_text(file.read_text().replace('"size": 2,', '"size": 3,', 1))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a file is missing": lambda d: (d / "files" / "a.txt").unlink(),
    "a file is shorter": lambda d: _truncate(d / "files" / "a.txt"),
    "a file has other content": lambda d: (d / "files" / "a.txt").write_text("hallo"),
    "a file is too many": lambda d: (d / "files" / "deep" / "c.txt").write_text("x"),
    "a file became a folder": lambda d: _to_folder(d / "files" / "a.txt"),
    "the files are gone": lambda d: shutil.rmtree(d / "files"),
    "the manifest is missing": lambda d: (d / "artifact.json").unlink(),
    "the manifest is shorter": lambda d: _truncate(d / "artifact.json"),
    "the manifest is empty": lambda d: (d / "artifact.json").write_text("{}"),
    "the manifest is no object": lambda d: (d / "artifact.json").write_text("[]"),
    "a fact is another": lambda d: _fact(d / "artifact.json"),
    "the inputs are missing": lambda d: (d / "inputs.json").unlink(),
    "the inputs are shorter": lambda d: _truncate(d / "inputs.json"),
    "the inputs are others": lambda d: (d / "inputs.json").write_text(json.dumps(inputs(y=1))),
    "the inputs are no text": lambda d: (d / "inputs.json").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_verify_finds_every_damage(store: Store, damage: Callable[[Path], object]) -> None:
    key = put(store)
    damage(folder(store, key))
    (wrong, *_) = list(store.verify())
    assert key in wrong
    list(store.results())
    store.last_inputs("m.f")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_damaged_is_never_loaded(store: Store, damage: Callable[[Path], object]) -> None:
    key = put(store)
    damage(folder(store, key))
    with pytest.raises(StoreError, match="The command that made it computes it again"):
        store.load(key, inputs(), Thing)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found(store: Store, data: st.DataObject) -> None:
    key = put(store)
    files = sorted(f for f in folder(store, key).rglob("*") if f.is_file() and f.name != "log.txt")
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, 9_999)) % len(content)
    content[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    assert file.name in str(store.damage(key))
    assert list(store.verify())


def test_last_inputs_are_those_of_the_latest_result(store: Store) -> None:
    put(store, x=1)
    put(store, x=2)
    assert store.last_inputs("m.f")[0] == inputs(x=2)
    assert store.last_inputs("m.g") == ()
    store.remove(digest(inputs(x=2)))
    assert store.last_inputs("m.f") == (inputs(x=1),)


def test_without_locks_and_pointers_nothing_is_wrong(store: Store) -> None:
    key = put(store)
    with store.lock(key, "r"):
        pass
    for name in ("locks", "latest", "tmp"):
        shutil.rmtree(store.root / name, ignore_errors=True)
    assert store.has(key)
    assert store.load(key, inputs(), Thing).key == key
    assert list(store.verify()) == []
    assert store.unfinished() == []
    put(store)
    assert store.remove(key)
    assert not store.has(key)


def test_what_a_killed_run_left_is_unfinished_unless_it_is_being_worked_on(store: Store) -> None:
    key = digest(inputs())
    (store.root / "tmp" / f"{key}.dead" / "files").mkdir(parents=True)
    assert [f.name for f in store.unfinished()] == [f"{key}.dead"]
    with LockedElsewhere(store, key):
        assert store.unfinished() == []
    put(store)
    assert left(store) == [], "the next computation of the same key cleans up"


def test_what_a_run_holds_is_spared(store: Store) -> None:
    held, other = put(store, x=1), put(store, x=2)
    with store.hold() as hold:
        hold.keep([held, "a" * 64])
        (store.checkpoints("a" * 64)).mkdir(parents=True)
        assert (store.remove(held), store.remove(other)) == (False, True)
        assert store.unfinished() == []
    assert store.remove(held)
    assert len(store.unfinished()) == 1
    assert list((store.root / "holds").iterdir()) == []


def test_a_result_is_removed_only_when_no_run_is_planning(store: Store) -> None:
    key = put(store)
    with store.hold() as hold:
        removing = threading.Thread(target=store.remove, args=[key])
        removing.start()
        removing.join(0.2)
        assert store.has(key)
        hold.keep([key])
        removing.join()
        assert store.has(key)


class LockedElsewhere:
    """Another process holds the lock of a key until the end of the block."""

    def __init__(self, store: Store, key: str, run: str = "20260101-000000-0000") -> None:
        code = (
            "import sys, time; from pathlib import Path; from when_ml_pipeline_meets_hydra.storage.store import Store\n"
            f"with Store(Path({str(store.root)!r})).lock({key!r}, {run!r}):\n"
            "    print('held', flush=True); time.sleep(60)\n"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)

    def __enter__(self) -> subprocess.Popen[bytes]:
        assert self.process.stdout
        assert self.process.stdout.readline() == b"held\n"
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_lock_says_who_holds_it_and_is_free_when_its_holder_is_killed(store: Store) -> None:
    key = digest(inputs())
    with LockedElsewhere(store, key) as process:
        with pytest.raises(LockHeld) as caught, store.lock(key, "mine"):
            pass
        assert caught.value.holder == f"run 20260101-000000-0000 (process {process.pid} on {os.uname().nodename})"
        threading.Timer(0.2, process.kill).start()
        with store.lock(key, "mine", patience=10):
            assert process.wait() == -signal.SIGKILL
    with store.lock(key, "mine"), pytest.raises(LockHeld, match="run mine"), store.lock(key, "another"):
        pass


def test_a_child_of_who_holds_a_lock_does_not_hold_it(store: Store) -> None:
    key = "a" * 64
    code = (
        "import os, time; from pathlib import Path; from when_ml_pipeline_meets_hydra.storage.store import Store\n"
        f"with Store(Path({str(store.root)!r})).lock({key!r}, 'r'):\n"
        "    if (child := os.fork()) == 0: os.closerange(0, 3); time.sleep(60); os._exit(0)\n"
        "    print(child, flush=True); os._exit(0)\n"
    )
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120).stdout)
    try:
        with store.lock(key, "mine"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_locks_of_other_keys_do_not_wait(store: Store) -> None:
    with LockedElsewhere(store, "a" * 64), store.lock("b" * 64, "mine"):
        pass


def test_a_store_that_can_only_be_read_serves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = put(store)
    artifact = folder(store, key) / "artifact.json"
    subprocess.run(["chattr", "+i", str(artifact)], capture_output=True, check=False)
    try:
        assert store.load(key, inputs(), Thing).key == key
    finally:
        subprocess.run(["chattr", "-i", str(artifact)], capture_output=True, check=False)


def test_a_use_is_noted(store: Store) -> None:
    key = put(store)
    os.utime(folder(store, key) / "artifact.json", (0, 0))
    assert next(iter(store.results())).used == 0
    store.load(key, inputs(), Thing)
    assert time.time() - next(iter(store.results())).used < 60


def test_results_are_listed_the_oldest_first(store: Store) -> None:
    keys = [put(store, x=n) for n in range(3)]
    assert [r.key for r in store.results()] == keys
    assert {(r.function, r.size) for r in store.results()} == {("m.f", 7)}


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file"
    durable_files.write(file, b"one")
    with pytest.raises(TypeError):
        durable_files.write(file, 5)  # type: ignore[arg-type]
    assert file.read_text() == "one"
    assert [f.name for f in file.parent.iterdir()] == ["file"]


def test_the_commands_of_the_store(own_home: Path) -> None:
    assert inside("store", "list").code == 0
    assert inside("store", "verify") == inside("store", "verify")
    store = Store(own_home / "store")
    key, old = put(store, x=1), put(store, x=2)
    os.utime(folder(store, old) / "artifact.json", (0, 0))
    (store.root / "tmp" / f"{key}.dead").mkdir(parents=True)

    listed = inside("store", "list")
    assert key[:12] in listed.out
    pattern = listed.out.splitlines()[-1].removeprefix(f"The files of {old[:12]} are in ")
    assert glob(pattern) == [  # noqa: PTH207 - as the shell does
        str(folder(store, old) / "files")
    ]
    assert [r["key"] for r in json.loads(inside("store", "list", "--json").out)] == [key, old]
    assert "2 results, 0 problems" in inside("store", "verify").out
    assert "1 unfinished" in inside("store", "verify").out

    assert "1 unfinished and 1 results" in inside("store", "gc", "--unused-for", "1", "--dry-run").out
    assert store.has(old)
    assert "1 unfinished and 1 results" in inside("store", "gc", "--unused-for", "1").out
    assert (store.has(key), store.has(old), left(store)) == (True, False, [])

    (folder(store, key) / "files" / "a.txt").write_text("hallo")
    code, out, _ = inside("store", "verify")
    assert code == 1
    assert "a.txt: changed since it was stored" in out
