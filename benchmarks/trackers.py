"""Time of a run with a tracker against the same run without one, in turn.

    python benchmarks/trackers.py [-n ROUNDS] [OVERRIDE …]

Each run is a process of its own with an empty home. ``run`` is the time that the record says, from the first step to
the last; ``command`` is what a person waits, with the start and with what is still sent after the run. Those trackers
are measured that are installed: W&B offline, MLflow with a database, Aim with a folder. A ratio is the median of the
ratios of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

OURS = (sys.executable, "-m", "when_ml_pipeline_meets_hydra")
WORK = ("c=modeling", "preprocessing/dataset=planes", "modeling/validation=kfold", "validation.k=5")
TRACKERS = {
    "wandb": "wandb.mode=offline",
    "mlflow": "mlflow.tracking_uri=sqlite:///mlflow.db",
    "aim": "aim.repo=aim",
}


def timed(words: Sequence[str]) -> tuple[float, float]:
    """Run a command in an empty folder; returns the seconds of the run and of the command."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        environment = {**os.environ, "WMH_HOME": str(home)}
        began = time.perf_counter()
        done = subprocess.run((*OURS, *words), env=environment, cwd=folder, capture_output=True, text=True)
        took = time.perf_counter() - began
        if done.returncode or "Warning" in done.stderr:
            raise SystemExit(done.stdout + done.stderr)
        (head,) = (home / "runs").glob("*/run.json")
        return json.loads(head.read_bytes())["seconds"], took


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--rounds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", default=WORK)
    args = parser.parse_args(argv)
    on = {name: (*args.overrides, switch) for name, switch in TRACKERS.items() if find_spec(name)}
    kinds = {"none": tuple(args.overrides), **on}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(args.rounds):
        for name, words in kinds.items():
            found[name].append(timed(words))
    print("| tracker | run, s | ratio | command, s |\n|---|---:|---:|---:|")
    for name, times in found.items():
        run, command = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(own[0] / plain[0] for own, plain in zip(times, found["none"], strict=True))
        print(f"| {name} | {run:.2f} | {ratio:.2f} | {command:.2f} |", flush=True)


if __name__ == "__main__":
    main()
