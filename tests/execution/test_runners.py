"""Who computes steps, and in what order: in process, in worker processes, in waves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_pipeline import EXAMPLES, forget, install, steps_run, write
from when_ml_pipeline_meets_hydra.binding.call import Call
from when_ml_pipeline_meets_hydra.binding.settings import OnError
from when_ml_pipeline_meets_hydra.execution.execute import ExecutionContext, execute
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner
from when_ml_pipeline_meets_hydra.execution.runners.processes import Workers
from when_ml_pipeline_meets_hydra.execution.runners.waves import Launched, Waves
from when_ml_pipeline_meets_hydra.execution.schedule import Schedule
from when_ml_pipeline_meets_hydra.execution.step import Locked, Task, compute
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.pipeline import prepare
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step
from when_ml_pipeline_meets_hydra.runs import Prepared
from when_ml_pipeline_meets_hydra.storage.store import Store


@pytest.fixture(autouse=True)
def _ill(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def prepared(*overrides: str) -> Prepared:
    return prepare(("c=make,use,act", "+seconds=0", *overrides), multirun=True, config_dirs=[str(EXAMPLES / "ill")])


class Watcher(Observer):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.printed = ""
        self.progress: list[tuple[float, float | None, str]] = []
        self.started: list[str] = []

    def step_started(self, step: Step) -> None:
        self.started.append(step.call.stage)

    def step_printed(self, step: Step, text: str) -> None:
        self.printed += text

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        self.progress.append((done, total, message))


def around(ready: Prepared, runner: Runner, observer: Observer | None = None, **others: Any) -> ExecutionContext:
    return ExecutionContext(
        store=ready.store,
        run_id="20260101-000000-0000",
        folder=ready.home / "runs" / "20260101-000000-0000",
        observer=observer or Observer(),
        redactor=ready.bound.redactor,
        shown_redactor=ready.shown_redactor,
        runner=runner,
        **others,
    )


def outcomes(ready: Prepared, runner: Runner, observer: Observer | None = None, **others: Any) -> list[Outcome]:
    return list(execute(ready.plan, around(ready, runner, observer, **others)))


def told(found: Sequence[Outcome]) -> list[str]:
    return sorted(f"{o.step.call.stage} {o.status}" for o in found)


def pids(name: str) -> set[int]:
    lines = Path(os.environ["SMALL_TRACE"]).read_text().splitlines()
    return {int(line.split()[1]) for line in lines if line.split()[0] == name}


def test_workers_do_the_same_as_this_process() -> None:
    ready, watcher = prepared("+how=go well,raise,go on"), Watcher()
    found = outcomes(ready, Workers(2), watcher)
    assert told(found) == [
        *("act done", "act done", "act skipped", "make done"),
        *("use done", "use done", "use failed"),
    ]
    assert {line for line in watcher.printed.splitlines() if line.startswith("acted")} == {
        *("acted on go well", "acted on go on"),
    }
    assert watcher.progress == [(1, 2, "making")]
    by_stage = {o.step.call.stage: o for o in found if o.status is Status.DONE}
    assert by_stage["make"].log is None, "nothing was printed"
    assert by_stage["use"].log
    assert by_stage["use"].artifact
    assert by_stage["use"].artifact.path.is_dir()
    assert all(o.step in ready.plan.steps for o in found)


def test_a_worker_computes_one_step_after_the_other() -> None:
    outcomes(prepared("+how=go well,go on"), Workers(1))
    (worker,) = pids("make") | pids("use") | pids("act")
    assert worker != os.getpid()


def test_what_does_not_come_from_python_is_captured_in_workers(capfd: pytest.CaptureFixture[str]) -> None:
    watcher = Watcher()
    found = outcomes(prepared("+how=print without python"), Workers(1), watcher)
    (log,) = (o.log for o in found if o.step.call.stage == "use")
    assert log
    for text in ("from a library\n", "from a program\n", "about to print without python\n"):
        assert text in watcher.printed
        assert text in log.read_text()
    assert capfd.readouterr() == ("", "")


def test_workers_share_the_cores_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    watcher = Watcher()
    outcomes(prepared("+how=tell threads"), Workers(2), watcher)
    assert f"threads {max(1, len(os.sched_getaffinity(0)) // 2)} 7\n" in watcher.printed
    assert "OMP_NUM_THREADS" not in os.environ


def test_nothing_of_a_step_stands_in_the_process_list() -> None:
    ready = prepared("+how=hang", "+password=hunter2hunter2")
    runner = Workers(1)
    running = execute(ready.plan, around(ready, runner, Observer()))
    next(running)
    (worker,) = pids("make")
    command = Path(f"/proc/{worker}/cmdline").read_text()
    assert "when_ml_pipeline_meets_hydra.execution.runners.process_main" in command
    assert "hunter2" not in command
    assert "hang" not in command
    running.close()
    assert not Path(f"/proc/{worker}").exists()


def local(function: Callable[..., Any], **arguments: Any) -> Plan:
    call = Call(
        stage="s",
        subcommand="x",
        function=function,
        arguments=arguments,
        needs={},
        keyed={},
        code="",
        after=(),
        returns=None,
        is_effect=False,
    )
    return Plan(steps=(step("a" * 64, call=call),), requested={})


def step(key: str, after: Sequence[str] = (), call: Any = None, action: Action = Action.RUN) -> Step:
    return Step(key=key, call=call, inputs={}, needs={}, after=tuple(after), jobs=(0,), action=action, reason="new")


def run_local(plan: Plan, tmp_path: Path) -> Outcome:
    masks = Redactor()
    (found,) = execute(
        plan,
        ExecutionContext(
            store=Store(tmp_path / "store"),
            run_id="r",
            folder=tmp_path / "run",
            observer=Observer(),
            redactor=masks,
            shown_redactor=masks,
            runner=Workers(1),
        ),
    )
    return found


def test_what_cannot_be_pickled_is_said(tmp_path: Path) -> None:
    found = run_local(local(lambda: None), tmp_path)
    assert found.status is Status.FAILED
    assert (found.error or "").startswith("it cannot be sent to a worker process (")
    assert (found.error or "").endswith("have to stand at the top level of a module that can be imported")


def test_what_a_worker_cannot_import_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "py", {"only_here.py": "def f() -> None: ..."})
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path / "py"))
        import only_here  # type: ignore[import-not-found]
    found = run_local(local(only_here.f), tmp_path)
    forget("only_here")
    error = "it cannot be read in a worker process (ModuleNotFoundError: No module named 'only_here')"
    assert (found.error or "").startswith(error)


def test_a_function_of_the_main_module_is_refused() -> None:
    code = (
        "import sys, tempfile; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from execution.test_runners import local, run_local\n"
        "def f() -> None: ...\n"
        "print(run_local(local(f), Path(tempfile.mkdtemp())).error)\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "f is defined in the main module" in done.stdout


class Printed(Observer):
    """Keeps what steps print."""

    text = ""

    def step_printed(self, step: Step, text: str) -> None:
        self.text += text


def computed(task: Task) -> tuple[Outcome | Locked, str]:
    printed = Printed()
    return compute(task, printed), printed.text


class InPool:
    """A launcher as others are: each task in a process, all at once, then all results."""

    def __init__(self) -> None:
        self.waves: list[list[str]] = []

    def __call__(self, tasks: Sequence[Task]) -> list[Launched]:
        self.waves.append([task.step.call.stage for task in tasks])
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(computed, task) for task in tasks]
            return [(error, "") if (error := job.exception()) else job.result() for job in jobs]  # type: ignore[misc]


@pytest.mark.integration
def test_waves_are_one_for_each_level_and_hold_no_stored_step() -> None:
    launch, watcher = InPool(), Watcher()
    found = outcomes(prepared("+how=go well,raise,go on"), Waves(launch), watcher)
    assert launch.waves == [["make"], ["use"] * 3, ["act"], ["act"]]
    assert "acted on go well\n" in watcher.printed
    assert "ValueError: not like that" in {o.error for o in found}
    assert told(found).count("use done") == 2
    assert os.getpid() not in pids("use")
    launch.waves.clear()
    outcomes(prepared("+how=go well,go on"), Waves(launch))
    assert launch.waves == [["act"], ["act"]]


@pytest.mark.integration
def test_a_job_of_a_wave_may_end_with_an_exception() -> None:
    found = outcomes(prepared("+how=go well,leave"), Waves(InPool()))
    failed = [o for o in found if o.status is Status.FAILED]
    assert failed
    assert all((o.error or "").startswith("its job ended with BrokenProcessPool: ") for o in failed)
    assert told(found).count("act skipped") == len(failed), "and only those"
    assert told(outcomes(prepared("+how=go well"), Waves(InPool())))[:2] == ["act done", "make stored"]


class Telling:
    """A context that can be pickled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        print("begin", self.name)

    def __exit__(self, *_: object) -> None:
        print("end", self.name)


