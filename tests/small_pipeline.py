"""The pipeline of ``examples/small`` at the fingertips of tests: quick stages, written as somebody outside would."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from conftest import HOME, Finished
from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.cli import main
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.composing.job import Composed
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.runs import Prepared, Run, RunObserver

EXAMPLES = Path(__file__).parent / "examples"
SMALL = EXAMPLES / "small"
CONF = str(SMALL / "conf")
DIR = ("--config-dir", CONF)
PACKAGES = "WMH_PACKAGES"
TRACE = "SMALL_TRACE"


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the package on the path of this process and of those that it starts."""
    monkeypatch.syspath_prepend(str(SMALL))
    monkeypatch.setenv("PYTHONPATH", str(SMALL))
    monkeypatch.setenv(PACKAGES, "small")
    monkeypatch.setenv(TRACE, str(Path.cwd() / "trace.txt"))


@contextlib.contextmanager
def living_in(home: Path) -> Iterator[None]:
    """Run the small pipeline with this home, for fixtures of modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv(HOME, str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
        install(patch)
        yield


def steps_run() -> Counter[str]:
    """How often each step was really computed, in all processes."""
    trace = Path(os.environ[TRACE])
    return Counter(line.split()[0] for line in trace.read_text().splitlines()) if trace.exists() else Counter()


def killing(what: str) -> threading.Thread:
    """A thread that kills the first process that notes this step."""

    def kill() -> None:
        trace, until = Path(os.environ["SMALL_TRACE"]), time.monotonic() + 100
        while time.monotonic() < until:
            for line in trace.read_text().splitlines() if trace.exists() else []:
                if line.startswith(what):
                    os.kill(int(line.split()[1]), signal.SIGKILL)
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def inside(*words: str, env: Mapping[str, str] | None = None) -> Finished:
    """The program in this process, which is quicker than in one of its own."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        try:
            code = main(list(words))
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return Finished(code, out.getvalue(), err.getvalue())


def small(*overrides: str, multirun: bool = False, observer: RunObserver | None = None) -> Run:
    """A run of the small pipeline through the API."""
    return run(overrides, multirun=multirun, config_dirs=[CONF], observer=observer)


def as_killed(record: Record) -> Path:
    """Make a record that of a run whose process was killed; returns its ``steps.jsonl``."""
    head = {k: v for k, v in record.head.items() if k not in ("counts", "metrics", "digests")}
    ended = {"status": "running", "exit_code": None, "seconds": None}
    (record.folder / "run.json").write_text(json.dumps({**head, **ended}))
    return record.folder / "steps.jsonl"


def small_plan(*overrides: str, multirun: bool = False) -> Prepared:
    """Its plan."""
    return prepare(overrides, multirun=multirun, config_dirs=[CONF])


def small_jobs(*overrides: str, multirun: bool = False, dirs: Sequence[str] = ()) -> Composed:
    """Its composed jobs."""
    return compose(overrides, multirun=multirun, config_dirs=[CONF, *dirs])


def small_calls(*overrides: str, multirun: bool = False, dirs: Sequence[str] = ()) -> Bound:
    """Its bound calls."""
    return bind(small_jobs(*overrides, multirun=multirun, dirs=dirs))


def wrong(*overrides: str, multirun: bool = False, dirs: Sequence[str] = ()) -> dict[str, str]:
    """What is wrong with a command: key → the whole problem in one line. Fails where nothing is wrong."""
    with pytest.raises(BadInput) as caught:
        prepare(overrides, multirun=multirun, config_dirs=[CONF, *dirs])
    found = caught.value.problems
    return {key: "\n".join(str(p) for p in found if p.key == key) for key in dict.fromkeys(p.key for p in found)}


def write(folder: Path, files: dict[str, str]) -> str:
    """Write option files below ``folder``; returns it, for ``--config-dir``."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return str(folder)


def forget(package: str) -> None:
    """Take a package that a test wrote out of the interpreter's memory."""
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        del sys.modules[name]
