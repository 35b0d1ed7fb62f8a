"""The queue of launched runs: each one is a process of this program; the queue itself ends with the server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Event, Lock, Thread

from when_ml_pipeline_meets_hydra.composing.environment import SERVE_PW, WEB_PW
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Refused
from when_ml_pipeline_meets_hydra.records.lookup import record_of
from when_ml_pipeline_meets_hydra.web.launch.progress import Progress

MOST_WAITING, MOST_KEPT = 20, 200
SECONDS_TO_END = (10.0, 3.0)  # after the first interrupt, and after the second one
_PROGRAM = __name__.partition(".")[0]
_OWN = (WEB_PW, SERVE_PW)  # variables of the server alone
_NO_TAG = re.compile(r"[^\w.@+-]+")
_ERROR_LINES = 20


class State(StrEnum):
    """Where a launched run is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    NOT_RUN = "not run"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


_ENDED = {
    ExitCode.DONE: State.DONE,
    ExitCode.BAD_INPUT: State.NOT_RUN,
    ExitCode.REFUSED: State.REFUSED,
    ExitCode.INTERRUPTED: State.INTERRUPTED,
    -signal.SIGINT: State.INTERRUPTED,
}


@dataclass(kw_only=True, eq=False)
class Launch:
    """A run that was started in the app, or that waits; ``words`` are its command line after the program's name."""

    number: int
    user: str
    words: tuple[str, ...]
    shown: str
    variables: Mapping[str, str]
    home: Path
    asked: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = State.WAITING
    cancelled_by: str = ""
    progress: Progress = field(default_factory=Progress)
    process: subprocess.Popen[str] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or will not begin."""
        return self.state not in (State.WAITING, State.RUNNING)


class Launches:
    """Starts the requested runs in their order, ``limit`` at once."""

    def __init__(self, limit: int) -> None:
        self.stopping = Event()
        self.streams = 0  # of events that are being sent to pages
        self._limit, self._folder = limit, Path.cwd()
        self._launches: dict[int, Launch] = {}
        self._waiting: deque[Launch] = deque()
        self._running: list[Launch] = []
        self._count = 0
        self._lock = Lock()

    def add(self, user: str, words: Sequence[str], *, shown: str, variables: Mapping[str, str], home: Path) -> Launch:
        """Start a run, or let it wait for its turn.

        Raises:
            Refused: too many wait already, or the server stops.
        """
        with self._lock:
            if self.stopping.is_set():
                raise Refused("launch", "the server stops")
            if len(self._waiting) >= MOST_WAITING:
                raise Refused("launch", f"{MOST_WAITING} runs wait already. Cancel one, or try later")
            self._count += 1
            launch = Launch(
                number=self._count, user=user, words=tuple(words), shown=shown, variables=variables, home=home
            )
            self._launches[launch.number] = launch
            over = [number for number, old in self._launches.items() if old.is_over]
            for number in over[: max(len(self._launches) - MOST_KEPT, 0)]:
                del self._launches[number]
            self._waiting.append(launch)
            self._start_next()
        return launch

    def find(self, number: int) -> Launch | None:
        """Return the launch with this number."""
        return self._launches.get(number)

    def all(self) -> list[Launch]:
        """Return the launches since the server was started, the newest first."""
        with self._lock:
            return [*self._launches.values()][::-1]

    def cancel(self, launch: Launch, user: str) -> None:
        """Take a launch out of the queue, or interrupt it as Ctrl-C does; a second time it ends at once."""
        with self._lock:
            if launch in self._waiting:
                self._waiting.remove(launch)
                launch.state = State.CANCELLED
            if not launch.is_over and launch.process:
                launch.process.send_signal(signal.SIGINT)
            launch.cancelled_by = launch.cancelled_by or user
            launch.progress.say()

    def close(self) -> None:
        """Interrupt what runs, and wait until it has ended; what waits is not started."""
        self.stopping.set()
        with self._lock:
            for launch in self._waiting:
                launch.state = State.CANCELLED
            self._waiting.clear()
            processes = [launch.process for launch in self._running if launch.process]
        for seconds in SECONDS_TO_END:
            for process in processes:
                process.send_signal(signal.SIGINT)
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)
        for process in processes:
            process.kill()

    def _start_next(self) -> None:
        while self._waiting and len(self._running) < self._limit and not self.stopping.is_set():
            launch = self._waiting.popleft()
            try:
                launch.process = self._started(launch)
            except OSError as error:
                launch.state = State.FAILED
                launch.progress.say(f"It could not be started: {error.strerror}")
                continue
            launch.state = State.RUNNING
            launch.progress.say()
            self._running.append(launch)
            Thread(target=self._follow, args=[launch, launch.process], daemon=True).start()

    def _started(self, launch: Launch) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if name not in _OWN}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", _PROGRAM, *launch.words, "--json"],
            cwd=self._folder,
            env={**environment, **launch.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # the server's own Ctrl-C reaches it once, by ``close``
        )

    def _follow(self, launch: Launch, process: subprocess.Popen[str]) -> None:
        errors: deque[str] = deque(maxlen=_ERROR_LINES)
        assert process.stdout
        assert process.stderr
        reader = Thread(target=errors.extend, args=[process.stderr], daemon=True)
        reader.start()
        with process.stdout as lines:
            for line in lines:
                if launch.progress.read(line) == "run_started":
                    _note(launch)
        code = process.wait()
        reader.join(1)
        with self._lock:
            launch.state = _ENDED.get(code, State.FAILED)
            if launch.state is State.FAILED and code != ExitCode.STEP_FAILED:
                launch.progress.say(f"The process ended with the exit code {code}.")
            launch.progress.say(*map(str.rstrip, errors))
            self._running.remove(launch)
            self._start_next()


def _note(launch: Launch) -> None:
    """Write into the record who started the run."""
    tag, note = f"launched-by-{_NO_TAG.sub('-', launch.user)[:40]}", f"Launched by {launch.user} in the web app."
    with suppress(BadInput):  # the run goes on without
        record_of(launch.home, launch.progress.run).annotate(
            lambda before: before.with_tags([tag]).with_note(before.note or note)
        )
