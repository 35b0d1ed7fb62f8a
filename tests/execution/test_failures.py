"""Steps that end badly, and runs that are ended, with real processes: nothing wrong is stored, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import PROGRAM, Finished
from needed import not_here
from small_pipeline import EXAMPLES, TRACE, inside, install, steps_run
from when_ml_pipeline_meets_hydra.storage.store import Store

ILL = ("--config-dir", str(EXAMPLES / "ill"))
SWEEP = (*ILL, "c=make,use,act", "--multirun", "+seconds=0.1")

IN_PROCESS, WORKERS = 0, 2


@pytest.fixture(autouse=True)
def _ill(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(monkeypatch)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by all that is started as well
    yield
    signal.signal(signal.SIGHUP, before)


def settings(n_jobs: int, on_error: str) -> list[str]:
    return [f"on_error={on_error}"] + [f"hydra.launcher.n_jobs={n_jobs}"] * bool(n_jobs)


def started(*words: str, n_jobs: int = IN_PROCESS, on_error: str = "continue") -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([PROGRAM, *words, *settings(n_jobs, on_error)], stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> Finished:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in out + err
    return Finished(process.returncode, out, err)


def here(*words: str, n_jobs: int = IN_PROCESS, on_error: str = "continue") -> Finished:
    """The program in this process; its workers are processes all the same."""
    done = inside(*words, *settings(n_jobs, on_error))
    assert "Traceback" not in done.out + done.err
    return done


def program(*words: str, n_jobs: int = IN_PROCESS, on_error: str = "continue") -> Finished:
    return finish(started(*words, n_jobs=n_jobs, on_error=on_error))


def steps(number: int = -1) -> list[dict[str, object]]:
    """What became of the steps of a run, as its record says."""
    found = sorted(Path(os.environ["WMH_HOME"], "runs").iterdir())[number].name
    shown = inside("runs", "show", found, "--json")
    return list(json.loads(shown.out)["steps"])


def statuses(number: int = -1) -> list[str]:
    return sorted(f"{s['stage']} {s['status']}" for s in steps(number))


def ran(*names: str) -> list[int]:
    """How often each step was really computed."""
    counted = steps_run()
    return [counted[name] for name in names]


def pids(what: str = "") -> set[int]:
    """The processes that noted ``what``, or whose id is a part of it."""
    trace = Path(os.environ[TRACE])
    lines = [line.split() for line in trace.read_text().splitlines()] if trace.exists() else []
    noted = {int(name.removeprefix("child")) for name, _ in lines if name.startswith("child")}
    return noted if what == "child" else {int(pid) for name, pid in lines if what in ("", name)}


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(what: str, process: subprocess.Popen[str], times: int = 1) -> None:
    while steps_run()[what] < times:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def all_end(processes: set[int]) -> None:
    """Wait until processes have ended; a test that waits for ever fails."""
    assert processes
    while any(map(is_alive, processes)):
        time.sleep(0.02)


@pytest.fixture
def store(own_home: Path) -> Iterator[Store]:
    """The store, which has to be whole at the end, with nothing left that was not finished."""
    store = Store(own_home / "store")
    yield store
    assert list(store.verify()) == []
    assert "0 problems" in inside("store", "verify").out


ENDS = {
    "raise": "ValueError: not like that",
    "exit": "SystemExit: 7",
    "be killed": "its process was killed by SIGKILL (signal 9); out of memory?",
    "crash": "its process was killed by SIGSEGV (signal 11)",
    "leave": "its process ended with exit status 3",
    "leave a child": "its process ended with exit status 3",
}


@pytest.mark.integration("hydra_plugins.hydra_joblib_launcher")
@pytest.mark.parametrize("how", ["raise", "be killed"])
def test_a_sweep_by_joblib_in_which_one_training_fails(how: str, store: Store) -> None:
    code, out, err = program(*SWEEP, f"+how=go well,{how},go on", "hydra/launcher=joblib", n_jobs=2)
    assert code == 1
    assert sorted(line for line in out.splitlines() if "acted" in line) == ["acted on go on", "acted on go well"]
    assert (ENDS[how] if how == "raise" else "SIGKILL") in err
    assert statuses() == ["act done", "act done", "act skipped", "make done", "use done", "use done", "use failed"]
    assert ran("make", "act") == [1, 2]


@pytest.mark.parametrize(("hows", "n_jobs"), [(tuple(ENDS), WORKERS), (("raise", "exit"), IN_PROCESS)])
def test_a_sweep_in_which_trainings_fail(hows: tuple[str, ...], n_jobs: int, store: Store) -> None:
    words, number = (*SWEEP, f"+how=go well,{','.join(hows)},go on"), len(hows)
    code, out, err = here(*words, n_jobs=n_jobs)
    assert code == 1
    assert sorted(line for line in out.splitlines() if "acted" in line) == ["acted on go on", "acted on go well"]
    acts = ["act done", "act done", *["act skipped"] * number]
    assert statuses() == [*acts, "make done", "use done", "use done", *["use failed"] * number]
    assert ran("make", "use", "act") == [1, 2 + number, 2]
    run = sorted((store.root.parent / "runs").iterdir())[-1]
    logs = [(run / str(s["log"])).read_text() for s in steps() if s["status"] == "failed"]
    for how in hows:
        assert ENDS[how] in err
        (log,) = (log for log in logs if log.startswith(f"about to {how}\n"))
        assert ENDS[how] in log
        assert ("Segmentation fault" in log) == (how == "crash")
    assert store.unfinished() == []
    if pids("child"):
        all_end(pids("child"))

    assert here(*words, n_jobs=n_jobs).code == 1
    assert ran("make", "use", "act") == [1, 2 + 2 * number, 4], "only what is missing is computed again"
    assert statuses() == [*acts, "make stored", *["use failed"] * number, "use stored", "use stored"]


@pytest.mark.parametrize(("how", "status"), [("be killed", -9), ("crash", -11)])
def test_a_step_in_process_may_end_the_program(how: str, status: int, store: Store) -> None:
    process = started(*SWEEP, f"+how=go well,{how},go on")
    process.communicate(timeout=120)
    assert process.returncode == status
    assert " killed " in inside("runs", "list").out
    assert inside(*SWEEP, "+how=go well,go on").code == 0
    assert ran("make", "use") == [1, 3]
    assert len(store.unfinished()) == 1


@pytest.mark.parametrize("n_jobs", [IN_PROCESS, WORKERS])
def test_stop_at_the_first_error(n_jobs: int, store: Store) -> None:
    words = (*SWEEP, "+how=raise,go well,go on,crash,leave")
    code, _, err = here(*words, n_jobs=n_jobs, on_error="stop")
    assert (code, "ValueError: not like that" in err) == (1, True)
    reasons = {s["reason"] for s in steps() if s["status"] == "skipped"}
    assert reasons == {"use run failed", "the run stops at the first error"}
    assert len(steps()) == 11, "what did not run is said"
    assert steps_run()["use"] <= max(n_jobs, 1) + 1, "those that were running may end"
    assert statuses().count("use done") + statuses().count("use failed") == steps_run()["use"]


HANGS = [(how, n) for n in (IN_PROCESS, WORKERS) for how in ("hang", "hang in c")]
HANGS += [("have children", IN_PROCESS), ("ignore", WORKERS)]


@pytest.mark.parametrize(
    ("how", "n_jobs", "number"),
    [
        ("ignore", IN_PROCESS, signal.SIGINT),
        ("have children", WORKERS, signal.SIGINT),
        ("hang in c alone", WORKERS, signal.SIGINT),
        ("hang", IN_PROCESS, signal.SIGTERM),
        ("hang", WORKERS, signal.SIGHUP),
        *(pytest.param(how, n, signal.SIGINT, marks=pytest.mark.integration) for how, n in HANGS),
    ],
)
def test_an_interrupted_run_ends_at_once_and_goes_on(how: str, n_jobs: int, number: int, store: Store) -> None:
    process = started(*SWEEP, f"+how=go well,{how},go on", n_jobs=n_jobs)
    wait_until("hangs", process)
    if n_jobs:  # the others are done, but for the effect that follows the one which is missing
        wait_until("use", process, times=3)
        time.sleep(0.3)
    process.send_signal(number)
    code, _, err = finish(process)
    assert code == 130
    assert "use run: interrupted" in err
    done = ["act done", "use done"]
    assert statuses() == sorted([*done, *(["use done"] if n_jobs else []), "make done", "use interrupted"])
    assert inside("runs", "list").out.split("\n")[1].count(" interrupted ") == 1
    all_end(pids() | pids("child"))
    assert "\n" not in (error := str(next(s["error"] for s in steps() if s["status"] == "interrupted"))), error

    before = steps_run()
    assert inside(*SWEEP, "+how=go well,go on").code == 0
    assert steps_run()["use"] - before["use"] == (0 if n_jobs else 1), "what is finished is kept"


def test_a_script_without_a_guard_runs_once(store: Store) -> None:
    Path("script.py").write_text("from when_ml_pipeline_meets_hydra.cli import main\nprint('once')\nmain()\n")
    words = [sys.executable, "script.py", *SWEEP, "+how=go well,use processes", "hydra.launcher.n_jobs=2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("once") == 1
    assert "sum 3\n" in done.stdout


def test_a_second_signal_ends_it_at_once(store: Store) -> None:
    process = started(*SWEEP, "+how=ignore")
    wait_until("hangs", process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    assert statuses() == ["make done", "use interrupted"]


def test_a_signal_that_was_ignored_before_stays_ignored(store: Store) -> None:
    process = subprocess.Popen(
        [PROGRAM, *SWEEP, "+how=go well"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_until("make", process)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.parametrize("how", ["have children", "hang in c alone"])
def test_when_the_program_is_killed_its_workers_end_with_all_they_started(how: str, store: Store) -> None:
    process = started(*SWEEP, f"+how={how},go well", n_jobs=WORKERS)
    wait_until("hangs", process)
    process.kill()
    process.communicate()
    all_end(pids() | pids("child"))
    assert " killed " in inside("runs", "list").out
    assert here(*SWEEP, "+how=go well", n_jobs=WORKERS).code == 0
    assert steps_run()["make"] == 1


@pytest.mark.parametrize("n_jobs", [IN_PROCESS, WORKERS])
def test_two_sweeps_on_a_cold_store_share_the_work(n_jobs: int, store: Store) -> None:
    hows = "+how=go well,go on,tell threads,use processes" if n_jobs else "+how=go well,go on"
    both = [started(*SWEEP, hows, n_jobs=n_jobs) for _ in range(2)]
    assert [finish(process).code for process in both] == [0, 0]
    number = hows.count(",") + 1
    assert ran("make", "use", "act") == [1, number, 2 * number]
    assert store.unfinished() == []
    for run in (-1, -2):
        assert {str(s["status"]) for s in steps(run)} <= {"done", "stored"}


@pytest.mark.parametrize("n_jobs", [IN_PROCESS, WORKERS])
@pytest.mark.integration
def test_of_two_sweeps_on_a_cold_store_one_is_killed(
    n_jobs: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*SWEEP, "+how=go well,go on")
    monkeypatch.setenv("ILL_SECONDS", "60")
    first = started(*words, n_jobs=n_jobs)
    monkeypatch.delenv("ILL_SECONDS")
    wait_until("make", first)
    second = started(*words, n_jobs=n_jobs)
    assert second.stderr
    assert "make run: waiting for run 20" in second.stderr.readline()
    first.kill()
    first.communicate()
    assert finish(second).code == 0
    assert ran("make", "use", "act") == [2, 2, 2]
    assert store.unfinished() == []


def test_what_is_computed_elsewhere_is_left_for_later(store: Store) -> None:
    """While another run computes one training, the others are done."""
    other = started(*SWEEP, "+how=hang", n_jobs=1)
    wait_until("hangs", other)
    mine = started(*SWEEP, "+how=hang,go well,go on")
    wait_until("use", mine, times=3)
    assert steps_run()["hangs"] == 1
    other.kill()
    other.communicate()
    wait_until("hangs", mine, times=2)
    mine.send_signal(signal.SIGINT)
    code, _, err = finish(mine)
    assert code == 130
    assert err.count("use run: waiting for run 20") == 1


@pytest.fixture
def small_disk(own_home: Path) -> Iterator[Path]:
    """A store on a disk of 200 kB."""
    disk = own_home / "store"
    disk.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        not_here(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("n_jobs", [IN_PROCESS, WORKERS])
def test_a_disk_that_is_full(n_jobs: int, small_disk: Path, store: Store) -> None:
    Path("many.txt").write_text("1\n" * 150_000)
    Path("few.txt").write_text("1\n" * 10)
    conf = str(EXAMPLES / "small" / "conf")
    words = ("--config-dir", conf, "c=gather", "gather/source=file", "source.path=many.txt,few.txt", "--multirun")
    few = "done"
    if n_jobs == WORKERS:  # side by side, the other one may fill the disk before this one is stored
        assert here(*words[:-2], "source.path=few.txt", n_jobs=n_jobs).code == 0
        few = "stored"
    code, _, err = here(*words, n_jobs=n_jobs)
    assert (code, statuses()) == (1, sorted([f"gather {few}", "gather failed"]))
    assert "No space left on device" in err
    assert store.unfinished() == []
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    assert here(*words, n_jobs=n_jobs).code == 0
    assert statuses() == ["gather done", "gather stored"]


@pytest.mark.parametrize("n_jobs", [IN_PROCESS, WORKERS])
def test_a_store_that_can_only_be_read(n_jobs: int, small_disk: Path, store: Store) -> None:
    assert here(*ILL, "c=use", "+how=go well", "+seconds=0").code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    words = (*ILL, "c=use", "+how=go well,go on", "+seconds=0", "--multirun")
    code, _, err = here(*words, n_jobs=n_jobs)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert (code, statuses()) == (1, ["make stored", "use failed", "use stored"])
    assert "Read-only file system" in err
    assert here(*words, n_jobs=n_jobs).code == 0
    assert statuses() == ["make stored", "use done", "use stored"]
