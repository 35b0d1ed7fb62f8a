"""Where a config store is: a file or a PostgreSQL database of its own. What else is named is refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from config_stores import stored
from small_pipeline import DIR, inside, install
from when_ml_pipeline_meets_hydra.composing.store_entry import StoreEntry

TEXT = "# @package knobs\nrate: 0.25\nrounds: 10\nshape: line\nstrict: false\n"
PASSWORD = "hunter22"


@pytest.fixture(autouse=True)
def _pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    Path("text.yaml").write_text(TEXT)


def refused(*words: str) -> str:
    """The message of a command that is refused."""
    done = inside(*words)
    assert done.code == 2, done.out + done.err
    return done.err


def written(location: str) -> str:
    """The message of a command that is refused to write to a store there."""
    return refused("config", "edit", "fit/knobs/mine", "--file", "text.yaml", "--store", location)


@pytest.mark.parametrize("location", ["here/and/there.db", "a?b#c%41.db", ":memory:", "sqlite:///other.db"])
def test_a_file_is_made_for_its_owner_alone(location: str) -> None:
    before = os.umask(0o022)
    try:
        done = inside("config", "edit", "fit/knobs/mine", "--file", "text.yaml", "--store", location)
    finally:
        os.umask(before)
    assert done.code == 0, done.err
    assert Path(location.removeprefix("sqlite:///")).stat().st_mode & 0o777 == 0o600


def test_no_store_is_made_among_results() -> None:
    assert "which are a cache that people delete" in written(str(Path(os.environ["WMH_HOME"]) / "configs.db"))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("mysql://ada:hunter22@host/x", "mysql:// is not supported here"),
        ("postgresql+asyncpg://ada:hunter22@host/x", "postgresql+asyncpg:// is not supported here"),
        ("sqlite://hunter22.db", "sqlite:// is not supported here"),
        ("postgresql://ada:hunter22@host:port/x", "it is no URL of a database"),
        ("postgresql://ada:hunter22/7@host/x", "it is no URL of a database"),
        ("postgresql://ada:hunter22@7@host/x", "it is no URL of a database"),
        ("~nobody-has-this-name/x.db", "home directory"),
    ],
)
def test_a_place_that_cannot_have_a_store_is_refused(location: str, message: str) -> None:
    before = sorted(Path.cwd().iterdir())
    for shown in (written(location), refused("c=fit", *DIR, f'hydra.searchpath=["configs://{location}"]')):
        assert message in shown
        assert PASSWORD not in shown
    assert sorted(Path.cwd().iterdir()) == before


@pytest.mark.parametrize(
    "address",
    [
        "ada:hunter22@db.acme.com:5432/configs",
        "ada@[::1]/configs?password=hunter22",
        "/configs?host=/run&sslpassword=hunter22",
        "ada:hunter22%40@one:1,two:2/configs",
    ],
)
def test_a_url_is_shown_without_its_password(address: str) -> None:
    entry = StoreEntry.parse(f"configs://postgresql://{address}@draft-3")
    assert (entry.draft, entry.location) == (3, f"postgresql://{address}")
    assert PASSWORD not in entry.shown


def test_the_database_of_another_program_is_left_alone() -> None:
    stored("newer.db", {"fit/knobs/mine": TEXT})
    for name, version in (("newer.db", "7"), ("other.db", "451aebb31d03")):
        with sqlite3.connect(name) as database:
            database.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32))")
            database.execute("DELETE FROM alembic_version")
            database.execute("INSERT INTO alembic_version VALUES (?)", (version,))
        database.close()
    with sqlite3.connect("plain.db") as database:
        database.execute("CREATE TABLE revisions (number INTEGER)")
    database.close()
    for name, message in (
        ("newer.db", "its tables have version 7, which is newer than this program"),
        ("other.db", "the database is that of another program"),
        ("plain.db", "there is no such config store"),
    ):
        before = Path(name).read_bytes()
        assert message in refused("config", "list", "--store", name)
        assert message in refused("c=fit", *DIR, f"hydra.searchpath=[configs://{name}]")
        assert name in written(name)
        assert Path(name).read_bytes() == before


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    stored("configs.db", {"fit/knobs/mine": TEXT})
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    done = inside("c=fit", "fit/knobs=mine", *DIR, "hydra.searchpath=[configs://configs.db]")
    assert done.code == 0, done.err
