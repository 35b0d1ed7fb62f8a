"""CPU seconds and memory of sweeps, against bare Hydra with its own sweeper and launcher and the same config tree.

    python benchmarks/sweeps.py [--jobs 1000] [--most 10000] [-n ROUNDS]

All that is compared is run in one go, on one machine: a sweep of many jobs that do nothing, what each further job
costs, the 36 jobs of 12 combinations, a typo in the last job, and 12 trainings one after the other and two at once. CPU
time is user and system time of a process and of those that it started and waited for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from startup import CHOICES, COLD, NEW, OURS, STAGES, Playground, machine

NOTHING = """
    from pathlib import Path
    from typing import Any

    from when_ml_pipeline_meets_hydra.contracts import Artifact


    def nothing(model: Any, m_param: Any) -> None:
        pass


    def kept(model: Any, m_param: Any, *, out: Path) -> Artifact:
        return Artifact(path=out)
"""
SUBCOMMANDS = {"nothing": "nothing is stored", "kept": "each result is stored"}
TRAININGS = (
    *("c=modeling", "preprocessing/dataset=digits", "modeling/model=random_forest"),
    *("m_param.n_estimators=300", "m_param.max_depth=12", "m_param.seed=range(12)", "--multirun"),
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one process took: CPU and wall-clock seconds, and the most memory at once, in MB."""

    cpu: float
    wall: float
    memory: float
    exit_code: int


