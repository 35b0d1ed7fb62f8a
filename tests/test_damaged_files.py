"""Files that the program reads back from its own folders: a damaged one is named, or made again; nothing is lost."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import HOME
from small_pipeline import DIR, inside, install
from when_ml_pipeline_meets_hydra.serving.formats.versions import Action
from when_ml_pipeline_meets_hydra.serving.repository.active_version import (
    Pointer,
    event_now,
    read_history,
    write_event,
    write_pointer,
)

DAMAGED = {
    "empty": b"",
    "half": b'{"id": "2',
    "text": b"\xff\xfe",
    "list": b"[1]\n",
    "number": b"7\n",
    "object": b"{}\n",
}
REPEATED = (*DIR, "c=gather,fit", "knobs.rounds=3", "--multirun")
PLANNED = ("plan", "c=preprocessing")
STATUS = ("c=deployment", "c/deployment_sub=status", "model_name=cars")


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder after a few runs, with a repository of one model."""
    place = tmp_path_factory.mktemp("used")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv(HOME, str(place / "home"))
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        install(patch)
        while not [*place.glob("home/cache/*.json"), *place.glob("cache/*/*/*.json")][1:]:
            time.sleep(0.4)  # what depends on files that are younger than a second is not cached
            assert inside(*REPEATED).code == inside(*PLANNED).code == 0
        model = place / "home" / "models" / "cars"
        (model / "versions" / "1").mkdir(parents=True)
        write_event(model / "versions" / "1", event_now("me", None, Action.PUSH, 1))
        write_pointer(model, Pointer(active=1, previous=(), event=event_now("me", None, Action.ACTIVATE, 1)))
        (place / "home" / "models" / "users.json").write_text("{}")
    return place


