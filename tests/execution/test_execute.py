"""Steps → outcomes: what fails, what is skipped, what is captured, how the process ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import PROGRAM, Cli
from small_pipeline import DIR, PACKAGES, SMALL, forget, inside, install, small, steps_run, write
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.pipeline import run
from when_ml_pipeline_meets_hydra.planning.plan import Step
from when_ml_pipeline_meets_hydra.runs import Prepared, Run, RunObserver

STEPS = '''
from __future__ import annotations
import logging, os, subprocess, sys, threading, time, warnings
from pathlib import Path
from when_ml_pipeline_meets_hydra.contracts import Artifact, Progress, effect, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused, StepFailed

@frozen
class Made(Artifact):
    how: str

def make(how: str, *, out: Path, progress: Progress) -> Made:
    """Do as it is told."""
    (out / "half").write_text("half")
    HOWS.get(how, lambda: None)()
    return Made(path=out, how=how)

def use(make: Made, *, out: Path) -> Made:
    """Use what was made."""
    return Made(path=out, how=make.how)

@effect
def act(use: Made, *, out: Path) -> None:
    """Act."""
    (out / "acted").write_text(use.how)
    print("acted on", use.how)

def stop(error: BaseException) -> None:
    raise error

def chatter() -> None:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    logging.getLogger("x").warning("to the log")
    warnings.warn("a warning", stacklevel=1)
    sys.stdout.write("without an end")

def keep_a_handler() -> None:
    logging.basicConfig(force=True)
    logging.warning("first")

def thread() -> None:
    thread = threading.Thread(target=print, args=["from a thread"])
    thread.start()
    thread.join()

HOWS = {
    "fails": lambda: stop(StepFailed("it did not work")),
    "refuses": lambda: stop(Refused("cluster.pw", "wrong password")),
    "bad": lambda: stop(BadInput(Problem(key="how", message="not like that"))),
    "breaks": lambda: 1 / 0,
    "exits": lambda: sys.exit(7),
    "panics": lambda: stop(type("Panic", (BaseException,), {})("of a library in Rust")),
    "exits well": lambda: sys.exit(),
    "interrupts": lambda: stop(KeyboardInterrupt()),
    "chatter": chatter,
    "handler": keep_a_handler,
    "thread": thread,
    "late": lambda: logging.warning("second"),
    "sleeps": lambda: time.sleep(60),
    "no memory": lambda: stop(MemoryError()),
    "deep": lambda: HOWS["deep"](),
}
'''

CONF = {
    "c/make.yaml": "# d\nname: make\nsubcommand: run\n",
    "c/use.yaml": "# d\nname: use\nafter: make\nsubcommand: run\n",
    "c/act.yaml": "# d\nname: act\nafter: [make, use]\nsubcommand: run\n",
    "c/make_sub/run.yaml": "# @package make_sub\n# d\n_target_: tasks.make\n",
    "c/use_sub/run.yaml": "# @package use_sub\n# d\n_target_: tasks.use\n",
    "c/act_sub/run.yaml": "# @package act_sub\n# d\n_target_: tasks.act\n",
}


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A pipeline whose first step does as it is told."""
    install(monkeypatch)
    write(tmp_path / "py", {"tasks.py": STEPS})
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'py'}{os.pathsep}{SMALL}")
    monkeypatch.setenv(PACKAGES, "tasks small")
    yield write(tmp_path / "conf", CONF)
    forget("tasks")


class Watcher(RunObserver):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.printed = ""
        self.progress: list[tuple[float, float | None, str]] = []

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        self.told.append("run started")

    def step_started(self, step: Step) -> None:
        self.told.append(f"{step.call.name} started")

    def step_printed(self, step: Step, text: str) -> None:
        self.printed += text

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        self.progress.append((done, total, message))

    def step_ended(self, outcome: Outcome) -> None:
        self.told.append(f"{outcome.step.call.name} {outcome.status}")

    def run_ended(self, run: Run) -> None:
        self.told.append("run ended")


def go(conf: str, *overrides: str, multirun: bool = False, watcher: RunObserver | None = None) -> Run:
    return run(overrides, multirun=multirun, config_dirs=[conf], observer=watcher)


def log(found: Run, outcome: Outcome) -> str:
    assert outcome.log
    assert outcome.log.is_relative_to(found.record.folder)
    return outcome.log.read_text()


