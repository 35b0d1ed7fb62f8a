"""A Flyte service: an execution with typed inputs for each combination, through flytekit's own client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from flyte_server import FlyteServer, flyte_server
from orchestrators.stories import interrupted, mapped, newest, statuses, stopped
from small_pipeline import DIR, EXAMPLES, SMALL, inside, install, killing, steps_run

pytestmark = [pytest.mark.integration("flytekit"), pytest.mark.xdist_group("flytekit")]
SECRET = "a phrase nobody knows"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlyteServer]:
    with flyte_server(tmp_path_factory.mktemp("flyte") / "service", {"SMALL_PHRASE": SECRET}) as started:
        yield started


@pytest.fixture
def launcher(server: FlyteServer, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    install(monkeypatch)
    monkeypatch.setenv("SMALL_PHRASE", SECRET)
    options = {
        "endpoint": server.endpoint,
        "insecure": "true",
        "image": "registry.example.org/wmh:7",
        "pod_template": "with-home",
        "version": "boats",
    }
    variables = {"PYTHONPATH": SMALL, "SMALL_TRACE": os.environ["SMALL_TRACE"]}
    return (
        "hydra/launcher=flytekit",
        *(f"hydra.launcher.{name}={value}" for name, value in options.items()),
        *(f"+hydra.launcher.env.{name}={value}" for name, value in variables.items()),
    )


def executions(server: FlyteServer, shown: str) -> list[Any]:
    """The executions whose URLs are shown, as Flyte's own client sees them."""
    start = f": http://{server.endpoint}/console/projects/flytesnacks/domains/development/executions/"
    names = [line.partition(start)[2] for line in shown.splitlines() if start in line]
    remote = server.remote()
    return [remote.sync(remote.fetch_execution(name=name)) for name in names]


def again(server: FlyteServer, execution: Any, **other: Any) -> Any:
    """A further execution with the inputs of another one, as its page starts it; waits for its end."""
    remote = server.remote()
    plan = remote.fetch_launch_plan(name="wmh.pipeline", version=execution.spec.launch_plan.version)
    started = remote.execute(plan, inputs={**execution.inputs.literals, **other})
    return remote.wait(started, poll_interval=1, sync_nodes=False)


def test_a_combination_is_an_execution_and_effects_come_last(
    server: FlyteServer, launcher: tuple[str, ...], own_home: Path
) -> None:
    from flyteidl.admin import workflow_pb2
    from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]

    words = (*DIR, "c=fit,ship", "source.numbers=[1,2],[1,2,3]", *launcher, "--multirun")
    done = inside(*words)
    assert done.code == 0, done.err
    assert "Launching 4 jobs with Flyte" in done.out
    assert "ada announces line at board: line 3.0" in done.out
    assert steps_run() == {"gather": 2, "fit": 2, "ship": 2}
    record = newest(own_home)
    assert statuses(record) == {("gather", "done"): 2, ("fit", "done"): 2, ("ship", "done"): 2}
    one, other, effects = executions(server, done.err)
    assert [f"Flyte runs jobs {jobs}: http" in done.err for jobs in ("0,2", "1,3", "2,3")] == [True] * 3
    assert one.spec.annotations.values == {"wmh/run": record.id, "wmh/jobs": "0,2"}
    assert (one.is_successful, other.is_successful, effects.is_successful) == (True, True, True)
    assert asdict(one.inputs["source"]) == {"numbers": [1, 2]}
    assert one.inputs["fit_run_key"] in {step["key"] for step in record.steps if step["stage"] == "fit"}
    assert asdict(one.inputs["knobs"]) == {"rate": 0.5, "rounds": 10, "shape": "line", "strict": False}
    assert one.outputs["fit_run_metrics"] == {"height": 1.5, "rest": 0.0}
    assert asdict(effects.inputs["target"]) == {"name": "board", "login": {"user": "ada"}, "mode": "say"}
    assert effects.spec.launch_plan.name == "wmh.pipeline"

    asked = workflow_pb2.WorkflowCreateRequest.FromString(server.requests("CreateWorkflow")[0].read_bytes())
    assert asked.id.version.startswith("boats-")
    template = asked.spec.template
    schema = MessageToDict(template.interface.inputs.variables["knobs"].type.metadata)
    assert schema["properties"]["rate"] == {
        "type": "number",
        "title": "Rate",
        "description": "Step of the search",
        "exclusiveMinimum": 0.0,
        "exclusiveMaximum": 1.0,
    }
    assert {n.id: (n.metadata.name, [*n.upstream_node_ids]) for n in template.nodes if n.id != "start-node"} == {
        "gather-run": ("gather run", []),
        "fit-run": ("fit run", ["gather-run"]),
    }
    for request in server.requests("CreateTask"):
        assert b"registry.example.org/wmh:7" in request.read_bytes()
        assert b"with-home" in request.read_bytes()

    repeated = again(server, effects)
    assert "ship run: it was started before, and an effect is not repeated" in repeated.error.message
    assert steps_run()["ship"] == 2

    sent = len(list((server.folder / "requests").iterdir()))
    stored = inside(*words[:2], "c=fit", *words[3:])
    assert (stored.code, stored.err.count("stored (nothing changed)")) == (0, 4)
    for wrong, text in {
        "knobs.rate=1.5": "expected a number, 0 < x < 1",
        f"target.login.phrase={SECRET}": "target.login.phrase: Flyte would keep this secret",
    }.items():
        refused = inside(*DIR, "c=ship", wrong, *launcher)
        assert refused.code == 2
        assert text in refused.err
    assert len(list((server.folder / "requests").iterdir())) == sent
    for file in (*own_home.rglob("*"), *server.folder.rglob("*")):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_other_inputs_than_planned_are_refused(server: FlyteServer, launcher: tuple[str, ...], own_home: Path) -> None:
    from flytekit.models.literals import Literal, Primitive, Scalar

    done = inside(*DIR, "c=fit", "source.numbers=[1,2,3,4]", *launcher)
    assert done.code == 0, done.err
    (one,) = executions(server, done.err)
    assert again(server, one).is_successful
    assert steps_run() == {"gather": 1, "fit": 1}, "what is stored is not computed again"
    elsewhere = Literal(Scalar(Primitive(string_value="/nowhere/graph.json")))
    assert "the record of the run is not here" in again(server, one, graph=elsewhere).error.message
    error = again(server, one, source=one.inputs.literals["knobs"]).error.message
    assert "gather run: source: other values than in the plan. Give them as overrides" in error


