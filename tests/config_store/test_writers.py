"""Many writers at once, and writers that are killed: nothing is lost, nothing is half there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config_stores import new_database, stored
from database_servers import POSTGRES, postgres_server
from when_ml_pipeline_meets_hydra.composing.checkouts import checkout
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.errors import Refused

WRITERS, SECONDS = 20, 5
FORK = multiprocessing.get_context("fork")
SHARED = "group/shared"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as server:
        yield new_database(server)


def _write(location: str, writer: int, until: float) -> None:
    """Add lines to an entry that all writers share, and count them in an entry of this writer's own."""
    store, count = ConfigStore(location, f"writer {writer}"), 0
    while time.time() < until:
        base, shared = store.bases()[SHARED], store.entries()[SHARED].text
        texts = {SHARED: f"{shared}w{writer}_{count + 1}: 1\n", f"group/own_{writer}": f"count: {count + 1}\n"}
        bases = {**store.bases(), SHARED: base}
        draft = store.edit(texts, bases, "one more")
        try:
            store.publish(draft, lambda _: None)
            count += 1
        except Refused:  # somebody else was faster
            store.discard(draft)


def _write_many_at_once(location: str) -> None:
    stored(location, {SHARED: "w: 0\n"})
    until = time.time() + SECONDS
    writers = [FORK.Process(target=_write, args=(location, n, until)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    store = ConfigStore(location)
    history = sorted(store.history(), key=lambda revision: revision.number)
    assert [revision.number for revision in history] == [*range(1, len(history) + 1)]
    assert len(history) > WRITERS
    lines = ["w: 0"]
    for revision in history[1:]:  # each has both of its texts, and adds one line to all that was there
        number = revision.author.removeprefix("writer ")
        own, shared = revision.texts[f"group/own_{number}"], revision.texts[SHARED]
        assert own is not None
        lines.append(f"w{number}_{own.split()[1]}: 1")
        assert shared == "\n".join(lines) + "\n"
    assert len(set(lines)) == len(lines)


@pytest.mark.integration
def test_twenty_writers_of_a_file_lose_nothing(tmp_path: Path) -> None:
    _write_many_at_once(str(tmp_path / "configs.db"))


@POSTGRES
@pytest.mark.xdist_group("postgres")
def test_twenty_writers_of_a_server_lose_nothing(postgres: str) -> None:
    _write_many_at_once(postgres)


def _publish_all(location: str) -> None:
    store = ConfigStore(location, "ann")
    for count in range(100):
        texts = {f"group/part_{n}": f"count: {count}\n{'# ' + 'x' * 2000}\n" for n in range(10)}
        store.publish(store.edit(texts, store.bases(), "all"), lambda _: None)


def test_a_publication_that_is_killed_is_whole_or_absent(tmp_path: Path) -> None:
    location = str(tmp_path / "configs.db")
    store = stored(location, {"group/first": "a: 1\n"})
    for attempt in range(5):
        writer = FORK.Process(target=_publish_all, args=(location,))
        writer.start()
        time.sleep(0.2 + 0.037 * attempt)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        folder = checkout(f"configs://{location}")  # also where a journal was left behind
        parts = {file.read_text() for file in folder.glob("group/part_*.yaml")}
        assert len(parts) <= 1
        assert all(len(revision.texts) == 10 for revision in store.history()[:-1])
    assert store.newest() > 1
