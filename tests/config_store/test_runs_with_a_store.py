"""Runs whose options are in a config store: help, completion, validation, plans, keys, records and caches know them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config_stores import stored
from small_pipeline import DIR, inside, install, small, steps_run
from when_ml_pipeline_meets_hydra.records.lookup import find_record

STORE = "WMH_CONFIG_STORE"
MINE = "# @package knobs\n# For hard pieces\nrate: 0.25\nrounds: 10\nshape: line\nstrict: false\n"


@pytest.fixture(autouse=True)
def _pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def test_options_of_a_store_are_options_of_their_group(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored("configs.db", {"fit/knobs/mine": MINE})
    assert inside("c=fit", "fit/knobs=mine", *DIR).code == 2
    # By the search path, and by the environment.
    plan = ("plan", "c=fit", "fit/knobs=mine", *DIR)
    assert inside(*plan, "hydra.searchpath=[configs://configs.db]").code == 0
    monkeypatch.setenv(STORE, "configs.db")
    assert inside(*plan).code == 0
    assert "For hard pieces" in inside("--help").out
    monkeypatch.setenv("COMP_LINE", "wmh c=fit fit/knobs=")
    assert "fit/knobs=mine" in inside("-sc", "query=bash").out.split()
    monkeypatch.setenv("COMP_LINE", "wmh c=fit fit/knobs=mine knobs.ro")
    assert "knobs.rounds=" in inside("-sc", "query=bash").out.split()

    monkeypatch.setenv("COMP_LINE", "wmh config show fit/")
    assert inside("-sc", "query=bash").out.split() == ["fit/knobs/mine"]

    first = inside("c=fit", "fit/knobs=mine", *DIR)
    assert first.code == 0, first.err
    record = find_record(own_home, "last")
    assert record.head["config_stores"] == [{"store": "configs.db", "revision": 1}]
    assert "revision: 1" in inside("runs", "show", "last").out

    # The content counts, not the revision.
    stored("configs.db", {"fit/knobs/mine": MINE.replace("hard", "very hard")})
    assert "fit run: stored" in inside("c=fit", "fit/knobs=mine", *DIR).err
    stored("configs.db", {"fit/knobs/mine": MINE.replace("0.25", "0.75")})
    assert "knobs.rate 0.25 → 0.75" in inside("c=fit", "fit/knobs=mine", *DIR).err
    assert find_record(own_home, "last").head["config_stores"] == [{"store": "configs.db", "revision": 3}]
    assert steps_run() == {"gather": 1, "fit": 2}

    # An older revision can be named.
    pinned = inside("c=fit", "fit/knobs=mine", *DIR, "hydra.searchpath=[configs://configs.db@1]")
    assert "fit run: stored" in pinned.err
    assert find_record(own_home, "last").head["config_stores"] == [{"store": "configs.db", "revision": 1}]


def test_problems_say_the_entry_its_revision_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stored("configs.db", {"fit/knobs/other": MINE})
    stored("configs.db", {"fit/knobs/mine": MINE.replace("rounds: 10", "rounds: ten\nround: 3")})
    monkeypatch.setenv(STORE, "configs.db")
    code, _, err = inside("c=fit", "fit/knobs=mine", *DIR)
    assert code == 2
    assert "from config store: fit/knobs/mine, revision 2, line 4" in err
    assert "from config store: fit/knobs/mine, revision 2, line 5" in err
    assert "Did you mean 'knobs.rounds'?" in err
    stored("configs.db", {"fit/knobs/broken": MINE.replace("0.25", "${"), "fit/knobs/bare": "rate: 0.25\n"})
    for name in ("broken", "bare"):
        code, _, err = inside("c=fit", f"fit/knobs={name}", *DIR)
        assert code == 2
        assert f"from config store: fit/knobs/{name}, revision 3" in err
        assert ".cache" not in err
    # A file of the user's own comes before the store.
    code, _, err = inside("c=fit", "fit/knobs=mine", *DIR, "knobs.rounds=3", "~knobs.round")
    assert code == 0, err


def test_a_store_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE, "nowhere.db")
    code, _, err = inside("c=fit", *DIR)
    assert code == 2
    assert "WMH_CONFIG_STORE=nowhere.db: there is no such config store" in err
    Path("nowhere.db").write_text("no database")
    code, _, err = inside("c=fit", *DIR)
    assert code == 2
    assert "the config store cannot be read: file is not a database" in err
    monkeypatch.delenv(STORE)
    stored("configs.db", {"fit/knobs/mine": MINE})
    for entry, message in (("configs.db@7", "it has no revision 7"), ("configs.db@draft-7", "it has no draft 7")):
        code, _, err = inside("c=fit", *DIR, f"hydra.searchpath=[configs://{entry}]")
        assert code == 2
        assert message in err


def test_what_is_cached_follows_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE, "configs.db")
    stored("configs.db", {"fit/knobs/mine": MINE})
    command = ("c=fit", "fit/knobs=mine", *DIR)

    def loaded(*words: str) -> set[str]:
        code = (
            "import sys\nfrom when_ml_pipeline_meets_hydra.cli import main\nassert main(sys.argv[1:]) == 0\n"
            "print('\\n' + ' '.join(sorted({m.partition('.')[0] for m in sys.modules})))"
        )
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        return set(done.stdout.splitlines()[-1].split())

    heavy = {"sqlalchemy", "alembic"}
    assert small("c=fit").exit_code == 0  # without what comes from the store
    assert not loaded("--help") & {*heavy, "hydra", "pydantic"}
    assert not loaded(*command) & heavy
    # A checkout may be gone; it is made again.
    shutil.rmtree(Path(os.environ["XDG_CACHE_HOME"]) / "when_ml_pipeline_meets_hydra" / "configs")
    assert not loaded(*command) & {*heavy, "hydra"}
    stored("configs.db", {"fit/knobs/mine": MINE.replace("0.25", "0.75")})
    assert "0.25 → 0.75" in inside(*command).err
    monkeypatch.delenv(STORE)
    assert not loaded("--help") & {*heavy, "sqlite3"}


def test_without_a_cache_folder_nobody_else_can_prepare_the_option_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored("configs.db", {"fit/knobs/mine": MINE})
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = "from when_ml_pipeline_meets_hydra.composing import checkouts\n"
    code += "folder = checkouts.checkout('configs://configs.db')\n"
    code += "print(*[oct(part.stat().st_mode)[-3:] for part in folder.parents[:2]], folder.parents[1].parent)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["700", "700", str(tmp_path)]
    assert not [*tmp_path.glob("tmp*")], "it is gone with the process"


def test_an_option_of_a_store_that_is_not_read_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("plan", "c=fit", "+customer=acme", *DIR)
    assert "changes nothing here, no step of this run receives it\n" in inside(*words).err
    stored("configs.db", {"customer/acme": "# @package knobs\nrate: 0.25\n"})
    hint = "receives it. An option in configs.db is read with WMH_CONFIG_STORE=configs.db\n"
    assert hint in inside(*words).err
    assert hint not in inside(*words, "hydra.searchpath=[configs://configs.db@0]").err
    monkeypatch.setenv(STORE, "configs.db")
    assert "Note" not in inside(*words).err
