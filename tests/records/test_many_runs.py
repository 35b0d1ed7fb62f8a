"""Ten thousand runs: how long lists and filters take, and how much memory."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from conftest import Cli
from many_runs import copies, sweep
from small_pipeline import living_in, small
from web_app import WebApp, signed_in
from when_ml_pipeline_meets_hydra.records.find_runs import find_runs
from when_ml_pipeline_meets_hydra.records.lookup import find_record, record_of, run_ids
from when_ml_pipeline_meets_hydra.records.where import Where

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("many runs")]
COUNT = 10_000
LIMIT = 0.3  # seconds of CPU of a list, once the records were read; a filter that looks at all runs may take twice that
MEMORY = 400_000  # kB


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with ten thousand runs, all of them in the index."""
    home = tmp_path_factory.mktemp("many")
    with living_in(home):
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

    return min(once() for _ in range(2))


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
    assert cpu_of(lambda: find_runs(home, wheres, last=last)) < (LIMIT if last < COUNT and not filters else 2 * LIMIT)


def test_the_command_lists_in_the_time_of_its_start(home: Path, cli: Cli) -> None:
    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def cost(*words: str) -> float:
        def once() -> float:
            before = children()
            assert cli(*words).code == 0
            return children() - before

        return min(once() for _ in range(2))

    base = cost("runs", "list", "--help")
    assert cost("runs", "list") - base < 0.15
    assert cost("runs", "list", "--where", "knobs.rate > 0.5 and fit.height > 0.9") - base < 0.15
    assert cost("runs", "list", "--where", "knobs.rate > 0.5 and fit.height > 2") - base < 2 * LIMIT
    assert cost("runs", "tag", "last", "one") - base < 0.15


def test_few_megabytes_are_needed(home: Path) -> None:
    code = (
        "import sys; from when_ml_pipeline_meets_hydra.cli import main; main(sys.argv[1:])\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(status['VmHWM'].split()[0], file=sys.stderr)"  # ru_maxrss begins with that of the parent
    )

    (home / "cache" / "runs.sqlite").unlink()
    words = ("runs", "list", "-n", str(COUNT), "--where", "knobs.rate > 0.1")
    for _ in range(2):  # while the index is made, and with it
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, env={**os.environ}, check=True
        )
        assert done.stdout.count("\n") > 8000
        assert int(done.stderr.split()[-1]) < MEMORY


@pytest.fixture(scope="module")
def app(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebApp]:
    """A web app that shows them, and a sweep of as many jobs."""
    sweep(record_of(home, run_ids(home)[-1]), COUNT)
    time.sleep(2.1)
    find_runs(home, [Where("seconds >= 0")])
    app = WebApp(tmp_path_factory.mktemp("web"), home, {})
    yield app
    app.close()


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/runs", LIMIT),
        ("/runs?page=200", LIMIT),
        ("/runs?where=knobs.rate+>+0.5+and+fit.height+>+0.9&sort=fit.height", 2 * LIMIT),
        ("/runs/compare?{fifty}", LIMIT),
        ("/runs/20300101-000000-0000", 2),
        ("/runs/20300101-000000-0000/jobs?page=7", 2),
    ],
)
def test_pages_come_at_once(path: str, limit: float, app: WebApp) -> None:
    path = path.format(fifty=urlencode([("run", run) for run in run_ids(app.home)[:50]]))
    assert cpu_of(lambda: app.ann.page(path)) < limit


@pytest.mark.integration("playwright", "axe_playwright_python", "chromium")
def test_a_sweep_is_drawn_at_once(app: WebApp, chromium: Browser) -> None:
    with signed_in(chromium, app, "ann") as page:

        def seconds(path: str) -> float:
            before = time.perf_counter()
            page.goto(path)
            page.wait_for_selector("tbody tr:nth-child(50)")
            return time.perf_counter() - before

        for path in ("/runs", "/runs/20300101-000000-0000", "/runs/20300101-000000-0000/jobs"):
            assert min(seconds(path) for _ in range(3)) < 2
        assert "10,000 of 10,000 jobs" in page.inner_text("main")


def test_a_run_is_found_without_reading_the_others(home: Path) -> None:
    assert cpu_of(lambda: find_record(home, "last")) < 0.1
    assert cpu_of(lambda: find_record(home, "20260103-050000")) < 0.1