@pytest.fixture
def home(used: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(monkeypatch)
    shutil.copytree(used / "home", own_home)
    shutil.copytree(used / "cache", own_home.parent / "cache")
    return own_home


def files_of(home: Path) -> set[str]:
    return {str(f.relative_to(home)) for f in home.rglob("*") if f.is_file() and not f.name.endswith(".lock")}


def _named(home: Path, file: Path, commands: list[tuple[str, ...]]) -> None:
    """Damage a file in each way; each command then names it and a remedy, and changes nothing."""
    whole, before = file.read_bytes(), files_of(home)
    for kind, content in DAMAGED.items():
        file.write_bytes(content)
        for words in commands:
            code, out, err = inside(*words)
            assert code in (1, 2, 3), (kind, words, out, err)
            assert "Unexpected" not in err, (kind, words, err)
            assert str(file) in err + out, (kind, words, err, out)
            assert "emove" in err + out, (kind, words, err, out)
        runs = {name for name in files_of(home) - before if not name.startswith("runs/")}
        assert not runs, (kind, runs)
        assert file.read_bytes() == content
    file.write_bytes(whole)


def newest(home: Path) -> Path:
    return sorted((home / "runs").iterdir())[-1]


def test_the_files_of_a_record_are_named(home: Path) -> None:
    run = newest(home).name
    readers: list[tuple[str, ...]] = [
        ("runs", "show", run),
        ("runs", "show", run, "--json"),
        ("runs", "compare", run),
        ("runs", "diff", run, run),
        ("runs", "rerun", run),
    ]
    of_steps = ("c=prediction", "prediction/model=run", f"stored_model.run={run}")
    last = ("c=prediction", "prediction/model=run", "stored_model.run=last")
    _named(home, newest(home) / "run.json", readers)
    _named(
        home,
        newest(home) / "jobs.jsonl",
        [*readers, ("runs", "show", run, "--job", "0"), ("runs", "rerun", run, "--job", "1")],
    )
    _named(home, newest(home) / "steps.jsonl", [*readers[:3], of_steps, last])


def test_a_digit_that_has_changed_in_a_record_is_noticed(home: Path) -> None:
    """The file stays valid JSON: the time of a run, the seed of a job, and the time of a step."""
    run = newest(home).name
    steps = ("c=prediction", "prediction/model=run", f"stored_model.run={run}")
    for name, number, words in (
        ("run.json", r'("seconds": )', ("runs", "show", run)),
        ("run.json", r'("sha256": ")', ("runs", "rerun", run)),
        ("jobs.jsonl", r'("seed": )', ("runs", "rerun", run)),
        ("steps.jsonl", r'("seconds": )', ("runs", "show", run)),
        ("steps.jsonl", r'("seconds": )', steps),
    ):
        file = newest(home) / name
        whole = file.read_text()
        changed, count = re.subn(
            number + "[0-9a-f]", lambda m: m[1] + ("1" if m[0][-1] != "1" else "2"), whole, count=1
        )
        assert count == 1, (name, number)
        file.write_text(changed)
        code, out, err = inside(*words)
        assert (code, f"{file}: this record is damaged" in err) == (2, True), (words, out, err)
        assert name in inside("runs", "list", "--json").err
        file.write_text(whole)
    assert inside("runs", "show", run).code == 0


def test_a_damaged_record_hides_no_other(home: Path) -> None:
    for name in ("run.json", "jobs.jsonl", "steps.jsonl"):
        file = newest(home) / name
        whole = file.read_bytes()
        for content in DAMAGED.values():
            file.write_bytes(content)
            code, out, err = inside("runs", "list", "--json")
            assert (code, newest(home).name in out, f"Left out: {file}" in err) == (0, False, True), err
            assert inside("runs", "list").code == 0
        file.write_bytes(whole)


def test_the_files_of_a_repository_are_named(home: Path) -> None:
    models = home / "models"
    changes = [
        STATUS,
        *((*STATUS[:1], f"c/deployment_sub={sub}", STATUS[2]) for sub in ("rollback", "undeploy", "promote")),
    ]
    deployed = ("c=prediction", "prediction/model=deployed", "stored_model.name=cars")
    _named(home, models / "cars" / "active.json", [*changes, deployed, ("cluster", "drift", "cars")])
    users: list[tuple[str, ...]] = [
        ("cluster", "user", "list"),
        ("cluster", "user", "remove", "me"),
        ("serve", "--port", "0"),
    ]
    whole = DAMAGED.pop("object")  # no users: valid
    try:
        _named(home, models / "users.json", users)
    finally:
        DAMAGED["object"] = whole


def test_a_damaged_history_ends_no_command(home: Path) -> None:
    model = home / "models" / "cars"
    for file in (model / "history.jsonl", model / "versions" / "1" / "event.json"):
        whole = file.read_bytes()
        for content in DAMAGED.values():
            file.write_bytes(content)
            code, out, err = inside(*STATUS)
            assert (code, "cars version 1 is active on local" in out) == (0, True), err
        file.write_bytes(whole)
    assert {event.action for event in read_history(model)} == {Action.PUSH, Action.ACTIVATE}


def damaged(files: list[Path], content: bytes) -> None:
    assert files
    for file in files:
        file.write_bytes(content)


CACHES: dict[str, Callable[[Path], list[Path]]] = {
    "the cached runs": lambda home: list((home / "cache").glob("*")),
    "the cached compositions": lambda home: list(home.parent.glob("cache/*/*/*")),
    "the latest results": lambda home: [f for f in (home / "store" / "latest").rglob("*") if f.is_file()],
    "the results": lambda home: [*(home / "store").glob("*/*/artifact.json")],
    "the inputs of results": lambda home: [*(home / "store").glob("*/*/inputs.json")],
    "the holds": lambda home: [home / "store" / "holds" / "planning.lock"],
}


@pytest.mark.parametrize("what", CACHES)
def test_what_can_be_made_again_is(home: Path, what: str) -> None:
    for content in DAMAGED.values():
        damaged(CACHES[what](home), content)
        for words in (REPEATED, PLANNED):
            code, _, err = inside(*words)
            assert (code, "Unexpected" in err) == (0, False), err
    code, _, err = inside("store", "gc", "--unused-for", "0")
    assert code == 0, err