def test_the_observer_is_told_everything_in_order(conf: str) -> None:
    watcher = Watcher()
    found = go(conf, "c=act", "+how=well", watcher=watcher)
    names = [f"{s} run {w}" for s in ("make", "use", "act") for w in ("started", "done")]
    assert watcher.told == ["run started", *names, "run ended"]
    assert watcher.printed == "acted on well\n"
    assert found.exit_code == ExitCode.DONE
    assert found.artifact("use").path.is_dir()
    with pytest.raises(KeyError):
        found.artifact("act")


def test_an_effect_has_a_folder_of_its_own_in_the_run(conf: str) -> None:
    found = go(conf, "c=act", "+how=well")
    (acted,) = found.record.folder.glob("effects/*/acted")
    assert acted.read_text() == "well"


def test_progress_reaches_the_observer() -> None:
    watcher = Watcher()
    small("c=gather", observer=watcher)
    assert watcher.progress == [(0, 3, "writing"), (1, 3, "writing"), (2, 3, "writing")]


@pytest.mark.parametrize(
    ("how", "code", "error"),
    [
        ("fails", ExitCode.STEP_FAILED, "it did not work"),
        ("refuses", ExitCode.REFUSED, "cluster.pw: wrong password"),
        ("bad", ExitCode.BAD_INPUT, "how: not like that"),
        ("breaks", ExitCode.STEP_FAILED, "ZeroDivisionError: division by zero"),
        ("exits", ExitCode.STEP_FAILED, "SystemExit: 7"),
        ("'exits well'", ExitCode.STEP_FAILED, "SystemExit"),
        ("'no memory'", ExitCode.STEP_FAILED, "MemoryError"),
        ("panics", ExitCode.STEP_FAILED, "Panic: of a library in Rust"),
        ("deep", ExitCode.STEP_FAILED, "RecursionError: maximum recursion depth exceeded"),
        ("interrupts", ExitCode.INTERRUPTED, "interrupted"),
    ],
)
def test_a_step_that_ends_badly(conf: str, how: str, code: ExitCode, error: str) -> None:
    found = go(conf, "c=act", f"+how={how}")
    assert found.exit_code == code
    first, *others = found.outcomes
    assert (first.error or "").startswith(error)
    assert (first.error or "").count("\n") == 0
    assert (first.error or "") in log(found, first)
    assert ("Traceback" in log(found, first)) == (
        how in ("breaks", "exits", "panics", "'exits well'", "'no memory'", "deep")
    )
    if code == ExitCode.INTERRUPTED:
        assert (first.status, others) == (Status.INTERRUPTED, [])
    else:
        assert [o.status for o in found.outcomes] == [Status.FAILED, Status.SKIPPED, Status.SKIPPED]
        assert [o.reason for o in others] == ["make run failed", "make run failed"] or others[
            1
        ].reason == "use run skipped"
    assert not list((found.record.folder.parent.parent / "store").glob("[0-9a-f][0-9a-f]/*"))
    assert not list((found.record.folder.parent.parent / "store" / "tmp").glob("*"))


def test_a_failure_skips_only_what_depends_on_it(conf: str) -> None:
    found = go(conf, "c=make,use,act", "+how=well,fails,fine", multirun=True)
    by_how = {how: [] for how in ("well", "fails", "fine")}  # type: dict[str, list[Status]]
    for outcome in found.outcomes:
        number = outcome.step.jobs[0]
        by_how[found.record.config(number)["how"]].append(outcome.status)
    assert by_how["well"] == by_how["fine"] == [Status.DONE] * 3
    assert by_how["fails"] == [Status.FAILED, Status.SKIPPED, Status.SKIPPED]
    assert found.exit_code == ExitCode.STEP_FAILED


def test_a_failure_is_worse_than_a_refusal_and_an_interruption_worst(conf: str) -> None:
    assert go(conf, "c=make", "+how=refuses,fails", multirun=True).exit_code == ExitCode.STEP_FAILED
    assert go(conf, "c=make", "+how=refuses,bad", multirun=True).exit_code == ExitCode.REFUSED
    assert go(conf, "c=make", "+how=fails,interrupts,well", multirun=True).exit_code == ExitCode.INTERRUPTED


def test_what_a_step_says_is_captured(conf: str, cli: Cli, own_home: Path) -> None:
    code, out, err = cli("--config-dir", conf, "c=make", "+how=chatter")
    assert code == 0
    (logged,) = (f.read_text() for f in own_home.glob("runs/*/logs/*.log"))
    (stored,) = (f.read_text() for f in own_home.glob("store/*/*/log.txt"))
    assert out == logged == stored
    for text in ("to stdout\n", "to stderr\n", "to the log\n", "UserWarning: a warning", "without an end\n"):
        assert text in out
        assert text not in err


