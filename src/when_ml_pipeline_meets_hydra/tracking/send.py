"""Send the record of a run to one tracker, until the run has ended and everything is there: a process of its own.

``python -m …tracking.send RECORD TRACKER [SETTINGS]``, started by ``tracking.processes``.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.binding.trackers import options_of
from when_ml_pipeline_meets_hydra.binding.validation import validate
from when_ml_pipeline_meets_hydra.errors import first_line
from when_ml_pipeline_meets_hydra.masking import Redactor, is_secret_name
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.storage import durable_files
from when_ml_pipeline_meets_hydra.tracking.processes import FOLDER
from when_ml_pipeline_meets_hydra.tracking.tracked_runs import TrackedRecord
from when_ml_pipeline_meets_hydra.tracking.trackers.interface import Connection, TrackedRun

_PAUSE = 1.0  # s between two looks at a record that is being written
_SHARE = 9  # times as long as a look has taken, a pause is at least
_RETRY = 20.0  # s after which something that has failed is tried again while the run goes on
_NICE = 5  # while a run goes on, its steps come first


def main(words: list[str]) -> int:
    """Follow a record, and write beside it what has become of that; returns the exit code.

    Settings on the command line are those of ``runs sync``, which has no deadline.
    """
    folder, name = Path(words[0]), words[1]
    if len(words) == 2:
        os.nice(_NICE)
    try:
        with _alone(folder / FOLDER / f"{name}.lock"):
            sending = _Sending(Record(folder), name, json.loads(words[2]) if len(words) > 2 else None)
            _write_result(folder, name, {"url": sending.run()})
    except (Exception, SystemExit) as error:  # of any library
        _write_result(folder, name, {"error": _text(error)})
        return 1
    return 0


class _Sending:
    """The way of one record to one tracker."""

    def __init__(self, record: Record, name: str, given: Mapping[str, Any] | None) -> None:
        node = next(config for _, config in record.configs([0]))[name] if given is None else given
        self._options = validate(options_of(name), node, key=name, origin=lambda _: None)
        self._name, self._folder, self._has_deadline = name, record.folder, given is None
        self._record = TrackedRecord(record, self._options.artifacts)
        self._file = record.folder / FOLDER / f"{name}.json"
        self._known: dict[str, str] = json.loads(self._file.read_bytes()) if self._file.exists() else {}
        self._sent: dict[str, TrackedRun] = {}
        self._connection: Connection | None = None

    def run(self) -> str | None:
        """Send everything until the run has ended; returns where it is to be seen."""
        while not self._record.has_ended:
            began = time.monotonic()
            pause = _PAUSE if self._is_sent() else _RETRY
            self._wait(max(pause, _SHARE * (time.monotonic() - began)))
        timer = threading.Timer(self._options.timeout, self._give_up)
        timer.daemon = True
        if self._has_deadline:
            timer.start()
        connection = self._send()
        connection.close()
        timer.cancel()
        return connection.url

    def _wait(self, seconds: float) -> None:
        """Wait that long, or until the run has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._record.has_ended:
            time.sleep(min(_PAUSE, seconds))

    def _is_sent(self) -> bool:
        """Send what is new while the run goes on; a failure is the end of nothing yet."""
        try:
            self._send()
        except Exception as error:
            print(_text(error), file=sys.stderr, flush=True)
            self._connection = None
            return False
        return True

    def _send(self) -> Connection:
        self._connection = self._connection or self._options.connect(self._known)
        for run in self._record.runs():
            if self._sent.get(run.id) != run:
                self._connection.send(run)
                self._sent[run.id] = run
                durable_files.write(self._file, json.dumps(self._known, indent=2).encode())
        return self._connection

    def _give_up(self) -> None:
        error = f"it took longer than {self._name}.timeout={self._options.timeout:g} s"
        _write_result(self._folder, self._name, {"error": error})
        os._exit(1)


def _write_result(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    durable_files.write(folder / FOLDER / f"{name}.result.json", json.dumps(content).encode())


def _text(error: BaseException) -> str:
    secrets = [value for name, value in os.environ.items() if is_secret_name(name)]
    return Redactor(secrets).text(f"{type(error).__name__}: {first_line(error)}")


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Wait until no other process sends the same record to the same tracker."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
