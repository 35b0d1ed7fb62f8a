"""What a step may change in the process, put back when it ends, so that the next step finds what a new process has."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.errors import StepFailed

# Beginnings of variables that libraries set when they are loaded, for each other; some add to what is there already.
_OF_LIBRARIES = ("_", "KMP_", "TF_CPP_", "DISABLE_CUPTI_LAZY_REINIT", "TEARDOWN_CUPTI", "ARROW_DEFAULT_MEMORY_POOL")
_POOLS = (b"loky", b"resource_tracker", b"multiprocessing")  # in command lines of processes that libraries keep
_SIGNALS = [
    number
    for name in ("INT", "TERM", "HUP", "QUIT", "ALRM", "USR1", "USR2", "CHLD", "PIPE", "WINCH")
    if (number := getattr(signal, f"SIG{name}", None))
]
_leave_process = os._exit
_known_children: set[int] = set()


@contextmanager
def restored(report: Callable[[str], object]) -> Iterator[None]:
    """Put back what the block changes in the process, and ``report`` what other code is likely to miss, in lines.

    Reported are the working folder, environment variables, the umask, signal handlers and standard descriptors, and
    threads and processes that still run. Warning filters for all code, the state of logging, ``sys.path``, limits and
    the locale are put back without a word. The block starts with fresh random states.
    """
    changed: list[str] = []
    threads = set(threading.enumerate())
    with ExitStack() as before:
        for part in (_folder, _environment, _umask, _signals, _descriptors):
            before.callback(part(changed))
        for quiet in (_interpreter, _warnings, _logging, _libraries):
            before.callback(quiet())
        _fresh_random_states()
        try:
            yield
        finally:
            before.close()
            if changed:
                report(f"Put back after this step, which had changed it: {', '.join(changed)}\n")
            if left := [*_threads_since(threads), *_new_children()]:
                report(f"Left running by this step: {', '.join(left)}\n")


@contextmanager
def exit_is_an_error() -> Iterator[None]:
    """Let ``os._exit`` of a step raise ``StepFailed``: it would end the whole run, unrecorded, with any exit code."""
    process = os.getpid()

    def refuse(status: int) -> None:
        if os.getpid() != process:  # a forked child
            _leave_process(status)
        raise StepFailed(f"it called os._exit({status}), which would have ended the whole run")

    before, os._exit = os._exit, refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = before


def _folder(changed: list[str]) -> Callable[[], None]:
    before = _working_folder()

    def restore() -> None:
        if before is not None and _working_folder() != before:
            with suppress(OSError):
                os.chdir(before)
                changed.append(f"the working folder ({before})")

    return restore


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - of every step
    except FileNotFoundError:
        return None


def _environment(changed: list[str]) -> Callable[[], None]:
    before = os.environ.copy()

    def restore() -> None:
        now = os.environ.copy()
        if now == before:
            return
        names = {name for name in {*before, *now} if before.get(name) != now.get(name)}
        names = {name for name in names if not name.startswith(_OF_LIBRARIES)}
        for name in names:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]
        if "TZ" in names:
            time.tzset()
        if names:
            changed.append(f"environment variables ({', '.join(sorted(names))})")

    return restore


def _umask(changed: list[str]) -> Callable[[], None]:
    os.umask(before := os.umask(0o077))

    def restore() -> None:
        if os.umask(before) != before:
            changed.append(f"the umask (0o{before:03o})")

    return restore


def _signals(changed: list[str]) -> Callable[[], None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    timer = signal.getitimer(signal.ITIMER_REAL)[0]

    def restore() -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        names = []
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
                names.append(signal.Signals(number).name)
        if not timer and signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, 0)
            names.append("a timer")
        if names:
            changed.append(f"signal handlers ({', '.join(names)})")

    return restore


def _descriptors(changed: list[str]) -> Callable[[], None]:
    copies = {}
    for number in (0, 1, 2):
        if (place := _place(number)) is not None:
            copies[number] = place, os.dup(number)

    def restore() -> None:
        for number, (place, copy) in copies.items():
            if _place(number) != place:
                os.dup2(copy, number)
                changed.append(f"file descriptor {number}")
            os.close(copy)

    return restore


def _place(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _interpreter() -> Callable[[], None]:
    path, arguments, is_collecting = list(sys.path), list(sys.argv), gc.isenabled()
    depth, hook = sys.getrecursionlimit(), sys.excepthook

    def restore() -> None:
        sys.path[:], sys.argv[:] = path, arguments
        (gc.enable if is_collecting else gc.disable)()
        sys.excepthook = hook
        with suppress(RecursionError):
            sys.setrecursionlimit(depth)

    return restore


def _warnings() -> Callable[[], None]:
    before, show = list(warnings.filters), warnings.showwarning

    def restore() -> None:
        warnings.showwarning = show
        if warnings.filters != before:
            # Those for one message or module are of libraries, which set them when they are loaded.
            own = [f for f in warnings.filters if f not in before and (f[1] is not None or f[3] is not None)]
            warnings.filters[:] = [*own, *before]  # type: ignore[index]
            with warnings.catch_warnings():  # which lets the caches of past warnings expire
                pass

    return restore


def _logging() -> Callable[[], None]:
    root, level = logging.getLogger(), logging.root.manager.disable
    handlers = list(root.handlers)

    def restore() -> None:
        logging.disable(level)
        root.handlers[:] = handlers

    return restore


def _libraries() -> Callable[[], None]:
    """The state of modules that are loaded already: the locale, the default timeout of sockets, numpy's errors."""
    todo: list[Callable[[], object]] = []
    if module := sys.modules.get("locale"):
        text = module.setlocale(module.LC_ALL)
        todo.append(lambda: module.setlocale(module.LC_ALL, text))
    if sockets := sys.modules.get("socket"):
        timeout = sockets.getdefaulttimeout()
        todo.append(lambda: sockets.setdefaulttimeout(timeout))
    if numpy := sys.modules.get("numpy"):
        errors = numpy.geterr()
        todo.append(lambda: numpy.geterr() == errors or numpy.seterr(**errors))
    return _all(todo)


