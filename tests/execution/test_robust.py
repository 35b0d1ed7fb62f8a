"""Killed at any moment, started twice, without room or rights: never a wrong result, never half of one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import PROGRAM
from needed import not_here
from small_pipeline import DIR, inside, install, small, steps_run
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.storage.store import Store

KILLS = 16
WORDS = (*DIR, "c=gather,fit,ship", "source.numbers=[1,2,3,4,5,6,7]", "--multirun")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def started(*words: str, **where: str) -> subprocess.Popen[str]:
    env = {**os.environ, **where}
    return subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def is_right(out: str) -> bool:
    return "ada announces line at board: line 14.0" in out


@pytest.mark.slow
@pytest.mark.integration
def test_killed_at_any_moment_the_same_command_goes_on(own_home: Path) -> None:
    """Half of the kills come while a step computes or is stored, half at any time; seeded, to be repeatable."""
    moments, killed = random.Random(20261121), 0
    for number in range(KILLS):
        before = steps_run().total()
        process = started(*WORDS, "source.seconds=0.1", f"force=[{'gather' if number % 4 else 'fit'}]")
        while number % 2 and steps_run().total() == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.45) if number % 2 else moments.uniform(0.1, 1.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert list(Store(own_home / "store").verify()) == [], "what is there is whole"
    assert killed >= KILLS // 2

    last = started(*WORDS)
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert is_right(out)
    assert " 0 problems" in inside("store", "verify").out
    assert inside("store", "gc").code == 0
    assert not list((own_home / "store" / "tmp").glob("*"))
    again = inside(*WORDS)
    assert "2 stored, 1 done" in again.err


def test_two_processes_that_start_together_compute_each_step_once() -> None:
    both = [started(*WORDS, "source.seconds=0.3") for _ in range(2)]
    outs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert all(is_right(out) for out, _ in outs)
    assert steps_run() == {"gather": 1, "fit": 1, "ship": 2}
    assert sum("gather run: waiting for run 20" in err for _, err in outs) <= 1
    assert " 0 problems" in inside("store", "verify").out
    assert len(inside("runs", "list").out.splitlines()) == 3


def test_a_waiting_process_takes_over_from_one_that_is_killed() -> None:
    first = started(*WORDS, "source.seconds=20")
    while not steps_run():
        time.sleep(0.02)
    second = started(*WORDS, "source.seconds=0")
    assert second.stderr
    assert "gather run: waiting for run 20" in (line := second.stderr.readline())
    assert f"(process {first.pid} on " in line
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert is_right(out)
    assert steps_run() == {"gather": 2, "fit": 1, "ship": 1}


def test_without_the_store_everything_is_computed_again(own_home: Path) -> None:
    small("c=fit")
    subprocess.run(["rm", "-r", str(own_home / "store")], check=True)
    assert [str(o.status) for o in small("c=fit").outcomes] == ["done", "done"]


@pytest.mark.parametrize("lost", ["locks", "latest", "runs"])
def test_losing_coordination_costs_no_answer(own_home: Path, lost: str) -> None:
    small("c=fit")
    subprocess.run(["rm", "-r", str(own_home / (lost if lost == "runs" else f"store/{lost}"))], check=True)
    again = small("c=fit", "knobs.rounds=3")
    assert [str(o.status) for o in again.outcomes] == ["stored", "done"]
    assert again.outcomes[1].reason == ("new" if lost == "latest" else "knobs.rounds 10 → 3")


@pytest.mark.parametrize("place", ["store", "runs", "."])
def test_a_file_in_the_place_of_a_folder_is_said(own_home: Path, place: str) -> None:
    file = own_home / place
    file.parent.mkdir(parents=True, exist_ok=True)
    if place == ".":
        file = own_home
        file.rmdir() if file.exists() else None
    file.write_text("in the way")
    code, _, err = inside(*DIR, "c=gather")
    assert code in (ExitCode.BAD_INPUT, ExitCode.STEP_FAILED)
    assert str(file) in err
    assert "Unexpected" not in err
    assert "Traceback" not in err
    assert file.read_text() == "in the way"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        not_here(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_fails_and_leaves_nothing_half(tiny_disk: Path) -> None:
    home = f"home={tiny_disk}/home"
    filler = tiny_disk / "filler"
    Path("numbers.txt").write_text("\n".join(map(str, range(20_000))))
    numbers = ("gather/source=file", "source.path=numbers.txt")
    for free in (0, 4, 12, 40, 80):
        with filler.open("wb") as stream:
            try:
                stream.write(b"x" * 1024 * (200 - free))
                stream.flush()
            except OSError:
                pass
        code, out, err = inside(*DIR, "c=gather", home, *numbers)
        assert code != ExitCode.DONE
        assert "No space left on device" in err
        assert "Traceback" not in out + err
        assert "Unexpected" not in err
        assert list(Store(tiny_disk / "home" / "store").verify()) == []
        filler.unlink()
    assert inside(*DIR, "c=gather", home, "source.numbers=[1]").code == 0
    assert list(Store(tiny_disk / "home" / "store").verify()) == []


@pytest.fixture
def read_only(tiny_disk: Path) -> Iterator[Path]:
    """A home with a result in it, on a disk that then is read only."""
    assert inside(*DIR, "c=gather", f"home={tiny_disk}/home").code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    yield tiny_disk / "home"
    subprocess.run(["mount", "-o", "remount,rw", str(tiny_disk)], check=True)


def test_a_home_that_can_only_be_read(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = inside(*DIR, "c=gather", f"home={read_only}")
    assert code == ExitCode.BAD_INPUT
    assert f"home={read_only}: nothing can be written there" in err
    assert inside("plan", *DIR, "c=gather", f"home={read_only}").code == 0
    monkeypatch.setenv("WMH_HOME", str(read_only))
    assert " 0 problems" in inside("store", "verify").out
    assert inside("store", "list").code == 0
    assert inside("runs", "show", "last").code == 0


def test_a_reader_that_goes_away_stops_nothing(own_home: Path) -> None:
    process = started(*WORDS, "source.seconds=0.1")
    assert process.stdout
    process.stdout.close()
    process.wait(timeout=120)
    assert process.returncode == 0
    assert steps_run() == {"gather": 1, "fit": 1, "ship": 1}
    assert process.stderr
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("words", ["c=modeling --help", "plan c=modeling", "c=modeling --cfg job", "runs list"])
def test_a_reader_that_reads_nothing_is_no_error(words: str) -> None:
    command = f"{PROGRAM} {words} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("words", ["--help", "plan c=modeling", "c=modeling --cfg job"])
def test_output_that_cannot_be_written_is_said(words: str) -> None:
    done = subprocess.run(["bash", "-c", f"{PROGRAM} {words} > /dev/full"], capture_output=True, text=True, timeout=120)
    assert done.returncode == ExitCode.STEP_FAILED
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_sigterm_ends_it_and_the_same_command_goes_on() -> None:
    process = started(*WORDS, "source.seconds=20")
    while not steps_run():
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert inside(*WORDS, "source.seconds=0").code == 0
    assert " 0 problems" in inside("store", "verify").out
