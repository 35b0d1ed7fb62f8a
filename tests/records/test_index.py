"""The index of the records: always what the records say, whatever happens to it; tags and notes."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import PROGRAM
from many_runs import copies
from small_pipeline import as_killed, inside, install, living_in, small
from when_ml_pipeline_meets_hydra.cli.completion import candidates
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode
from when_ml_pipeline_meets_hydra.records.find_runs import find_runs
from when_ml_pipeline_meets_hydra.records.lookup import find_record, read_records
from when_ml_pipeline_meets_hydra.records.where import Where

INDEX = "when_ml_pipeline_meets_hydra.records.index"
SETTLED = 0.1  # seconds after which the index keeps an entry here; elsewhere it is cautious for longer
FILTER = "knobs.rate > 0.5 and fit.height > 3"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with forty runs, of which an index was made."""
    home = tmp_path_factory.mktemp("indexed")
    with living_in(home):
        record = small("c=fit").record

        def change(number: int, rng: random.Random, content: dict[str, Any]) -> None:
            content["jobs"][0]["config"]["knobs"]["rate"] = number / 40
            for step in content["steps"]:
                step["metrics"] = {name: rng.random() * 10 for name in step["metrics"] or {}}

        copies(record, 40, change)
    return home


@pytest.fixture(autouse=True)
def _settled_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{INDEX}._RACY", SETTLED)


@pytest.fixture
def home(made: Path, own_home: Path) -> Path:
    """A copy of it, with an index of all its runs."""
    shutil.copytree(made, own_home)
    time.sleep(SETTLED)
    assert found(own_home)
    assert len(entries(own_home)) == 41
    return own_home


def found(home: Path) -> list[str]:
    return [run.id for run in find_runs(home, [Where(FILTER)])]


def entries(home: Path) -> list[tuple[str, bytes]]:
    with sqlite3.connect(home / "cache" / "runs.sqlite") as database:
        return database.execute("SELECT run, content FROM facts ORDER BY run").fetchall()


def of_records(home: Path) -> list[str]:
    """The same by the records alone."""
    return [
        record.id
        for record in reversed(list(read_records(home)))
        if record.config(0)["knobs"]["rate"] > 0.5 and record.metrics["fit.height"] > 3
    ]


def test_records_are_read_once(home: Path) -> None:
    for record in read_records(home):  # in place, without a change of the time: nothing reads it again
        (record.folder / "steps.jsonl").write_bytes(b"")
    assert found(home)
    shutil.rmtree(home / "cache")
    assert not found(home), "nor is the index of any use without the records"


def test_what_changes_in_a_record_is_seen_at_once(home: Path) -> None:
    before = found(home)
    newest = next(iter(before))
    shutil.rmtree(home / "runs" / newest)
    assert found(home) == before[1:]
    assert inside("runs", "tag", before[1], "seen").code == 0
    assert [run.tags for run in find_runs(home, [Where("'seen' in tags")])] == [("seen",)]
    assert inside("runs", "tag", before[1], "seen", "--remove").code == 0
    assert not find_runs(home, [Where("'seen' in tags")])
    time.sleep(SETTLED)
    for note in ("one", "two"):
        assert inside("runs", "note", before[1], note).code == 0
        assert [run.note for run in find_runs(home, [Where(f"note == '{note}'")])] == [note]
    head = home / "runs" / before[2] / "run.json"
    head.write_bytes(head.read_bytes().replace(b'"done"', b'"dine"', 1))
    errors: list[BadInput] = []
    assert [run.id for run in find_runs(home, [Where(FILTER)], left_out=errors.append)] == [before[1], *before[3:]]
    assert "this record is damaged" in str(errors)


