"""A command is replayed if nothing that it depends on has changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import HOME, Cli
from old_pipeline import (
    LOADED,
    add_an_option,
    command,
    copy_of_small,
    edit_an_option,
    edit_the_code,
    set_a_variable,
    wait_until_old,
)
from small_pipeline import steps_run
from terminal import Terminal
from when_ml_pipeline_meets_hydra.records.lookup import read_records

LONG = pytest.mark.integration  # three processes each

WORDS = ("c=gather,fit", "knobs.rounds=2,3", "--multirun", "target.name=${oc.env:WHO,nobody}")


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The pipeline that is run."""
    return copy_of_small(monkeypatch, tmp_path)


FILES = """

    def files(self) -> list[Path]:
        return [self.path]
"""


def run(conf: Path, *words: str) -> tuple[str, str, bool]:
    """What a command prints, run ids as ``RUN``, and whether it was replayed."""
    done = command(*(words or WORDS), "--config-dir", str(conf / "conf"))
    assert done.code == 0, done.err
    run_id = list(read_records(Path(os.environ[HOME])))[-1].id
    return done.out.replace(run_id, "RUN"), done.err.replace(run_id, "RUN"), not done.loaded


def test_a_replay_prints_what_the_run_printed(conf: Path) -> None:
    wait_until_old(conf)
    assert run(conf)[2] is False
    computed = steps_run()
    ordinary = run(conf, *WORDS, "hydra.verbose=false")  # other words: it takes the ordinary way
    replayed = run(conf)
    assert (ordinary[2], replayed[2]) == (False, True)
    assert re.sub("hydra.verbose=false", "", ordinary[0]).split() == replayed[0].split()
    assert [line for line in ordinary[1].splitlines() if "stored" in line]
    assert sorted(ordinary[1].splitlines()) == sorted(replayed[1].splitlines())
    assert steps_run() == computed


def events(conf: Path, *words: str) -> list[dict[str, Any]]:
    """The JSON lines of a command without what differs from run to run."""
    out, err, _ = run(conf, *WORDS, "--json", *words)
    assert err == ""
    found = [json.loads(line) for line in out.splitlines()]
    return [{k: v for k, v in event.items() if k != "folder"} for event in found]


def test_a_replay_prints_json(conf: Path) -> None:
    wait_until_old(conf)
    run(conf)
    ordinary = events(conf)  # other words: it takes the ordinary way, and is remembered
    assert [e["event"] for e in ordinary] == ["run_started", *["step_ended"] * 3, "run_ended"]
    assert events(conf) == ordinary
    assert run(conf, *WORDS, "--json")[2]


def test_a_replay_is_shown_on_a_terminal(conf: Path) -> None:
    wait_until_old(conf)
    run(conf)
    assert run(conf)[2]
    terminal = Terminal(*WORDS, "--config-dir", str(conf / "conf"))
    assert terminal.finish() == 0
    assert "3 stored" in terminal.text


def test_a_replay_has_a_record_of_its_own(conf: Path, own_home: Path, cli: Cli) -> None:
    wait_until_old(conf)
    run(conf)
    run(conf)
    assert run(conf)[2]
    first, *_, last = read_records(own_home)
    assert last.id != first.id
    assert (last.status, [s["status"] for s in last.steps]) == ("done", ["stored"] * 3)
    assert [j["overrides"] for j in last.jobs()] == [j["overrides"] for j in first.jobs()]
    assert last.config(3) == first.config(3)
    one, two = ((r.folder / "3" / ".hydra" / "hydra.yaml").read_text() for r in (first, last))
    assert one.replace(first.id, last.id) == two
    assert cli("runs", "diff", first.id, last.id).out == "no differences\n"


def remove_a_result(conf: Path) -> None:
    next((Path(os.environ[HOME]) / "store").glob("??/*/artifact.json")).unlink()