class Sweeps(Playground):
    """The no-op apps, with two more subcommands of one stage."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "nothing.py").write_text(dedent(NOTHING))
        for name, what in SUBCOMMANDS.items():
            file = self.conf / "c" / "modeling_sub" / f"{name}.yaml"
            file.write_text(f"# @package modeling_sub\n# Do nothing: {what}\n_target_: nothing.{name}\n")
        self.environment["WMH_PACKAGES"] = "noop,nothing"
        time.sleep(1.5)  # of a command whose files changed within the last second nothing is kept

    def ours(self, *words: str, without: Sequence[str] = NEW, expected: int = 0) -> Cost:
        """Run our program, for the first time if nothing else is said."""
        self.remove(without)
        return self._cost((*OURS, *words, f"--config-dir={self.conf}"), expected)

    def bare(self, *words: str) -> Cost:
        """Run the app on bare Hydra."""
        return self._hydras(self.app, words)

    def small(self, *words: str) -> Cost:
        """Run the app on bare Hydra with the small config tree."""
        return self._hydras(self.small_app, words)

    def _hydras(self, app: Path, words: Sequence[str]) -> Cost:
        self.remove(["multirun"])
        return self._cost((sys.executable, str(app), *words), 0)

    def _cost(self, command: Sequence[str], expected: int) -> Cost:
        began = time.perf_counter()
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=said, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != expected:
                said.seek(0)
                raise SystemExit(f"{' '.join(command)}\nexit code {process.returncode}\n{said.read()}")
        wall = time.perf_counter() - began
        cpu = used.ru_utime + used.ru_stime
        return Cost(cpu=cpu, wall=wall, memory=used.ru_maxrss / 1024, exit_code=process.returncode)


def many(sweeps: Sweeps, jobs: int, most: int, rounds: int) -> None:
    """Many jobs that do nothing."""
    one = (*CHOICES, "c=modeling")
    numbers = f"+m_param.x=range({jobs})", "--multirun"
    bare = sweeps.bare(*one, "+c/modeling_sub=noop", *numbers)
    print(f"\n| {jobs} jobs that do nothing | CPU s | MB | of bare Hydra | times less |\n|---|---:|---:|---:|---:|")
    print(f"| bare Hydra | {bare.cpu:.1f} | {bare.memory:.0f} | 1 | 1 |")
    for name, what in SUBCOMMANDS.items():
        costs = [sweeps.ours(*one, f"c/modeling_sub={name}", *numbers) for _ in range(rounds)]
        cpu, memory = statistics.median(c.cpu for c in costs), max(c.memory for c in costs)
        print(f"| ours, {what} | {cpu:.2f} | {memory:.0f} | {cpu / bare.cpu:.4f} | {bare.cpu / cpu:.0f} |")
    print("\n| ours | jobs | CPU s | ms per further job | MB |\n|---|---:|---:|---:|---:|")
    for name, what in SUBCOMMANDS.items():
        before = 0, 0.0
        for count in [n for n in (100, 1_000, 3_000) if n < most] + [most]:
            cost = sweeps.ours(*one, f"c/modeling_sub={name}", f"+m_param.x=range({count})", "--multirun")
            further = f"{(cost.cpu - before[1]) / (count - before[0]) * 1000:.2f}" if before[0] else ""
            print(f"| {what} | {count} | {cost.cpu:.2f} | {further} | {cost.memory:.0f} |", flush=True)
            before = count, cost.cpu


def combinations(sweeps: Sweeps, rounds: int) -> None:
    """12 combinations, 36 jobs: 1 preprocessing, 4 trainings and 12 deployments that do nothing."""
    words = (
        *("preprocessing/dataset=dataset_1", "preprocessing/param=param_1", "modeling/model=model_1,model_2"),
        *("modeling/param=param_1,param_2", "deployment/cluster=cluster_1,cluster_2,local"),
        *(f"c={','.join(STAGES)}", "--multirun"),
    )
    subcommands = [f"c/{stage}_sub=noop" for stage in STAGES]
    pairs = [
        (sweeps.ours(*subcommands, *words), sweeps.bare(*(f"+{s}" for s in subcommands), *words)) for _ in range(rounds)
    ]
    cold = [sweeps.ours(*subcommands, *words, without=COLD) for _ in range(rounds)]
    again = [sweeps.ours(*subcommands, *words, without=()) for _ in range(rounds)]
    fewest = ("model=a,b", "m_param=a,b", "cluster=a,b,c", f"c={','.join(STAGES)}", "--multirun")
    small = statistics.median(sweeps.small(*fewest).cpu for _ in range(rounds))
    bare = statistics.median(b.cpu for _, b in pairs)
    print("\n| 36 jobs of 12 combinations | CPU s | of bare Hydra | of bare Hydra, small tree |\n|---|---:|---:|---:|")
    print(f"| bare Hydra: 12, 12 and 12 calls | {bare:.2f} | 1 | |")
    print(f"| bare Hydra, small tree | {small:.2f} | | 1 |")
    first = [ours for ours, _ in pairs]
    for name, costs in (("for the first time", first), ("nothing stored", cold), ("once more", again)):
        cpu = statistics.median(c.cpu for c in costs)
        print(f"| ours, {name} | {cpu:.2f} | {cpu / bare:.2f} | {cpu / small:.2f} |")


def typo(sweeps: Sweeps, jobs: int) -> None:
    """A typo in the last value of a long list."""
    values = ",".join([*map(str, range(2, jobs + 1)), "thre"])
    cost = sweeps.ours("c=modeling", f"m_param.n_estimators={values}", "--multirun", expected=2)
    print(f"\nA typo in the last of {jobs} jobs: {cost.wall:.2f} s, exit code {cost.exit_code}")


def trainings(sweeps: Sweeps) -> None:
    """12 trainings, one at a time and two at once; their data are prepared before."""
    took = {}
    for n_jobs in (1, 2):
        sweeps.ours("c=preprocessing", "preprocessing/dataset=digits")
        took[n_jobs] = sweeps.ours(*TRAININGS, f"hydra.launcher.n_jobs={n_jobs}", without=()).wall
    print(f"\n12 trainings: n_jobs=1 {took[1]:.1f} s, n_jobs=2 {took[2]:.1f} s, ratio {took[2] / took[1]:.2f}")


def main() -> None:
    """Measure and print the tables, as Markdown."""
    parser = argparse.ArgumentParser(description="CPU time and memory of sweeps, against a bare Hydra app")
    parser.add_argument("--jobs", type=int, default=1_000, help="jobs of the sweep that bare Hydra also runs")
    parser.add_argument("--most", type=int, default=10_000, help="jobs of the longest sweep")
    parser.add_argument("-n", type=int, default=5, metavar="ROUNDS", help="rounds of what is short (default: 5)")
    parser.add_argument("--quick", action="store_true", help="leave out the trainings")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="sweeps-") as folder:
        sweeps = Sweeps(Path(folder))
        sweeps.ours("c=modeling", "c/modeling_sub=nothing", *CHOICES)  # fills caches
        combinations(sweeps, args.n)
        typo(sweeps, args.jobs)
        many(sweeps, args.jobs, args.most, args.n)
        if not args.quick:
            trainings(sweeps)


if __name__ == "__main__":
    main()
