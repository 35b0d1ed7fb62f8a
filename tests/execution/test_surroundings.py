"""What a step changes in the process is put back before the next one, and what it leaves behind is reported."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Cli
from small_pipeline import PACKAGES, forget, inside, write
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.pipeline import run

STEPS = '''
from __future__ import annotations
import gc, json, locale, logging, os, random, signal, socket, subprocess, sys, threading, warnings
from pathlib import Path
import numpy
from when_ml_pipeline_meets_hydra.contracts import Artifact, frozen

@frozen
class Made(Artifact):
    """What a step found."""

def spoil(how: str, *, out: Path) -> Made:
    """Change the process."""
    HOWS[how]()
    return Made(path=out)

def state() -> dict[str, object]:
    """What the next step may depend on."""
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        "folder": os.getcwd(), "environment": sorted(os.environ.items()), "umask": mask, "path": sys.path,
        "signals": [repr(signal.getsignal(s)) for s in (signal.SIGALRM, signal.SIGUSR1)], "gc": gc.isenabled(),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0], "depth": sys.getrecursionlimit(), "argv": sys.argv,
        "filters": [repr(f) for f in warnings.filters if f[2] is Warning], "locale": locale.setlocale(locale.LC_ALL),
        "timeout": socket.getdefaulttimeout(), "errors": numpy.geterr(), "logging": logging.root.manager.disable,
        "handlers": len(logging.root.handlers), "descriptors": [os.fstat(n).st_mode for n in (0, 1, 2)],
    }

def look(spoil: Made, *, out: Path) -> Made:
    """Look at the process."""
    (out / "state.json").write_text(json.dumps(state()))
    (out / "random.json").write_text(json.dumps([random.random(), float(numpy.random.random())]))
    return Made(path=out)

def everything() -> None:
    os.chdir("/")
    os.environ["SPOILT"] = "1"
    del os.environ["HOME"]
    os.umask(0o777)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 60)
    for number in (0, 1, 2):
        os.close(number)
    sys.path.insert(0, "/nowhere")
    sys.argv[:] = []
    gc.disable()
    sys.setrecursionlimit(5000)
    warnings.simplefilter("error")
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    socket.setdefaulttimeout(0.001)
    numpy.seterr(all="raise")
    logging.disable(logging.CRITICAL)
    logging.root.addHandler(logging.NullHandler())

def seed() -> None:
    random.seed(1)
    numpy.random.seed(1)

def leave() -> None:
    threading.Thread(target=EVENT.wait, args=[20], name="one that stays").start()
    CHILDREN.append(subprocess.Popen(["sleep", "20"]))

class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError

def stop(error: Exception) -> None:
    raise error

EVENT, CHILDREN = threading.Event(), []
HOWS = {
    "nothing": lambda: None, "everything": everything, "seed": seed, "leave": leave, "exit": lambda: os._exit(3),
    "shout": lambda: stop(ValueError("x" * 5_000_000)), "odd": lambda: stop(Odd()),
    "close": lambda: (os.close(1), print("closed"), os.environ.update(_RJEM_MALLOC_CONF="longer")),
    "fork": lambda: os.waitpid(os.fork() or os._exit(0), 0),
    "copy": lambda: (child := os.fork()) and os.waitpid(child, 0),
    "raise in a copy": lambda: (os.fork() and os.wait()) or stop(ValueError("in the copy")),
    "bytes": lambda: stop(FileNotFoundError(2, "is not there", os.fsdecode(b"\\xff.csv"))),
}
'''
CONF = {
    "c/spoil.yaml": "# d\nname: spoil\nsubcommand: run\n",
    "c/look.yaml": "# d\nname: look\nafter: spoil\nsubcommand: run\n",
    "c/spoil_sub/run.yaml": "# @package spoil_sub\n# d\n_target_: spoiler.spoil\n",
    "c/look_sub/run.yaml": "# @package look_sub\n# d\n_target_: spoiler.look\n",
}


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stage that changes the process, and one that looks at it."""
    write(tmp_path / "py", {"spoiler.py": STEPS})
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "py"))
    monkeypatch.setenv(PACKAGES, "spoiler")
    yield write(tmp_path / "conf", CONF)
    forget("spoiler")


def found(conf: str, how: str, file: str = "state.json", *more: str) -> str:
    """What the second step finds after the first one."""
    done = run(["c=look", f"+how={how}", *more], config_dirs=[conf])
    assert done.exit_code == 0, [o.error for o in done.outcomes]
    return (done.artifact("look").path / file).read_text()


@pytest.mark.parametrize("workers", ["", "hydra.launcher.n_jobs=2"])
def test_the_next_step_finds_what_the_first_one_found(conf: str, workers: str) -> None:
    more = [workers] if workers else []
    assert found(conf, "everything", "state.json", *more) == found(conf, "nothing", "state.json", *more)


