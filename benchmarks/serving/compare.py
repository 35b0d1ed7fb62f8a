"""Compare throughput and latency of this server and others, all with one model, in one run.

    python benchmarks/serving/compare.py [--environments FOLDER] [--seconds 5] [-n ROUNDS] [--only NAME …]

Needs pandas and h2load (Debian: nghttp2-client). The others are installed into environments below FOLDER, once. All
servers run at once and are measured in turn, so that other load on the machine affects all of them; medians over the
rounds. Ours checks an id and a password, the others do not; each has as many workers as there are processors.

* peak: one row per request, 8 connections, each sends the next request on the response. CPU time (user and system) is
  that of all processes of the server meanwhile.
* p99: the same at a steady rate of half of the server's own peak.
* batches: the same with 1,000 rows per request.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import one_model
import pandas as pd

from servers import OTHERS, OURS, Server, cpu_seconds, environment, predict, running

CONNECTIONS, BATCH = 8, 1000


@dataclass(kw_only=True)
class Measured:
    """Requests per second, CPU time per request in ms, and 99th percentile of latency in ms; one value per round."""

    peak: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)


class Load:
    """One server, and the request bodies sent to it."""

    def __init__(self, server: Server, url: str, process: int, folder: Path, rows: Sequence[dict[str, object]]) -> None:
        self.server, self._url, self._process, self._folder = server, url, process, folder
        many = [rows[number % len(rows)] for number in range(BATCH)]
        for name, body in {"one": [rows[0]], "many": many}.items():
            (folder / name).write_text(json.dumps(server.body(body)))

    def run(self, body: str, seconds: float, connections: int, rate: float = 0.0) -> tuple[float, float, float]:
        """Return requests per second, CPU time per request in ms, and 99th percentile of latency in ms."""
        log = self._folder / "times"
        log.unlink(missing_ok=True)
        command = ["h2load", "--h1", "-t", "1", "-c", str(connections), "-D", str(seconds), "--log-file", str(log)]
        command += ["-d", str(self._folder / body), "-H", "Content-Type: application/json"]
        command += [word for name, value in self.server.headers.items() for word in ("-H", f"{name}: {value}")]
        if rate:
            command += ["--rps", str(max(1, round(rate / connections)))]
        before = cpu_seconds(self._process)
        done = subprocess.run([*command, self._url], capture_output=True, text=True, check=True)
        cpu = cpu_seconds(self._process) - before
        lines = [line.split() for line in log.read_text().splitlines()]
        if wrong := [line for line in lines if line[1] != "200"]:
            raise SystemExit(f"{self.server.name}: {len(wrong)} of {len(lines)} failed, {wrong[0]}\n{done.stdout}")
        times = sorted(int(line[2]) / 1000 for line in lines)
        return len(lines) / seconds, cpu * 1000 / len(lines), times[int(len(times) * 0.99)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache/serving-benchmark")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("-n", "--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=None, help="others to compare with, by parts of their names")
    options = parser.parse_args()
    if shutil.which("h2load") is None:
        sys.exit("h2load is not installed; it is in Debian's nghttp2-client")
    others = [s for s in OTHERS if options.only is None or any(part in s.name for part in options.only)]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        wanted = one_model.write(folder)
        rows = [{key: row[key] for key in (*one_model.NUMBERS, one_model.TEXT)} for row in one_model.rows()]
        rows = [row for row in rows if None not in row.values()]
        expected = wanted.predict(pd.DataFrame(rows[:50]))
        loads = []
        for number, server in enumerate([OURS, *others]):
            programs = environment(server, options.environments)
            place = folder / f"server-{number}"
            url, process = stack.enter_context(running(server, programs, place, _free_port(), rows[:1]))
            predicted = predict(server, url, rows[:50])
            worst = max(abs(a - b) for a, b in zip(predicted, expected, strict=True))
            if worst > 1e-3:
                sys.exit(f"{server.name} differs from the model by up to {worst}")
            loads.append(Load(server, url, process, place, rows))
        _print([load.server for load in loads], _measure(loads, options.rounds, options.seconds))


def _measure(loads: Sequence[Load], rounds: int, seconds: int) -> list[Measured]:
    found = [Measured() for _ in loads]
    for turn in range(rounds + 1):
        for load, measured in zip(loads, found, strict=True):
            peak, cpu, _ = load.run("one", seconds, CONNECTIONS)
            _, _, p99 = load.run("one", seconds, CONNECTIONS, rate=peak / 2)
            batches, _, _ = load.run("many", seconds, CONNECTIONS)
            if turn:  # the first round warms up
                measured.peak.append(peak)
                measured.cpu.append(cpu)
                measured.p99.append(p99)
                measured.batches.append(batches)
    return found


def _print(servers: Sequence[Server], found: Sequence[Measured]) -> None:
    print("| server | requests/s | of ours | CPU ms for each | p99 at half of it, ms | batches of 1,000 rows/s |")
    print("|---|---:|---:|---:|---:|---:|")
    ours = statistics.median(found[0].peak)
    for server, measured in zip(servers, found, strict=True):
        numbers = (measured.peak, measured.cpu, measured.p99, measured.batches)
        peak, cpu, p99, batches = map(statistics.median, numbers)
        print(f"| {server.name} | {peak:.0f} | {peak / ours:.2f} | {cpu:.2f} | {p99:.1f} | {batches:.1f} |")


if __name__ == "__main__":
    main()