def test_after_a_killed_worker_and_a_failed_step_the_rest_goes_on(
    server: FlyteServer, launcher: tuple[str, ...], own_home: Path
) -> None:
    words = ("source.numbers=[1,2],[1,2,3]", *launcher, "--multirun")
    thread = killing("gather")
    done = inside(*DIR, "c=fit", "source.seconds=1", *words)
    thread.join()
    assert done.code == 1
    assert "Flyte ended without a result of this step (exit status 0)" in done.err
    assert "failed: task gather-run failed: the container ended with exit status -9" in done.err
    before = steps_run()
    assert before == {"gather": 2, "fit": 1}

    done = inside(*DIR, "c=fit,ship", "knobs.strict=false,true", *words)
    assert done.code == 1
    assert "is doubtful" in done.err
    assert dict(steps_run() - before) == {"gather": 1, "fit": 3, "ship": 2}
    found = executions(server, done.err)
    assert sorted(e.is_successful for e in found) == [False, False, True, True]
    errors = [e.error.message for e in found if not e.is_successful]
    assert any("RuntimeError: fit run: RuntimeError: total 3 is doubtful" in error for error in errors)


def test_effects_of_the_best_combination_are_a_further_execution(
    server: FlyteServer, launcher: tuple[str, ...], own_home: Path
) -> None:
    drill = ("--config-dir", str(EXAMPLES / "drill"), "c=perform", "+turns=[1]", "+hall=great", "+manner=goes on")
    done = inside(*drill, "+talent=0.5,1", "objective.metric=audition.score", *launcher, "--multirun")
    assert done.code == 0, done.err
    assert steps_run()["perform"] == 1
    assert statuses(newest(own_home))["perform", "not chosen"] == 1
    assert [e.is_successful for e in executions(server, done.err)] == [True] * 4, "two and the steps of the best"
    done = inside(*DIR, "c=ship", "knobs.rate=0.5", *launcher)
    assert done.code == 0, done.err
    (one,) = executions(server, done.err)
    assert {"fit_run_key", "ship_run_key", "target", "knobs"} <= {*one.inputs.literals}


def test_an_interrupt_a_stop_and_mapped_steps(server: FlyteServer, launcher: tuple[str, ...], own_home: Path) -> None:
    interrupted(own_home, *launcher)
    assert len(server.requests("TerminateExecution")) == 1
    stopped(own_home, *launcher, at_once=2)
    mapped(own_home, *launcher)


def test_options_are_validated(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*options: str) -> str:
        words = (f"{'+' * option.startswith('env.')}hydra.launcher.{option}" for option in options)
        done = inside("c=preprocessing", "hydra/launcher=flytekit", *words)
        assert (done.code, own_home.exists()) == (2, False)
        return done.err

    assert "hydra.launcher.image=null: expected a text, not empty" in refused("endpoint=127.0.0.1:1")
    assert "hydra.launcher.endpoint=null: expected a text, not empty" in refused("image=wmh:1")
    text = "hydra.launcher.endpoint=127.0.0.1:1: no Flyte service answers there"
    assert text in refused("image=wmh:1", "endpoint=127.0.0.1:1")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    said = refused("image=wmh:1", "endpoint=127.0.0.1:1", "env.PGPASSWORD=${oc.env:PGPASSWORD}")
    assert "hydra.launcher.env.PGPASSWORD: Flyte would keep this secret" in said
    assert SECRET not in said