def change_a_result(conf: Path) -> None:
    file = next((Path(os.environ[HOME]) / "store").glob("??/*/inputs.json"))
    content = file.read_text()
    file.unlink()
    file.write_text(content.replace('"format"', ' "format"'))


def remove_the_run(conf: Path) -> None:
    shutil.rmtree(Path(os.environ[HOME]) / "runs")


@pytest.mark.parametrize(
    "change",
    [
        edit_the_code,
        remove_a_result,
        *(pytest.param(c, marks=LONG) for c in (edit_an_option, add_an_option, set_a_variable, remove_the_run)),
    ],
    ids=lambda change: change.__name__,
)
def test_any_change_is_detected(conf: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "nobody")
    wait_until_old(conf)
    run(conf)
    assert run(conf)[2]
    change(conf)
    assert not run(conf)[2]


def test_data_that_change_are_noticed(conf: Path, tmp_path: Path) -> None:
    code = next(f for f in (conf / "small").glob("*.py") if "class FileSource" in f.read_text())
    code.write_text(
        code.read_text().replace("    def fingerprint(self)", FILES.strip("\n") + "\n\n    def fingerprint(self)")
    )
    numbers = tmp_path / "numbers.txt"
    numbers.write_text("1\n2\n3")
    words = ("c=gather", "gather/source=file", f"source.path={numbers}")
    wait_until_old(conf, tmp_path)
    run(conf, *words)
    assert run(conf, *words)[2]
    numbers.write_text("1\n2\n4")
    assert not run(conf, *words)[2]
    assert steps_run()["gather"] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("c=ship",),  # acts on the outside world
        ("c=fit", "force=[fit]"),
        ("c=fit", "++model_name=${now:%f}"),
        pytest.param(("c=fit", "+extra=shuffle([1,2,3])"), marks=LONG),
        pytest.param(("c=fit", "hydra.run.dir=elsewhere"), marks=LONG),
        pytest.param(("c=fit", "show_secrets=true"), marks=LONG),
    ],
)
def test_a_run_that_may_differ_each_time_is_not_replayed(conf: Path, words: tuple[str, ...]) -> None:
    wait_until_old(conf)
    run(conf, *words)
    assert not run(conf, *words)[2]


def test_files_that_have_just_changed_are_not_trusted(conf: Path) -> None:
    edit_an_option(conf)
    soon = time.time() + 60  # as if just before each run, however slow the machine is
    os.utime(conf / "conf" / "fit" / "knobs" / "gentle.yaml", (soon, soon))
    run(conf)
    assert not run(conf)[2]


def test_no_secret_is_kept(conf: Path, own_home: Path) -> None:
    words = (
        "c=fit",
        "target.login.phrase=open-sesame-123",
        "cluster.pw=hunter2-hunter2",
        "deployment/cluster=cluster_1",
    )
    wait_until_old(conf)
    run(conf, *words)
    assert run(conf, *words)[2]
    for file in own_home.rglob("*"):
        if file.is_file():
            assert b"open-sesame" not in file.read_bytes()
            assert b"hunter2" not in file.read_bytes()
    assert (own_home / "cache" / "key").stat().st_mode & 0o077 == 0


def test_a_result_that_was_exchanged_is_noticed(conf: Path) -> None:
    wait_until_old(conf)
    run(conf)
    assert run(conf)[2]
    change_a_result(conf)
    assert command(*WORDS, "--config-dir", str(conf / "conf")).loaded


def test_a_replay_of_one_combination_makes_no_standard_dataclass(conf: Path) -> None:
    """They take a third of its time: the module, what it imports, and what it compiles."""
    words = ("c=gather,fit", "--config-dir", str(conf / "conf"), "--multirun")
    code = LOADED.replace('"omegaconf"', '"omegaconf", "dataclasses", "inspect"')
    wait_until_old(conf)
    for expected in ("loaded dataclasses hydra", "loaded\n"):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
        assert expected in done.stderr
