"""CPU time of a trial that does nothing, against plain Optuna around a Python function, in one run.

    python benchmarks/searches.py [--trials 1000] [-n ROUNDS]

Each search is a process of its own; the cost of a trial is the difference between a long and a short search. CPU time
is user and system time. Needs the extra ``optuna``.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent

SHORT = 20  # trials
OURS = (sys.executable, "-m", "when_ml_pipeline_meets_hydra")
PACKAGE = """
    from collections.abc import Mapping
    from pathlib import Path
    from typing import ClassVar

    from when_ml_pipeline_meets_hydra import Artifact, frozen


    @frozen
    class Scored(Artifact):
        directions: ClassVar[Mapping[str, str]] = {"loss": "minimize"}

        metrics: Mapping[str, float]


    def score(x: float, *, out: Path) -> Scored:
        return Scored(path=out, metrics={"loss": x * x})
"""
PLAIN = """
    import sys
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True))
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=int(sys.argv[1]))
"""


class Playground:
    """A folder with one stage, whose function does nothing but return its score."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "scored.py").write_text(dedent(PACKAGE))
        (folder / "plain.py").write_text(dedent(PLAIN))
        subcommands = folder / "conf" / "c" / "score_sub"
        subcommands.mkdir(parents=True)
        (subcommands.parent / "score.yaml").write_text("# Score\nname: score\nsubcommand: run\n")
        (subcommands / "run.yaml").write_text("# @package score_sub\n# Score it\n_target_: scored.score\n")
        self._environment = {**os.environ, "PYTHONPATH": str(folder), "WMH_PACKAGES": "scored"}
        self._count = 0

    def ours(self, sampler: str, trials: int, *more: str) -> tuple[float, float]:
        """Run a search of ours in a home of its own; returns CPU s and MB."""
        self._count += 1
        words = ("c=score", "+x=interval(-1.0,1.0)", "objective.metric=loss", f"hydra/sweeper={sampler}")
        budget = f"hydra.sweeper.n_trials={trials}", f"home={self._folder / f'home{self._count}'}"
        return self._cost((*OURS, *words, *budget, *more, "--config-dir", str(self._folder / "conf")))

    def plain(self, trials: int) -> tuple[float, float]:
        """Run plain Optuna."""
        return self._cost((sys.executable, str(self._folder / "plain.py"), str(trials)))

    def _cost(self, words: Sequence[str]) -> tuple[float, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with (self._folder / "output.txt").open("w") as output:
            subprocess.run(words, env=self._environment, cwd=self._folder, check=True, stdout=output, stderr=output)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("-n", "--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    print("| search | ms CPU per trial | MB |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        place = Playground(Path(folder))
        searches: dict[str, Callable[[int], tuple[float, float]]] = {
            "plain Optuna": place.plain,
            "ours, `optuna`": lambda n: place.ours("optuna", n),
            "ours, `random`": lambda n: place.ours("random", n),
        }
        for name, search in searches.items():
            costs = [(search(args.trials), search(SHORT)) for _ in range(args.rounds)]
            each = statistics.median((long[0] - short[0]) / (args.trials - SHORT) for long, short in costs)
            memory = max(long[1] for long, _ in costs)
            print(f"| {name}, {args.trials} trials | {each * 1000:.2f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