def test_what_is_put_back_is_reported(conf: str) -> None:
    folder = os.getcwd()  # noqa: PTH109
    done = inside("--config-dir", conf, "c=spoil", "+how=everything")
    assert done.out == (
        "Put back after this step, which had changed it: file descriptor 0, file descriptor 1, file descriptor 2, "
        "signal handlers (SIGALRM, SIGUSR1, a timer), the umask (0o022), environment variables (HOME, SPOILT), "
        f"the working folder ({folder})\n"
    )


def test_a_descriptor_that_a_step_closed_is_reported_once(conf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log does not take the place; a variable that libraries set for each other is not mentioned."""
    monkeypatch.setenv("_RJEM_MALLOC_CONF", "short")
    done = inside("--config-dir", conf, "c=spoil", "+how=close")
    assert done.out == "closed\nPut back after this step, which had changed it: file descriptor 1\n"


def test_random_states_are_those_of_a_new_process(conf: str) -> None:
    import random

    import numpy as np

    random.seed(7)
    np.random.seed(7)
    one = found(conf, "seed", "random.json")
    assert found(conf, "seed", "random.json", "force=[look]") != one
    after = random.random(), np.random.random()
    random.seed(7)
    np.random.seed(7)
    assert after == (random.random(), np.random.random()), "those of the caller are as before"


def test_what_is_left_running_is_reported(conf: str) -> None:
    try:
        done = inside("--config-dir", conf, "c=look", "+how=leave")
        assert re.fullmatch(
            r"Left running by this step: thread 'one that stays', for which the program waits at its end, "
            r"process \d+ \(sleep 20\)\n",
            done.out,
        ), "by the first step alone"
    finally:
        spoiler = sys.modules["spoiler"]
        spoiler.EVENT.set()
        for child in spoiler.CHILDREN:
            child.kill()
            child.wait()


def test_an_exit_that_bypasses_python_fails_its_step_alone(conf: str) -> None:
    done = inside("--config-dir", conf, "c=spoil", "+how=exit,fork", "--multirun")
    assert done.code == ExitCode.STEP_FAILED
    assert "spoil run: failed (new)\n  it called os._exit(3), which would have ended the whole run" in done.err
    assert "1 failed, 1 done" in done.err
    assert os._exit is not None
    assert os._exit.__module__ == "posix"


def test_a_huge_message_is_shortened_everywhere(conf: str, own_home: Path) -> None:
    done = inside("--config-dir", conf, "c=spoil", "+how=shout")
    assert done.code == ExitCode.STEP_FAILED
    assert "ValueError: xxx" in done.err
    assert "… 4,998,012 characters left out …" in done.err
    assert len(done.err) < 5_000
    sizes = {file.name: file.stat().st_size for file in own_home.rglob("*") if file.is_file()}
    assert max(sizes.values()) < 250_000, sizes


def test_an_exception_that_cannot_be_shown(conf: str) -> None:
    assert "Odd, which cannot be shown" in inside("--config-dir", conf, "c=spoil", "+how=odd").err


def test_a_copy_of_the_process_that_comes_back_ends(conf: str) -> None:
    """It neither stores the result nor writes the record, both of which its parent does."""
    done = inside("--config-dir", conf, "c=spoil", "+how=copy,raise in a copy", "--multirun")
    assert done.code == 0, done.err
    assert "A process that this step forked came back from its function as well: it ends" in done.out
    assert "ValueError: in the copy" in done.out
    assert done.err.count("2 done") == 1
    assert "Left running" not in done.out


def test_names_that_are_not_utf_8(conf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the message of an exception, and of the folder in which the program starts."""
    done = inside("--config-dir", conf, "c=spoil", "+how=bytes")
    assert done.code == ExitCode.STEP_FAILED
    assert "FileNotFoundError: [Errno 2] is not there: '\\udcff.csv'" in done.err
    assert "status: failed" in inside("runs", "show", "last").out
    (odd := tmp_path / os.fsdecode(b"\xff")).mkdir()
    monkeypatch.chdir(odd)
    monkeypatch.delenv("WMH_HOME", raising=False)
    refused = inside("--config-dir", conf, "c=spoil", "+how=nothing")
    assert refused.code == ExitCode.BAD_INPUT
    assert "nothing can be written there (a folder's name is not UTF-8: start in another)" in refused.err
    assert not list(odd.iterdir())


def test_in_a_thread_there_are_no_signal_handlers_to_put_back(conf: str) -> None:
    codes: list[int] = []
    words = ["c=look", "+how=nothing"]
    thread = threading.Thread(target=lambda: codes.append(int(run(words, config_dirs=[conf]).exit_code)))
    thread.start()
    thread.join()
    assert codes == [0]


def test_the_program_ends_with_the_exit_code_of_a_failed_step(conf: str, cli: Cli) -> None:
    assert cli("--config-dir", conf, "c=spoil", "+how=exit").code == ExitCode.STEP_FAILED