def keep_random_states() -> Callable[[], None]:
    """Return a function that puts back the random states of this moment, which are the caller's."""
    todo: list[Callable[[], object]] = []

    def keep(state: Any, set_state: Callable[[Any], object]) -> None:
        todo.append(lambda: set_state(state))

    if module := sys.modules.get("random"):
        keep(module.getstate(), module.setstate)
    if numpy := sys.modules.get("numpy.random"):
        keep(numpy.get_state(), numpy.set_state)
    if torch := sys.modules.get("torch"):
        keep(torch.get_rng_state(), torch.set_rng_state)
    return _all(todo)


def _fresh_random_states() -> None:
    """Set random states that do not depend on the previous step, as those of a new process do not."""
    number = int.from_bytes(os.urandom(4), "big")
    for name, seed in (("random", "seed"), ("numpy.random", "seed"), ("torch", "manual_seed")):
        if module := sys.modules.get(name):
            getattr(module, seed)(number)


def _all(todo: Iterable[Callable[[], object]]) -> Callable[[], None]:
    def restore() -> None:
        for part in todo:
            part()

    return restore


def _threads_since(before: set[threading.Thread]) -> Iterator[str]:
    """The new threads for which Python waits before it exits."""
    for thread in threading.enumerate():
        if not (thread in before or thread.daemon or thread.name.startswith("ThreadPoolExecutor-")):
            yield f"thread '{thread.name}', for which the program waits at its end"


def remember_children() -> None:
    """Remember the child processes that this process has: no step has started them."""
    _known_children.update(_children())


def _children() -> set[int]:
    """The child processes; none without ``/proc``."""
    found: set[int] = set()
    with suppress(OSError):
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - after every step
            with suppress(OSError), open(f"/proc/self/task/{thread}/children", "rb") as stream:  # noqa: PTH123
                found.update(map(int, stream.read().split()))
    return found


def _new_children() -> Iterator[str]:
    """The child processes that were not there before and do not belong to a pool."""
    found = _children()
    for process in sorted(found - _known_children):
        words = _command_line(process)
        if words and not any(pool in words for pool in _POOLS):
            yield f"process {process} ({words[:80].decode(errors='replace')})"
    _known_children.update(found)


def _command_line(process: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    for _ in range(50):
        with suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes()
            if words or b") Z " in Path(f"/proc/{process}/stat").read_bytes():
                return words.replace(b"\0", b" ").strip()
            time.sleep(0.002)  # it is just being started
    return b""
