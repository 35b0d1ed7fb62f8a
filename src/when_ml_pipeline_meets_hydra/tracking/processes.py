"""Start the processes that send the record of a run to trackers while it is written, and wait for them at its end.

The record is all that they get, and nothing that they do changes the run: each has a session of its own, a deadline,
and a file in ``trackers/`` of the record in which it says what has become of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.execution.surroundings import remember_children
from when_ml_pipeline_meets_hydra.tracking.partial_scores import FILE, PartialScores

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.observers import Observer

FOLDER = "trackers"
PROGRAM = f"{__name__.partition('.')[0]}.tracking.send"
_INTERRUPTED = 10.0  # s that an interrupted run waits at most
_MORE = 2.0  # s after the deadline, in which the process may say that it has passed


class TrackerProcesses:
    """One process per tracker; ``timeouts`` maps the names of trackers to the seconds that they have after the run."""

    def __init__(self, record: Path, timeouts: Mapping[str, float]) -> None:
        self._record, self._timeouts = record, timeouts
        self._processes = {name: start(record, name) for name in timeouts}
        remember_children()

    def told(self, observer: Observer) -> Observer:
        """Return an observer that also writes the partial scores of running steps down, for the processes."""
        return PartialScores(observer, self._record / FOLDER / FILE)

    def wait(self, note: Callable[[str], None], *, is_interrupted: bool = False) -> None:
        """Wait until everything has been sent, or the deadlines have passed; a failure is a note."""
        began = time.monotonic()
        for name, process in self._processes.items():
            most = self._timeouts[name] + _MORE
            most = min(most, _INTERRUPTED) if is_interrupted else most
            try:
                process.wait(max(0.0, most - (time.monotonic() - began)))
            except subprocess.TimeoutExpired:
                end(process)
            except KeyboardInterrupt:
                end(process)
                note(f"Warning: {name} was not waited for. {remedy(self._record, name)}")
                continue
            note(result(self._record, name))


def start(record: Path, name: str, settings: Mapping[str, Any] | None = None) -> subprocess.Popen[bytes]:
    """Start a process that sends a record to a tracker; ``settings`` replace those of the run."""
    from when_ml_pipeline_meets_hydra.records.record_files import read_head

    folder = record / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.result.json").unlink(missing_ok=True)
    started_in = Path(read_head(record)["folder"])
    words = [sys.executable, "-P", "-m", PROGRAM, str(record.absolute()), name]
    words += [json.dumps(settings)] if settings is not None else []
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=started_in if started_in.is_dir() else None,
            start_new_session=True,  # an interrupt of the terminal is for the run
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def result(record: Path, name: str) -> str:
    """Return what has become of a tracker, as a sentence."""
    try:
        found = json.loads((record / FOLDER / f"{name}.result.json").read_bytes())
    except (OSError, ValueError):
        found = {"error": "it did not end in time"}
    if found.get("error"):
        return f"Warning: {name} has not got this run ({found['error']}). {remedy(record, name)}"
    return f"{name}: {found['url']}"


def has_failed(record: Path, name: str) -> bool:
    """Return whether a tracker has not got the whole run."""
    return result(record, name).startswith("Warning")


def remedy(record: Path, name: str) -> str:
    """Return how the run can be sent later."""
    return f"Send it later: wmh runs sync {record.name} --to {name}"
