"""Steps that end in every way in which steps end: ``how`` says which."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from small.steps import note
from when_ml_pipeline_meets_hydra.contracts import Artifact, Progress, effect, frozen


@frozen
class Made(Artifact):
    """What was made, and how."""

    how: str


def make(seconds: float, *, out: Path, progress: Progress) -> Made:
    """Make what all combinations share."""
    note("make")
    progress(1, 2, "making")
    (out / "half").write_text("half")
    time.sleep(float(os.environ.get("ILL_SECONDS", seconds)))
    return Made(path=out, how="made")


def use(make: Made, how: str, *, out: Path) -> Made:
    """Do as it is told."""
    note("use")
    (out / "half").write_text("half")
    print(f"about to {how}")
    DOES[how]()
    return Made(path=out, how=how)


@effect
def act(use: Made) -> None:
    """Say what was used."""
    note("act")
    print("acted on", use.how)


def _raise() -> None:
    raise ValueError("not like that")


def _hang() -> None:
    note("hangs")
    time.sleep(60)


def _hang_in_c() -> None:
    """A library that is not written in Python, and lets no signal through."""
    note("hangs")
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def _hang_in_c_alone() -> None:
    """The same, and no other thread can run meanwhile."""
    note("hangs")
    sum(range(10**12))


def _ignore() -> None:
    note("hangs")
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            continue


def _have_children() -> None:
    """A program, and a forked process that keeps all that is open."""
    program = subprocess.Popen(["sleep", "61"])
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=[62])
    forked.start()
    note(f"child{program.pid}")
    note(f"child{forked.pid}")
    note("hangs")
    program.wait()


def _leave_a_child() -> None:
    program = subprocess.Popen(["sleep", "61"])
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=[62])
    forked.start()
    note(f"child{program.pid}")
    note(f"child{forked.pid}")
    os._exit(3)


def _use_processes() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print("sum", sum(pool.map(abs, [-1, 2])))


def _print_without_python() -> None:
    os.write(1, b"from a library\n")
    subprocess.run([sys.executable, "-c", "print('from a program')"], check=True)


def _tell_threads() -> None:
    print("threads", os.environ["OMP_NUM_THREADS"], os.environ["POLARS_MAX_THREADS"])


DOES: dict[str, Callable[[], object]] = {
    "go well": lambda: None,
    "go on": lambda: None,
    "raise": _raise,
    "exit": lambda: sys.exit(7),
    "be killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: ctypes.string_at(0),
    "leave": lambda: os._exit(3),
    "hang": _hang,
    "hang in c": _hang_in_c,
    "hang in c alone": _hang_in_c_alone,
    "ignore": _ignore,
    "have children": _have_children,
    "leave a child": _leave_a_child,
    "use processes": _use_processes,
    "tell threads": _tell_threads,
    "print without python": _print_without_python,
}
