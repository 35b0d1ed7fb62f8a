"""Dagster: a run in its instance, a worker that is killed, and the definitions of a code location."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrators.stories import interrupted, mapped, newest, stopped
from small_pipeline import CONF, DIR, inside, install, killing, steps_run

pytestmark = [pytest.mark.integration("dagster"), pytest.mark.xdist_group("dagster")]
SECRET = "a phrase nobody knows"


@pytest.fixture(autouse=True)
def small_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")


def events(home: Path, run: int = 0) -> list[Any]:
    """The events of a run in Dagster's own database, the newest run first."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(home)) as instance:
        found = instance.get_run_records(limit=run + 1)[run]
        return [e.dagster_event for e in instance.all_logs(found.dagster_run.run_id) if e.dagster_event]


def computed_by(found: list[Any], kind: str) -> list[str]:
    return [event.step_key for event in found if event.event_type_value == kind]


def test_a_run_is_a_job_of_dagsters_instance_and_after_a_killed_worker_goes_on(own_home: Path) -> None:
    two, launcher = "source.numbers=[1,2],[1,2,3]", ("hydra/launcher=dagster", "hydra.launcher.max_concurrent=2")
    thread = killing("gather")
    done = inside(*DIR, "c=gather,fit", two, *launcher, "source.seconds=1", "--multirun")
    thread.join()
    assert done.code == 1
    assert "Dagster ended without a result of this step" in done.err
    before = steps_run()
    assert before == {"gather": 2, "fit": 1}
    found = events(own_home / "dagster")
    assert found[-1].event_type.name == "RUN_FAILURE"
    assert len(computed_by(found, "STEP_FAILURE")) == 1

    words = ("c=gather,fit,ship", two, f"target.login.phrase={SECRET}", *launcher)
    done = inside(*DIR, *words, "--multirun")
    assert done.code == 0, done.err
    assert "Launching 6 jobs with Dagster" in done.out
    assert "ada announces line at board: line 3.0" in done.out
    assert dict(steps_run() - before) == {"gather": 1, "fit": 1, "ship": 2}
    record = newest(own_home)
    computed = [f"{s['stage']}_run_{s['key'][:12]}" for s in record.steps if s["status"] == "done"]
    found = events(own_home / "dagster")
    assert found[-1].event_type.name == "RUN_SUCCESS"
    assert sorted(computed_by(found, "STEP_SUCCESS")) == sorted(computed)
    assert len(computed) == 4
    outputs = {e.step_key: e.event_specific_data.metadata for e in found if e.is_successful_output}
    (facts,) = (metadata for name, metadata in outputs.items() if name.startswith("fit"))
    (fitted,) = (s for s in record.steps if s["stage"] == "fit" and s["status"] == "done")
    assert {m: facts[m].value for m in ("height", "rest")} == fitted["metrics"]
    assert facts["reason"].value == fitted["reason"]
    assert "fitted a line" in Path(facts["log"].value).read_text()
    assert (Path(facts["artifact"].value) / "curve.txt").is_file()
    assets = [e.asset_key.to_user_string() for e in found if e.event_type_value == "ASSET_MATERIALIZATION"]
    assert assets == ["gather/run", "fit/run"]
    for file in own_home.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert not any("Left running" in f.read_text() for f in record.folder.glob("logs/*"))

    again = inside(*DIR, "c=fit", "source.numbers=[1,2]", "hydra/launcher=dagster")
    assert (again.code, again.err.count("stored (nothing changed)")) == (0, 2)
    assert not (newest(own_home).folder / "orchestrator").exists()


def test_definitions_of_a_code_location(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from when_ml_pipeline_meets_hydra import BadInput
    from when_ml_pipeline_meets_hydra.orchestrators.dagster import definitions

    words = ["c=gather,fit,ship", "knobs.rate=0.25,0.75"]
    file = tmp_path / "defs.py"
    file.write_text(
        "from when_ml_pipeline_meets_hydra.orchestrators.dagster import definitions\n"
        f"defs = definitions({words}, multirun=True, config_dirs=[{CONF!r}])\n"
    )
    home = tmp_path / "instance"
    home.mkdir()
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-f", str(file)]
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stderr

    made = definitions(words, multirun=True, config_dirs=[CONF])
    job = made.resolve_job_def("pipeline")
    assert {node.name for node in job.nodes} == {
        "plan",
        "gather_run",
        "fit_run_1",
        "fit_run_2",
        "ship_run_1",
        "ship_run_2",
    }
    keys = {key.to_user_string() for key in made.resolve_all_asset_keys()}
    assert keys == {"gather/run", "fit/run"}
    assert job.execute_in_process().success
    assert dict(steps_run()) == {"gather": 1, "fit": 2, "ship": 2}

    def launched(*overrides: str) -> Any:
        config = {"ops": {"plan": {"config": {"overrides": list(overrides)}}}}
        return job.execute_in_process(run_config=config, raise_on_error=False)

    assert launched("c=gather,fit,ship", "knobs.rate=0.5,0.75").success
    assert steps_run()["fit"] == 3
    for wrong, text in {
        "knobs.rate=7": "expected a number, 0 < x < 1",
        "knobs.rate=0.5": "these overrides plan other steps than this job has",
        f"target.login.phrase={SECRET}": "Dagster would keep this secret",
    }.items():
        failed = launched("c=gather,fit,ship", "knobs.rate=0.25,0.75", wrong)
        (failure,) = (e for e in failed.all_events if e.event_type_value == "STEP_FAILURE" and e.step_key == "plan")
        assert text in failure.step_failure_data.error.message + str(failure.step_failure_data.user_failure_data)
    with pytest.raises(BadInput, match="Dagster would keep this secret"):
        definitions([*words, f"target.login.phrase={SECRET}"], multirun=True, config_dirs=[CONF])


def test_an_interrupt_a_stop_and_mapped_steps(own_home: Path) -> None:
    interrupted(own_home, "hydra/launcher=dagster")
    assert events(own_home / "dagster", run=1)[-1].event_type.name == "RUN_FAILURE"
    stopped(own_home, "hydra/launcher=dagster", "hydra.launcher.max_concurrent=1")
    steps = mapped(own_home, "hydra/launcher=dagster").steps
    named = {f"practise_run_{s['element']}_{s['key'][:12]}" for s in steps if s["stage"] == "practise"}
    assert named <= {*computed_by(events(own_home / "dagster"), "STEP_SUCCESS")}