def test_what_a_thread_of_a_step_says_is_captured(conf: str) -> None:
    watcher = Watcher()
    go(conf, "c=make", "+how=thread", watcher=watcher)
    assert watcher.printed == "from a thread\n"


def test_a_log_handler_that_outlives_its_step_still_speaks(conf: str) -> None:
    watcher = Watcher()
    found = go(conf, "c=make", "+how=handler,late", multirun=True, watcher=watcher)
    first, second = found.outcomes
    assert "first" in log(found, first)
    assert "second" in log(found, second)
    assert "second" not in log(found, first)
    assert "Logging error" not in watcher.printed


def test_a_step_cannot_change_where_we_print(conf: str) -> None:
    before = sys.stdout, sys.stderr
    go(conf, "c=make", "+how=breaks")
    assert (sys.stdout, sys.stderr) == before


def test_a_person_sees_one_line_and_the_place_of_the_log(conf: str) -> None:
    code, out, err = inside("--config-dir", conf, "c=use", "+how=breaks")
    assert (code, out) == (1, "")
    assert "make run: failed" in err
    assert "ZeroDivisionError: division by zero" in err
    assert "use run: skipped (make run failed)" in err
    assert "log: " in err
    assert "Traceback" not in err


def test_force_computes_again_and_keeps_the_key() -> None:
    first, again = small("c=fit"), small("c=fit", "force=[gather]")
    assert steps_run() == {"gather": 2, "fit": 1}
    assert [o.step.key for o in first.outcomes] == [o.step.key for o in again.outcomes]
    assert [str(o.status) for o in again.outcomes] == ["done", "stored"]


def test_a_stored_result_that_vanishes_meanwhile_is_said() -> None:
    first = small("c=fit")

    class Remover(RunObserver):
        def run_started(self, prepared: Prepared, folder: Path) -> None:
            key = first.outcomes[0].step.key  # the program itself removes nothing that a run holds
            shutil.rmtree(prepared.store.root / key[:2] / key)

    again = small("c=fit", "force=[fit]", observer=Remover())
    assert [o.status for o in again.outcomes] == [Status.FAILED, Status.SKIPPED]
    assert "compute it again" in (again.outcomes[0].error or "") or "again" in (again.outcomes[0].error or "")
    assert small("c=fit").exit_code == ExitCode.DONE


def test_a_result_of_data_that_changed_meanwhile_is_not_stored() -> None:
    file = Path("numbers.txt")
    file.write_text("1\n2\n")
    asked = ("c=gather", "gather/source=file", "source.path=numbers.txt")

    class Editor(RunObserver):
        def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
            file.write_text("1\n3\n")

    (outcome,) = small(*asked, observer=Editor()).outcomes
    assert outcome.status is Status.FAILED
    assert outcome.error == "source: its data changed while they were read. The same command goes on with the new ones"
    (outcome,) = small(*asked).outcomes
    assert (outcome.status, getattr(outcome.artifact, "total", None)) == (Status.DONE, 4)


CHECKPOINTED = """
from pathlib import Path
from small.steps import note
from when_ml_pipeline_meets_hydra.contracts import Artifact, frozen

@frozen
class Made(Artifact):
    began_at: int

def make(rounds: int, dies_at: int, *, out: Path, checkpoints: Path) -> Made:
    last = checkpoints / "last"
    began = int(last.read_text()) if last.exists() else 0
    for done in range(began, rounds):
        note("round")
        if done == dies_at and not began:
            raise RuntimeError("no more")
        last.write_text(str(done + 1))
    return Made(path=out, began_at=began)

def nothing(*, checkpoints: Path) -> None: ...
"""