def test_a_run_that_goes_on_is_never_shown_as_it_was(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    steps = as_killed(small("c=fit").record)
    lines = steps.read_bytes()
    steps.write_bytes(lines.splitlines(keepends=True)[0])
    time.sleep(SETTLED)
    for _ in range(2):
        assert [run.metrics for run in find_runs(own_home, [Where("status == 'running'")])] == [{}]
    steps.write_bytes(lines)
    assert find_runs(own_home, [Where("fit.height > 0")])
    assert inside("runs", "list").out.splitlines()[1].endswith("fit.height=3 fit.rest=0")


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "another version", "no tables", "a folder"])
def test_without_a_whole_index_the_records_are_read(damage: str, home: Path) -> None:
    file = home / "cache" / "runs.sqlite"
    whole = file.read_bytes()
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    elif damage == "no tables":
        with sqlite3.connect(file) as database:
            database.execute("PRAGMA user_version = 2")
    elif damage != "missing":
        other = whole[:60] + b"\0\0\0\7" + whole[64:]  # PRAGMA user_version
        contents = {"empty": b"", "text": b"no database" * 500, "cut": whole[:9000], "another version": other}
        file.write_bytes(contents[damage])
    for _ in range(3):
        assert found(home) == of_records(home)
    assert damage == "a folder" or len(entries(home)) == 41, "and made again"


@pytest.mark.parametrize("seed", range(6))
def test_no_damage_of_an_index_is_believed(seed: int, home: Path) -> None:
    file, rng = home / "cache" / "runs.sqlite", random.Random(seed)
    content = bytearray(file.read_bytes())
    for _ in range(4**seed):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(content))
    for _ in range(2):
        assert found(home) == of_records(home)


def test_an_entry_of_another_run_is_not_believed(home: Path) -> None:
    (one, other), expected = found(home)[:2], found(home)
    with sqlite3.connect(home / "cache" / "runs.sqlite") as database:
        database.execute("DELETE FROM facts WHERE run = ?", (one,))
        database.execute("UPDATE facts SET run = ? WHERE run = ?", (one, other))
    assert found(home) == expected


