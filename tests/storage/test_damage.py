"""A stored result of which a byte has changed is computed again or refused by name; nothing uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import PROGRAM
from small_pipeline import DIR, inside, install, small
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.planning.plan import Action
from when_ml_pipeline_meets_hydra.runs import RunObserver
from when_ml_pipeline_meets_hydra.storage import durable_files
from when_ml_pipeline_meets_hydra.storage.store import Store

WORDS = ["c=analysis,exptests", "modeling/param=small", "gates.tests.latency=null"]
FOLDS = ["c=validation,intervals", "modeling/model=ensemble", "m_param.n_candidates=2", "m_param.folds=2"]
FOLDS += ["modeling/validation=kfold", "validation.k=2", "interval.coverage=0.9"]
PROFILE = ["c=preprocessing", "c/preprocessing_sub=profile"]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with the results of the whole chain."""
    home = tmp_path_factory.mktemp("chain") / "home"
    for words in (WORDS, PROFILE):
        assert run([*words, f"home={home}"], multirun=True).exit_code == 0
    yield home
    shutil.rmtree(home)


@pytest.fixture
def chain(computed: Path, tmp_path: Path) -> Path:
    """A copy of that home."""
    return Path(shutil.copytree(computed, tmp_path / "copy"))


def flip(file: Path, place: int | None = None) -> None:
    """Change one bit, of the byte in the middle by default, and leave size and time as they are."""
    at, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))


def files_of(home: Path) -> list[Path]:
    return sorted(f for f in (home / "store").glob("??/*/**/*") if f.is_file() and f.name != "log.txt")


def key_of(file: Path, home: Path) -> str:
    return file.relative_to(home / "store").parts[1]


def test_each_byte_that_changed_is_found_before_anything_runs(chain: Path) -> None:
    names = _each_is_found(chain, WORDS, PROFILE)
    assert names >= {"artifact.json", "inputs.json", "model.onnx", "train.parquet", "preprocessing.onnx", "gates.json"}
    assert names >= {"profile.json", "profile.html", "report.json", "report.html", "predictions.parquet"}


@pytest.mark.integration
def test_each_byte_of_folds_and_members_is_found(own_home: Path) -> None:
    assert run([*FOLDS, f"home={own_home}"], multirun=True).exit_code == 0
    assert _each_is_found(own_home, FOLDS) >= {"model.onnx", "members.json", "scores.json"}


def _each_is_found(home: Path, *commands: list[str]) -> set[str]:
    """Change a byte in the middle of each file, and the first and last of those that describe a result."""
    store, owners = Store(home / "store"), dict[str, list[str]]()
    for words in commands:
        steps = prepare([*words, f"home={home}"], multirun=True).plan.steps
        assert {s.action for s in steps} == {Action.STORED}
        owners |= {step.key: words for step in steps}
    files = files_of(home)
    assert {key_of(file, home) for file in files} == set(owners)
    for file in files:
        key = key_of(file, home)
        for place in (0, None, -1) if file.name in ("artifact.json", "inputs.json") else (None,):
            flip(file, place)
            prepared = prepare([*owners[key], f"home={home}"], multirun=True)
            again = {s.key: s for s in prepared.plan.steps if s.action is Action.RUN}
            assert list(again) == [key], file
            assert file.name in again[key].reason
            assert str(file) in next(store.verify())
            flip(file, place)
    assert list(store.verify()) == []
    return {file.name for file in files}


