"""Dagster's own page in a browser: a job of a code location, launched from its launchpad by clicks."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from small_pipeline import CONF, install, steps_run
from when_ml_pipeline_meets_hydra.records.lookup import read_records

pytestmark = [
    pytest.mark.integration("dagster", "dagster_webserver", "playwright", "chromium"),
    pytest.mark.xdist_group("dagster"),
    pytest.mark.slow,
]
PATIENCE = 120_000  # ms for the page, on a busy machine
DEFINITIONS = """
from when_ml_pipeline_meets_hydra.orchestrators.dagster import definitions

defs = definitions(["c=gather,fit", "knobs.rate=0.25,0.75"], multirun=True, config_dirs=[{conf!r}])
"""


@contextlib.contextmanager
def dagster_dev(folder: Path, home: Path) -> Iterator[str]:
    """``dagster dev`` with the definitions in a folder; ends it with all that it has started. Yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-f", "defs.py", "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + PATIENCE / 1000
        while not _answers(port):
            assert process.poll() is None, (folder / "dev.log").read_text()
            assert time.monotonic() < until, (folder / "dev.log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):  # its servers of code outlive the first one
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_with(text: str) -> list[int]:
    """The processes that have a text in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def test_a_run_is_launched_from_the_launchpad(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg
    from playwright.sync_api import sync_playwright

    install(monkeypatch)
    home = tmp_path / "instance"
    home.mkdir()
    (home / "dagster.yaml").write_text("nux:\n  enabled: false\n")  # no dialogue about a newsletter
    (tmp_path / "defs.py").write_text(DEFINITIONS.format(conf=CONF))
    with dagster_dev(tmp_path, home) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with browser:
            page = browser.new_page()
            page.set_default_timeout(PATIENCE)
            page.goto(f"{url}/locations/defs.py/jobs/pipeline/playground")
            page.get_by_text("knobs.rate=0.25,0.75").first.wait_for()
            page.get_by_role("button", name="Launch run").click()
            page.get_by_text("RUN_SUCCESS").first.wait_for()
            run = page.url.rpartition("/")[2]
            assert "fit_run_2" in page.inner_text("body")
    assert steps_run() == {"gather": 1, "fit": 2}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        events = [entry.dagster_event for entry in instance.all_logs(run) if entry.dagster_event]
    assert [e.event_type.name for e in events].count("RUN_SUCCESS") == 1
    assert {e.step_key for e in events if e.event_type_value == "STEP_SUCCESS"} == {
        *("plan", "gather_run", "fit_run_1", "fit_run_2")
    }
    assert {record.status for record in read_records(own_home)} == {"done"}
    assert not processes_with(f"DAGSTER_HOME={home}")