def test_an_index_that_cannot_be_written_is_done_without(home: Path) -> None:
    expected = found(home)
    shutil.rmtree(home / "cache")
    (home / "cache").write_text("no folder")
    assert found(home) == expected
    (home / "cache").unlink()
    assert found(home) == expected
    with sqlite3.connect(home / "cache" / "runs.sqlite", isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert found(home) == expected, "while another process writes"
        database.execute("ROLLBACK")


def test_runs_that_are_gone_leave_the_index(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{INDEX}._CHUNK", 10)
    for record in list(read_records(home))[:30]:
        shutil.rmtree(record.folder)
    found(home)
    assert len(entries(home)) == 11


READER = """
import sys
from pathlib import Path
from when_ml_pipeline_meets_hydra.records.find_runs import find_runs
from when_ml_pipeline_meets_hydra.records.where import Where
for _ in range(6):
    print(len(find_runs(Path(sys.argv[1]), [Where(sys.argv[2])])))
"""


def test_many_processes_read_and_make_it_at_once(home: Path) -> None:
    shutil.rmtree(home / "cache")
    words = [sys.executable, "-c", READER, str(home), FILTER]
    running = [subprocess.Popen(words, stdout=-1, stderr=-1, text=True) for _ in range(3)]
    (home / "cache").mkdir(exist_ok=True)
    while any(process.poll() is None for process in running):
        (home / "cache" / "runs.sqlite").write_bytes(b"damaged while others use it")
        time.sleep(0.2)
    for process in running:
        out, err = process.communicate()
        assert (set(out.split()), err) == ({str(len(of_records(home)))}, "")


# Tags and notes


@pytest.fixture
def run(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of the small pipeline."""
    install(monkeypatch)
    return small("c=gather").record.id


def test_tags_and_a_note_are_kept_in_the_record(run: str, own_home: Path) -> None:
    assert inside("runs", "tag", "last", "baseline", "v1").out == f"{run}: tags baseline, v1\n"
    assert inside("runs", "note", run, "worth <b>another</b> look").code == 0
    out = inside("runs", "tag", run, "v1", "unknown", "--remove", "--json").out
    assert json.loads(out) == {"id": run, "tags": ["baseline"], "note": "worth <b>another</b> look"}
    record = find_record(own_home, run)
    assert (record.tags, record.note) == (("baseline",), "worth <b>another</b> look")
    shown = inside("runs", "show", run).out
    assert "tags:\n- baseline\nnote: worth <b>another</b> look\n" in shown
    assert json.loads(inside("runs", "show", run, "--json").out)["tags"] == ["baseline"]
    assert inside("runs", "list", "--tag", "baseline").out.splitlines()[1].endswith("  baseline")
    assert inside("runs", "note", run, "").out == f"{run}: tags baseline\n"
    assert inside("runs", "tag", run, "baseline", "--remove").out == f"{run}: no tags\n"
    assert "tags" not in inside("runs", "list").out


@pytest.mark.parametrize("tag", ["", "a b", "a,b", "-x", "x" * 65, "a\x1b[31m", 'a"b'])
def test_wrong_tags_are_refused(tag: str, run: str, own_home: Path) -> None:
    refused = inside("runs", "tag", run, "--", "good", tag)
    assert (refused.code, "a tag has 1 to 64 characters" in refused.err) == (ExitCode.BAD_INPUT, True)
    assert find_record(own_home, run).tags == ()


def test_wrong_notes_and_too_many_tags_are_refused(run: str) -> None:
    assert "a note has no control characters" in inside("runs", "note", run, "a\x1b[31m").err
    assert "a note has at most 10,000 characters" in inside("runs", "note", run, "a" * 10_001).err
    assert "a run has at most 100 tags" in inside("runs", "tag", run, *(f"t{n}" for n in range(101))).err


def test_a_damaged_annotation_is_named(run: str, own_home: Path) -> None:
    assert inside("runs", "tag", run, "mine").code == 0
    file = own_home / "runs" / run / "annotations.json"
    whole = file.read_text()
    for content in ("", "{}", whole.replace("mine", "nine"), '{"tags": 3, "note": ""}'):
        file.write_text(content)
        for words in (("runs", "show", run), ("runs", "tag", run, "more")):
            refused = inside(*words)
            assert (refused.code, f"{file}: the tags and the note of this run are damaged" in refused.err) == (2, True)
        listed = inside("runs", "list")
        assert (listed.code, "Left out" in listed.err) == (0, True)
    assert file.read_text() == content, "and left as it is"


def test_nobodys_tag_is_lost(run: str, own_home: Path) -> None:
    def add(number: int) -> None:
        find_record(own_home, run).annotate(lambda before: before.with_tags([f"tag-{number:02}"]))

    others = [subprocess.Popen([PROGRAM, "runs", "tag", run, f"other-{n}"], stdout=-3) for n in range(2)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert [process.wait() for process in others] == [0, 0]
    expected = (*(f"other-{n}" for n in range(2)), *(f"tag-{n:02}" for n in range(24)))
    assert find_record(own_home, run).tags == expected
    assert not list((own_home / "runs" / run).glob(".annotations*")), "no temporary file is left"


def test_completion_knows_the_runs(run: str) -> None:
    for verb in ("tag", "note"):
        assert run in candidates(f"wmh runs {verb} ")
    assert {"tag", "note"} <= {word.strip() for word in candidates("wmh runs ")}
    assert "--where" in candidates("wmh runs list --")


def test_what_cannot_be_written_is_said(run: str, own_home: Path) -> None:
    shutil.rmtree(own_home / "cache", ignore_errors=True)
    (own_home / "cache").write_text("no folder, so that not even root may write there")
    refused = inside("runs", "tag", run, "x")
    assert (refused.code, "nothing can be written there" in refused.err) == (ExitCode.BAD_INPUT, True)
    assert inside("runs", "list").out.splitlines()[1].startswith(run)