@pytest.mark.parametrize("runner", [InProcess(), Workers(1)], ids=["in process", "workers"])
def test_a_context_is_entered_around_each_function(runner: Runner) -> None:
    watcher = Watcher()
    outcomes(prepared("+how=go well"), runner, watcher, step_context=lambda step: Telling(step.call.stage))
    assert watcher.printed.splitlines() == [
        *("begin make", "end make"),
        *("begin use", "about to go well", "end use"),
        *("begin act", "acted on go well", "end act"),
    ]


def test_a_context_that_fails_fails_the_step() -> None:
    ready = prepared("+how=go well")
    first, *others = outcomes(ready, InProcess(), step_context=lambda step: chdir("nowhere"))
    assert (first.error or "").startswith("FileNotFoundError: ")
    assert told(others) == ["act skipped", "use skipped"]


def test_a_run_may_be_left_in_the_middle() -> None:
    """Whoever stops to ask for outcomes leaves no process behind."""
    ready = prepared("+how=hang,go well")
    running = execute(ready.plan, around(ready, Workers(2)))
    assert [next(running).step.call.stage for _ in range(2)] == ["make", "use"]
    while not steps_run()["hangs"]:
        time.sleep(0.02)
    running.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids("make") | pids("use"))


Graph = Mapping[int, frozenset[int]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    number = draw(st.integers(1, 12))
    return {n: draw(st.frozensets(st.integers(0, n - 1), max_size=3)) if n else frozenset() for n in range(number)}


class Name:
    """As much of a call as a schedule needs."""

    def __init__(self, name: str) -> None:
        self.name = self.title = name


def beyond(graph: Graph, bad: frozenset[int]) -> set[int]:
    """What comes after ``bad`` steps, directly or not."""
    found: set[int] = set()
    for number, before in graph.items():
        if before & (bad | found):
            found.add(number)
    return found


@given(graph=graphs(), data=st.data())
def test_a_schedule_holds_what_comes_before_what(graph: Graph, data: st.DataObject) -> None:
    """For any graph, any failures and any order in which running steps end."""
    bad = data.draw(st.frozensets(st.sampled_from(sorted(graph))))
    plan = Plan(steps=tuple(step(str(n), map(str, after), Name(str(n))) for n, after in graph.items()), requested={})  # type: ignore[arg-type]
    schedule = Schedule(plan)
    running: list[Step] = []
    done: dict[int, Status] = {}
    while True:
        while first := schedule.first():
            schedule.take()
            decided = schedule.decided(first)
            if isinstance(decided, Outcome):
                done[int(first.key)] = decided.status
                schedule.ended(decided)
            else:
                assert all(done.get(n) is Status.DONE for n in graph[int(first.key)])
                running.append(first)
        if not running:
            break
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        status = Status.FAILED if int(ended.key) in bad else Status.DONE
        done[int(ended.key)] = status
        schedule.ended(Outcome(step=ended, status=status, reason=""))
    skipped = beyond(graph, bad)
    assert {n for n, s in done.items() if s is Status.SKIPPED} == skipped
    assert {n for n, s in done.items() if s is Status.FAILED} == bad - skipped
    assert set(done) == set(graph)


@given(graph=graphs())
def test_one_at_a_time_is_the_order_of_the_plan(graph: Graph) -> None:
    plan = Plan(steps=tuple(step(str(n), map(str, after), Name(str(n))) for n, after in graph.items()), requested={})  # type: ignore[arg-type]
    schedule, order = Schedule(plan), []
    while first := schedule.first():
        schedule.take()
        order.append(int(first.key))
        schedule.ended(Outcome(step=first, status=Status.DONE, reason=""))
    assert order == list(graph)


def test_a_step_that_another_run_computes_is_put_off() -> None:
    """Not waited for while there is something else to do."""
    ready, watcher = prepared("+how=go well,go on"), Watcher()
    outcomes(ready, InProcess())
    first, *_ = uses = [s for s in ready.plan.steps if s.call.stage == "use"]
    again = prepared("+how=go well,go on", "force=[use]")
    heard: list[str] = []

    class Waiter(Watcher):
        def step_waits(self, step: Step, holder: str) -> None:
            heard.append(f"{step.key} {holder}")

    watcher = Waiter()
    with again.store.lock(first.key, "other"):
        running = execute(again.plan, around(again, InProcess(), watcher))
        ended = [next(running).step.key for _ in range(2)]
    assert first.key not in ended
    assert uses[1].key in ended
    assert {o.step.key for o in running} >= {first.key}
    assert [h.split(" (")[0] for h in heard] == [f"{first.key} run other"]
    assert watcher.started.count("use") == 2, "it starts once"


def test_a_task_says_when_another_run_is_busy(tmp_path: Path) -> None:
    ready = prepared("+how=go well")
    make = ready.plan.steps[0]
    execution = around(ready, InProcess())
    task = Task(
        step=make,
        received={},
        store=ready.store,
        run_id="mine",
        log=tmp_path / "log",
        out=tmp_path,
        redactor=execution.redactor,
        shown_redactor=execution.redactor,
        context=execution.step_context(make),
    )
    with ready.store.lock(make.key, "other"):
        found = compute(replace(task, patience=0.1), Observer())
    assert isinstance(found, Locked)
    assert found.holder.startswith("run other (process ")
    assert not task.log.exists()


def test_what_stops_at_the_first_error_is_what_has_not_begun() -> None:
    found = outcomes(prepared("+how=go well,raise,go on"), InProcess(), on_error=OnError.STOP)
    by_how = {str(o.step.call.arguments.get("how")): o for o in found if o.step.call.stage == "use"}
    assert by_how["go well"].status is Status.DONE
    assert by_how["raise"].status is Status.FAILED
    assert by_how["go on"].reason == "the run stops at the first error"
    assert [o.reason for o in found if o.step.call.stage == "act"][1:] == [
        *("use run failed", "the run stops at the first error"),
    ]
