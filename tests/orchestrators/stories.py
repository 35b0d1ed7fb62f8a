"""What happens under each orchestrator in the same way: an interrupt, a stop at the first failure, mapped steps."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from conftest import PROGRAM
from small_pipeline import DIR, EXAMPLES, inside, steps_run
from when_ml_pipeline_meets_hydra.execution.schedule import STOPS
from when_ml_pipeline_meets_hydra.records.lookup import read_records
from when_ml_pipeline_meets_hydra.records.record import Record


def newest(home: Path) -> Record:
    """The record of the last run."""
    return max(read_records(home), key=lambda record: record.id)


def statuses(record: Record) -> Counter[tuple[str, str]]:
    """How many steps of a stage ended with a status."""
    return Counter((step["stage"], step["status"]) for step in record.steps)


def interrupted(home: Path, *launcher: str) -> None:
    """Ctrl-C while a step runs: its process ends, and the same command goes on with what is missing."""
    words = (*DIR, "c=fit", "source.numbers=[1,2]", *launcher)
    process = subprocess.Popen(
        [PROGRAM, *words, "source.seconds=30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        trace, until = Path(os.environ["SMALL_TRACE"]), time.monotonic() + 100
        while not trace.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        pid = int(trace.read_text().split()[1])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "gather run: interrupted" in err, err
    assert "Traceback" not in out + err
    assert statuses(newest(home)) == {("gather", "interrupted"): 1}
    until = time.monotonic() + 10
    while _is_running(pid):
        assert time.monotonic() < until, "the process of the step still runs"
        time.sleep(0.1)
    done = inside(*words)
    assert done.code == 0, done.err
    assert steps_run() == {"gather": 2, "fit": 1}


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stopped(home: Path, *launcher: str, at_once: int = 1) -> None:
    """``on_error=stop``: after the first failure nothing starts, besides what runs ``at_once``."""
    before = steps_run()
    words = ("c=gather,fit", "knobs.strict=true", "knobs.rate=0.25,0.5,0.75", "source.numbers=[1,2,4]", "on_error=stop")
    done = inside(*DIR, *words, *launcher, "--multirun")
    assert done.code == 1
    computed = steps_run() - before
    assert computed["gather"] == 1
    assert 1 <= computed["fit"] <= at_once
    record = newest(home)
    failed, skipped = computed["fit"], 3 - computed["fit"]
    assert statuses(record) == {("gather", "done"): 1, ("fit", "failed"): failed, ("fit", "skipped"): skipped}
    assert {s["reason"] for s in record.steps if s["status"] == "skipped"} == {STOPS}


def mapped(home: Path, *launcher: str) -> Record:
    """A stage for each element of a list, and one that gathers them; returns the record."""
    before = steps_run()
    words = ("c=audition", "+turns=[1,2,3]", "+talent=0.5", "+manner=goes on")
    done = inside("--config-dir", str(EXAMPLES / "drill"), *words, *launcher)
    assert done.code == 0, done.err
    found = steps_run() - before
    assert (found["practise"], found["audition"]) == (3, 1)
    record = newest(home)
    elements = sorted((s["element"], s["status"]) for s in record.steps if s["stage"] == "practise")
    assert elements == [("1", "done"), ("2", "done"), ("3", "done")]
    assert record.metrics == {"audition.score": 3.0}
    return record