@pytest.fixture
def checkpointed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stage that goes on from where it failed."""
    write(tmp_path / "py", {"rounds.py": CHECKPOINTED})
    monkeypatch.setenv(PACKAGES, "rounds small")
    stage = {
        "c/make.yaml": "# d\nname: make\nsubcommand: run\n",
        "c/make_sub/run.yaml": "# @package make_sub\n# d\n_target_: rounds.make\n",
        "c/make_sub/nothing.yaml": "# @package make_sub\n# d\n_target_: rounds.nothing\n",
    }
    yield write(tmp_path / "rounds", stage)
    forget("rounds")


def test_a_step_goes_on_from_its_checkpoints(checkpointed: str, own_home: Path) -> None:
    words = ("c=make", "+rounds=5", "+dies_at=3")
    assert go(checkpointed, *words).exit_code == ExitCode.STEP_FAILED
    (left,) = (own_home / "store" / "checkpoints").iterdir()
    assert (left / "last").read_text() == "3"
    assert "0 problems" in inside("store", "verify").out
    assert getattr(go(checkpointed, *words).artifact("make"), "began_at", None) == 3
    assert steps_run() == {"round": 6}
    assert not list((own_home / "store" / "checkpoints").iterdir()), "what is stored needs none"


def test_other_parameters_have_other_checkpoints_and_gc_removes_them(checkpointed: str, own_home: Path) -> None:
    assert go(checkpointed, "c=make", "+rounds=5", "+dies_at=3").exit_code == ExitCode.STEP_FAILED
    assert getattr(go(checkpointed, "c=make", "+rounds=6", "+dies_at=9").artifact("make"), "began_at", None) == 0
    assert "1 unfinished" in inside("store", "gc").out
    assert not list((own_home / "store" / "checkpoints").iterdir())


def test_what_is_not_stored_has_no_checkpoints(checkpointed: str) -> None:
    (outcome,) = go(checkpointed, "c=make", "c/make_sub=nothing").outcomes
    assert outcome.error == "its parameter 'checkpoints' is for steps whose result is stored"


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], what: str, times: int = 1) -> None:
    while steps_run()[what] < times:
        assert process.poll() is None, f"ended before the {times}. {what}"
        time.sleep(0.02)


def test_ctrl_c_keeps_the_finished_steps_and_the_same_command_goes_on() -> None:
    small("c=gather", "source.numbers=[1]")
    words = (*DIR, "c=fit", "source.numbers=[1],[2]", "--multirun")
    process = started(*words, "source.seconds=20")
    wait_for(process, "gather", times=2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert "gather run: interrupted" in err
    assert "1 stored, 1 done, 1 interrupted" in err
    assert " interrupted " in inside("runs", "list").out
    assert inside(*words).code == 0
    assert steps_run() == {"gather": 3, "fit": 2}, "only what was not finished is computed again"
    assert " 0 problems" in inside("store", "verify").out


def test_another_process_is_waited_for_and_named() -> None:
    first = started(*DIR, "c=gather", "source.seconds=1")
    wait_for(first, "gather")
    heard: list[str] = []

    class Waiter(RunObserver):
        def step_waits(self, step: Step, holder: str) -> None:
            heard.append(holder)

    second = small("c=gather", observer=Waiter())
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert steps_run() == {"gather": 1}
    assert second.outcomes[0].status is Status.STORED
    assert second.outcomes[0].reason == "another run computed it meanwhile"
    (holder,) = heard
    assert f"process {first.pid} on " in holder
    assert inside("runs", "list").out.count(holder.split()[1]) == 1


def test_threads_may_run_pipelines_one_after_the_other() -> None:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(int(small("c=gather").exit_code)))
    thread.start()
    thread.join()
    assert results == [0]


class Broken(Watcher):
    """Raises at every event, and prints before."""

    def __getattribute__(self, name: str) -> object:
        found = super().__getattribute__(name)
        if not name.startswith(("step_", "run_")):
            return found

        def raises(*arguments: object) -> None:
            print("observed", name)
            raise ValueError(f"no {name}\nsecond line")

        return raises


class Hanging(Watcher):
    """Never comes back from the progress of a step."""

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        threading.Event().wait()


def test_an_observer_that_fails_or_hangs_does_not_reach_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    found = small("c=fit", observer=Broken())
    assert (found.exit_code, found.record.head["status"]) == (ExitCode.DONE, "done")
    assert {step["status"] for step in found.record.steps} == {"done"}
    assert "observed" not in "".join(o.log.read_text() for o in found.outcomes if o.log)
    out, err = capfd.readouterr()
    assert {"observed run_started", "observed step_ended", "observed run_ended"} <= {*out.splitlines()}
    name = f"{__name__}.Broken"
    assert err == f"The observer {name} fails: run_started raised ValueError: no run_started. The run goes on\n"

    watcher, started = Hanging(), time.monotonic()
    assert small("c=gather", "force=[gather]", observer=watcher).record.head["status"] == "done"
    assert time.monotonic() - started < 15
    out, err = capfd.readouterr()
    text = "step_progress takes too long. The run does not wait for it any more"
    assert err == f"The observer {__name__}.Hanging fails: {text}\n"