def test_files_are_read_once_per_process(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, digest = list[Path](), durable_files.sha256

    def noted(file: Path) -> str:
        reads.append(file)
        return digest(file)

    monkeypatch.setattr(durable_files, "sha256", noted)
    for _ in range(2):
        assert run([*WORDS, f"home={chain}"], multirun=True).exit_code == 0
    stored = [file for file in reads if file.is_relative_to(chain / "store")]
    assert len(stored) == len(set(stored)) > 10


def test_what_is_damaged_is_computed_again_with_a_word(chain: Path) -> None:
    before = run([*WORDS, f"home={chain}"], multirun=True)
    assert {o.status for o in before.outcomes} == {Status.STORED}
    damaged = {(stage, file) for stage, file in _one_file_each(chain)}
    for _, file in damaged:
        flip(file)
    done = inside(*WORDS, f"home={chain}", "--multirun")
    assert done.code == 0, done.err
    for stage, file in damaged:
        (note,) = [line for line in done.err.splitlines() if line.startswith(f"Note: the stored result of {stage} ")]
        assert note.endswith(f"is damaged and computed again (files/{file.name}: changed since it was stored)")
    after = run([*WORDS, f"home={chain}"], multirun=True)
    assert {o.status for o in after.outcomes} == {Status.STORED}
    assert after.metrics == pytest.approx(before.metrics, rel=1e-9)
    assert list(Store(chain / "store").verify()) == []


def _one_file_each(home: Path) -> Iterator[tuple[str, Path]]:
    for step in prepare([*WORDS, f"home={home}"], multirun=True).plan.steps:
        folder = home / "store" / step.key[:2] / step.key / "files"
        yield step.call.stage, max(folder.iterdir(), key=lambda file: file.stat().st_size)


class Damages(RunObserver):
    """Changes the model after it was loaded."""

    def step_ended(self, outcome: Outcome) -> None:
        if outcome.step.call.stage == "modeling" and outcome.artifact:
            flip(outcome.artifact.path / "model.onnx")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_file_that_changes_while_a_run_goes_on_is_not_handed_to_a_step(chain: Path, n_jobs: int) -> None:
    words = ["c=prediction", "modeling/param=small", "rows.name=others", f"home={chain}"]
    words += [f"hydra.launcher.n_jobs={n_jobs}"]
    done = run(words, observer=Damages())
    assert done.exit_code == ExitCode.STEP_FAILED
    error = done.outcomes[-1].error or ""
    assert error.endswith("model.onnx: changed since it was stored. The command that made it computes it again")
    assert run(words).exit_code == 0


def test_a_replay_notices_that_a_file_was_written_to(chain: Path) -> None:
    time.sleep(1.1)  # files that have just changed are not trusted
    words = ("c=modeling", "modeling/param=small", f"home={chain}")
    assert inside(*words).code == 0
    model = next(f for f in files_of(chain) if f.name == "model.onnx")
    flip(model)
    done = inside(*words)
    assert (done.code, "modeling train is damaged" in done.err) == (0, True)


class Collects(RunObserver):
    """Removes all results that it may after each step, as ``store gc`` at another terminal does."""

    said = ""

    def step_ended(self, outcome: Outcome) -> None:
        self.said += inside("store", "gc", "--unused-for", "0").out


def test_gc_spares_what_a_running_run_holds(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    install(monkeypatch)
    small("c=fit", "source.numbers=[4,5]")
    collects = Collects()
    done = small("c=fit", observer=collects)
    assert (done.exit_code, [o.status for o in done.outcomes]) == (0, ["done", "done"]), [
        o.error for o in done.outcomes
    ]
    assert "and 2 results" in collects.said, "those of the run before"
    assert [o.status for o in small("c=fit").outcomes] == ["stored", "stored"]
    assert "and 2 results" in inside("store", "gc", "--unused-for", "0").out


@pytest.mark.integration
def test_gc_in_a_loop_removes_nothing_that_a_run_needs(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    install(monkeypatch)
    store, is_over = Store(own_home / "store"), threading.Event()

    def collect() -> None:
        while not is_over.is_set():
            store.unfinished(remove=True)
            for result in store.results():
                store.remove(result.key)

    with ThreadPoolExecutor(1) as pool:
        collecting = pool.submit(collect)
        try:
            for _ in range(8):
                assert small("c=fit,gather,ship", "source.seconds=0.02", multirun=True).exit_code == 0
        finally:
            is_over.set()
        collecting.result()
    assert list(store.verify()) == []


@pytest.mark.integration
def test_gc_in_a_loop_beside_four_runs(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    """Each a program of its own; two of them share their results."""
    install(monkeypatch)
    words = (PROGRAM, *DIR, "c=fit,gather,ship", "source.seconds=0.2", "--multirun")
    silent = subprocess.DEVNULL
    runs = [subprocess.Popen([*words, f"knobs.rounds={n}"], stdout=silent, stderr=silent) for n in (1, 1, 2, 3)]
    collected = 0
    while any(run.poll() is None for run in runs):
        assert inside("store", "gc", "--unused-for", "0").code == 0
        collected += 1
    assert [run.returncode for run in runs] == [0] * 4
    assert collected > 3
    assert list(Store(own_home / "store").verify()) == []
