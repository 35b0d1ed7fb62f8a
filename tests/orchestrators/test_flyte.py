"""Flyte 2 on this machine: the steps as actions of a run in its local database."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from orchestrators.stories import interrupted, mapped, stopped
from small_pipeline import DIR, inside, install, killing, steps_run
from when_ml_pipeline_meets_hydra.records.lookup import read_records

pytestmark = [pytest.mark.integration("flyte"), pytest.mark.xdist_group("flyte")]
SECRET = "a phrase nobody knows"


@pytest.fixture(autouse=True)
def small_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.delenv("FLYTECTL_CONFIG", raising=False)


def actions(home: Path) -> dict[str, list[str]]:
    """The actions of the last run in Flyte's database: name → status, inputs, outputs."""
    record = max(read_records(home), key=lambda found: found.id)
    with sqlite3.connect(home / "flyte" / "local-cache" / "cache.db") as database:
        query = "SELECT short_name, status, inputs, outputs FROM runs WHERE run_name = ? AND task_name = 'wmh.step'"
        return {name: rest for name, *rest in database.execute(query, [f"wmh-{record.id}"])}


def test_steps_are_actions_and_after_a_killed_worker_and_a_failed_step_the_rest_goes_on(own_home: Path) -> None:
    words = ("source.numbers=[1,2],[1,2,3]", "hydra/launcher=flyte", "hydra.launcher.max_concurrent=2", "--multirun")
    thread = killing("gather")
    done = inside(*DIR, "c=fit", *words, "source.seconds=1")
    thread.join()
    assert done.code == 1
    assert "Flyte ended without a result of this step" in done.err
    before = steps_run()
    assert before == {"gather": 2, "fit": 1}

    done = inside(*DIR, "c=fit,ship", "knobs.strict=false,true", f"target.login.phrase={SECRET}", *words)
    assert done.code == 1
    assert "is doubtful" in done.err
    assert "ada announces line at board: line 3.0" in done.out
    assert dict(steps_run() - before) == {"gather": 1, "fit": 3, "ship": 2}
    record = max(read_records(own_home), key=lambda found: found.id)
    found = actions(own_home)
    names = {f"{s['stage']} run {s['key'][:12]}": s for s in record.steps if s["status"] in ("done", "failed")}
    assert found.keys() == names.keys()
    for name, (status, inputs, outputs) in found.items():
        assert (status == "failed") == (names[name]["status"] == "failed"), status
        assert json.loads(inputs)["key"] == names[name]["key"]
        assert "log" in str(outputs) or status == "failed"
    for file in own_home.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_an_interrupt_a_stop_and_mapped_steps(own_home: Path) -> None:
    interrupted(own_home, "hydra/launcher=flyte")
    stopped(own_home, "hydra/launcher=flyte", "hydra.launcher.max_concurrent=1")
    steps = mapped(own_home, "hydra/launcher=flyte").steps
    named = {f"practise run [{s['element']}] {s['key'][:12]}" for s in steps if s["stage"] == "practise"}
    assert named <= actions(own_home).keys()
