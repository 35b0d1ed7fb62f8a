"""Checks of untrusted bundles in a process of their own, with limits of time and memory.

A graph that hangs or takes all memory while it is loaded or predicts its smoke rows ends that process alone.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from when_ml_pipeline_meets_hydra.serving.formats.manifest import MODEL, BundleRefused, verified

MEGABYTE = 1 << 20
PROGRAM_MEMORY = 512 * MEGABYTE  # of the process without a model
MODEL_MEMORY = 5  # times the size of its file: as bytes, as a message, and as tensors
_PROGRAM = f"from {__name__} import main; main()"
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def check(folder: Path, seconds: float, memory: int) -> None:
    """Verify the bundle in ``folder``, and its predictions for its smoke rows.

    Args:
        folder: the bundle.
        seconds: time limit.
        memory: memory in bytes that the predictions may use.

    Raises:
        BundleRefused: it is damaged, cannot be loaded, fails its smoke rows, or goes beyond a limit.
    """
    verified(folder)
    _run("check", folder, seconds, memory)


def check_load(folder: Path, seconds: float, memory: int) -> None:
    """Load the bundle in ``folder`` and predict its first smoke row, in the same way.

    Raises:
        BundleRefused: it cannot be loaded, or goes beyond a limit.
    """
    _run("load_for_serving", folder, seconds, memory)


def _run(function: str, folder: Path, seconds: float, memory: int) -> None:
    words = [sys.executable, "-P", "-c", _PROGRAM, function, str(folder.absolute()), str(seconds), str(memory)]
    done = subprocess.run(
        words, env={**os.environ, **_THREADS}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == -signal.SIGALRM:
        raise BundleRefused(f"loading it and predicting its smoke rows takes longer than {seconds:g} s")
    try:
        problem = json.loads(done.stdout.splitlines()[-1])["problem"]
    except (IndexError, ValueError, KeyError, TypeError):
        end = _name(-done.returncode) if done.returncode < 0 else f"exit code {done.returncode}"
        reason = (done.stderr.splitlines() or ["no message"])[-1][:300]
        raise BundleRefused(f"the process that checked it ended with {end}: {reason}") from None
    if problem:
        raise BundleRefused(problem)


def main() -> None:
    """Load or check the bundle named on the command line; the last line of the output is JSON."""
    function, folder, seconds, memory = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    os.nice(10)
    most = PROGRAM_MEMORY + memory + MODEL_MEMORY * (folder / MODEL).stat().st_size
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from when_ml_pipeline_meets_hydra.serving.engine import scorer

    # From here on the operating system ends the process, whatever it is doing. To start may take seconds.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    problem = ""
    try:
        scorer.limit_memory(memory)
        getattr(scorer, function)(folder)
    except BundleRefused as refused:
        problem = refused.message
    except MemoryError:
        problem = "loading it takes too much memory"
    sys.stdout.write(json.dumps({"problem": problem}) + "\n")
    sys.stdout.flush()
    os._exit(0)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
