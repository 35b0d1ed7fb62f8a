"""Metaflow: the combinations as branches of a flow, whose config is the composed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from small_pipeline import DIR, inside, install, steps_run
from when_ml_pipeline_meets_hydra.records.record import read_records

pytestmark = [pytest.mark.integration("metaflow"), pytest.mark.xdist_group("metaflow")]
SECRET = "a phrase nobody knows"
# Metaflow reads its settings when it is imported, so its client has a process of its own.
CLIENT = """
import json
from metaflow import Flow, namespace
namespace(None)
run = Flow("WmhPipeline").latest_run
print(json.dumps({
    "successful": run.successful,
    "tags": sorted(run.user_tags),
    "config": run["start"].task.data.config,
    "branches": [{"jobs": t.data.jobs, "configs": t.data.configs, "steps": t.data.steps} for t in run["combination"]],
    "effects": run["effects"].task.data.steps if run.successful else None,
}))
"""


@pytest.fixture(autouse=True)
def small_stages(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    install(monkeypatch)
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_LOCAL", str(own_home / "metaflow"))
    monkeypatch.setenv("METAFLOW_USER", "ada")


def test_four_combinations_are_branches_of_a_flow(own_home: Path) -> None:
    sweep = ("knobs.rate=0.25,0.75", "source.numbers=[1,2],[3,4]", f"target.login.phrase={SECRET}")
    launcher = ("hydra/launcher=metaflow", "hydra.launcher.max_workers=2", "hydra.launcher.tags=[boats]")
    done = inside(*DIR, "c=gather,fit,ship", *sweep, *launcher, "--multirun")
    assert done.code == 0, done.err
    assert dict(steps_run()) == {"gather": 2, "fit": 4, "ship": 4}
    (record,) = read_records(own_home)
    assert (record.status, record.head["counts"]) == ("done", {"done": 10})

    asked = subprocess.run(
        [sys.executable, "-c", CLIENT], env={**os.environ}, capture_output=True, text=True, timeout=60
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert (found["successful"], found["tags"]) == (True, ["boats"])
    composed = {str(number): config for number, config in record.configs()}
    assert found["config"]["jobs"] == composed
    assert len(found["branches"]) == 4
    for branch in found["branches"]:
        assert branch["configs"] == {str(n): composed[str(n)] for n in branch["jobs"]}
        gather, fit = branch["steps"]
        assert gather.startswith("gather run ")
        assert branch["steps"][fit]["metrics"]["rest"] == 0
    assert sum(name.startswith("ship run ") for name in found["effects"]) == 4
    for file in own_home.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_a_failed_step_skips_what_needs_it_and_the_rest_goes_on(own_home: Path) -> None:
    words = ("c=fit,ship", "knobs.strict=false,true", "hydra/launcher=metaflow", "hydra.launcher.max_workers=2")
    done = inside(*DIR, *words, "--multirun")
    assert done.code == 1
    assert "is doubtful" in done.err
    (record,) = read_records(own_home)
    assert sorted((s["stage"], s["status"]) for s in record.steps) == [
        ("fit", "done"),
        ("fit", "failed"),
        ("gather", "done"),
        ("ship", "done"),
        ("ship", "skipped"),
    ]
