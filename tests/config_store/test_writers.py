"""Many writers at once, and writers that are killed: nothing is lost, nothing is half there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
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
    """Publish two entries of this writer's own, which are always accepted, and a line of one that all share."""
    store, count = ConfigStore(location, f"writer {writer}"), 0
    while not count or time.time() < until:
        count += 1
        own = {f"group/{name}_{writer}": f"count: {count}\n" for name in ("own", "twin")}
        store.publish(store.edit(own, store.bases(), "mine"), lambda _: None)
        entry = store.entries()[SHARED]
        draft = store.edit({SHARED: f"{entry.text}w{writer}_{count}: 1\n"}, {SHARED: entry.revision}, "shared")
        with suppress(Refused):  # somebody else was faster
            store.publish(draft, lambda _: None)


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
    lines, counts = ["w: 0"], dict.fromkeys(range(WRITERS), 0)
    for revision in history[1:]:
        number = int(revision.author.removeprefix("writer "))
        if SHARED in revision.texts:  # it adds one line to all that was there
            lines.append(f"w{number}_{counts[number]}: 1")
            assert revision.texts == {SHARED: "\n".join(lines) + "\n"}
        else:
            counts[number] += 1
            assert revision.texts == {
                f"group/{name}_{number}": f"count: {counts[number]}\n" for name in ("own", "twin")
            }
    assert min(counts.values()) >= 1
    assert len(store.drafts()) == sum(counts.values()) - len(lines) + 1  # those that were refused are kept


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
        texts = {f"group/part_{n}": f"count: {os.getpid()}_{count}\n{'# ' + 'x' * 2000}\n" for n in range(10)}
        store.publish(store.edit(texts, store.bases(), "all"), lambda _: None)


def test_a_publication_that_is_killed_is_whole_or_absent(tmp_path: Path) -> None:
    location = str(tmp_path / "configs.db")
    store = stored(location, {"group/first": "a: 1\n"})
    for attempt in range(5):
        before = store.newest()
        writer = FORK.Process(target=_publish_all, args=(location,))
        writer.start()
        while store.newest() == before and writer.is_alive():
            time.sleep(0.01)
        time.sleep(0.037 * attempt)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        folder = checkout(f"configs://{location}")  # also where a journal was left behind
        parts = {file.read_text() for file in folder.glob("group/part_*.yaml")}
        assert len(parts) <= 1
        assert all(len(revision.texts) == 10 for revision in store.history()[:-1])
    assert store.newest() > 5
