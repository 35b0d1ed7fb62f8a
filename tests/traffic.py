"""Clients that ask a model server at a steady rate on open connections, and check every answer."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from model_server import ID, PASSWORD, Server


class Answer(NamedTuple):
    """When one was asked (s since the traffic began), and the version that answered; None: not at all."""

    when: float
    version: int | None
    problem: str | None


class Traffic:
    """What has been answered so far."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.started = time.monotonic()

    @property
    def problems(self) -> list[Answer]:
        """The answers that failed or are wrong."""
        return [answer for answer in self.answers if answer.problem]

    def versions(self, since: float = 0.0) -> Counter[int | None]:
        """How often each version has answered what was asked later than ``since``."""
        return Counter(answer.version for answer in self.answers if answer.when >= since)

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started


@contextmanager
def traffic(
    server: Server, model: str, rows: Sequence[dict[str, Any]], expected: Callable[[int, int], float], rate: int
) -> Iterator[Traffic]:
    """Ask about one row after the other, ``rate`` times a second, until the block ends.

    ``expected`` gives the right answer of a version (first) for a row of that index.
    """
    seen, stop = Traffic(), threading.Event()
    count = max(1, rate // 25)
    clients = [_Client(server, model, rows, expected, seen, stop, offset=k) for k in range(count)]
    threads = [threading.Thread(target=client.run, args=[count / rate]) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class _Client:
    def __init__(
        self,
        server: Server,
        model: str,
        rows: Sequence[dict[str, Any]],
        expected: Callable[[int, int], float],
        seen: Traffic,
        stop: threading.Event,
        offset: int,
    ) -> None:
        self._server, self._model, self._rows, self._expected = server, model, rows, expected
        self._seen, self._stop, self._next = seen, stop, offset
        token = base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    def run(self, pause: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        due = time.monotonic()
        while not self._stop.is_set():
            when = self._seen.now
            try:
                version, problem = self._ask(connection)
            except (OSError, http.client.HTTPException, ValueError) as failure:
                version, problem = None, repr(failure)
                connection.close()
            self._seen.answers.append(Answer(when, version, problem))
            due += pause
            self._stop.wait(max(0.0, due - time.monotonic()))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> tuple[int | None, str | None]:
        index = self._next % len(self._rows)
        self._next += 1
        body = json.dumps({"rows": [self._rows[index]]})
        connection.request("POST", f"/v2/models/{self._model}/predict", body, self._headers)
        response = connection.getresponse()
        content = json.loads(response.read())
        if response.status != 200:
            return None, f"{response.status}: {content}"
        version, (found,) = int(content["model_version"]), content["predictions"]
        wanted = self._expected(version, index)
        wrong = abs(found - wanted) > 1e-5 * max(1.0, abs(wanted))
        return version, f"version {version} said {found} instead of {wanted}" if wrong else None
