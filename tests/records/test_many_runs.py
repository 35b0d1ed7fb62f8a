"""Ten thousand runs: how long lists and filters take, and how much memory."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli
from many_runs import copies
from small_pipeline import install, small
from when_ml_pipeline_meets_hydra.records.find_runs import find_runs
from when_ml_pipeline_meets_hydra.records.lookup import find_record
from when_ml_pipeline_meets_hydra.records.where import Where

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("many runs")]
COUNT = 10_000
LIMIT = 0.3  # seconds of CPU of a list, once the records were read
MEMORY = 400_000  # kB


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with ten thousand runs, all of them in the index."""
    home = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("WMH_HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
        install(patch)
        record = small("c=fit").record
    more = {f"key_{number}": number / 7 for number in range(80)}  # as many as the configs of real stages have

    def change(number: int, rng: random.Random, content: dict[str, Any]) -> None:
        content["jobs"][0]["config"]["knobs"] |= {"rate": rng.random(), "rounds": number, **more}
        for step in content["steps"]:
            step["metrics"] = {name: rng.random() for name in step["metrics"] or {}}

    copies(record, COUNT, change)
    time.sleep(2.1)  # until the index keeps them
    assert len(find_runs(home, [Where("seconds >= 0")])) == COUNT + 1
    return home


@pytest.fixture(autouse=True)
def _there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WMH_HOME", str(home))


def cpu_of(work: Callable[[], object]) -> float:
    """The CPU seconds of the fastest of three times."""

    def once() -> float:
        before = time.process_time()
        work()
        return time.process_time() - before

    return min(once() for _ in range(3))


@pytest.mark.parametrize(
    ("filters", "last"),
    [
        ([], 20),
        ([], COUNT),
        (["knobs.rate > 0.5 and fit.height > 0.9"], 50),
        (["knobs.rate > 0.5 and fit.height > 2"], 50),  # none: all are looked at
        (["'none' in tags", "status == 'done' and started > '2026-01-02'"], 50),
        (["'c=fit' in command and knobs.key_3 < 1"], COUNT),
    ],
)
def test_lists_and_filters_are_quick(filters: list[str], last: int, home: Path) -> None:
    wheres = [Where(text) for text in filters]
    assert cpu_of(lambda: find_runs(home, wheres, last=last)) < (LIMIT if last < COUNT else 2 * LIMIT)


def test_the_command_lists_in_the_time_of_its_start(home: Path, cli: Cli) -> None:
    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def cost(*words: str) -> float:
        def once() -> float:
            before = children()
            assert cli(*words).code == 0
            return children() - before

        return min(once() for _ in range(3))

    base = cost("runs", "list", "--help")
    assert cost("runs", "list") - base < 0.15
    assert cost("runs", "list", "--where", "knobs.rate > 0.5 and fit.height > 0.9") - base < 0.15
    assert cost("runs", "list", "--where", "knobs.rate > 0.5 and fit.height > 2") - base < LIMIT
    assert cost("runs", "tag", "last", "one") - base < 0.15


def test_few_megabytes_are_needed(home: Path) -> None:
    code = (
        "import resource, sys; from when_ml_pipeline_meets_hydra.cli import main\n"
        "main(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )

    (home / "cache" / "runs.sqlite").unlink()
    words = ("runs", "list", "-n", str(COUNT), "--where", "knobs.rate > 0.1")
    for _ in range(2):  # while the index is made, and with it
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, env={**os.environ}, check=True
        )
        assert done.stdout.count("\n") > 8000
        assert int(done.stderr.split()[-1]) < MEMORY


def test_a_run_is_found_without_reading_the_others(home: Path) -> None:
    assert cpu_of(lambda: find_record(home, "last")) < 0.1
    assert cpu_of(lambda: find_record(home, "20260103-050000")) < 0.1
