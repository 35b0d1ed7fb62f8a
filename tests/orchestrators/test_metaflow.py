"""Metaflow: the combinations as branches of a flow, whose config is the composed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from orchestrators.stories import interrupted, mapped, stopped
from small_pipeline import DIR, inside, install, killing, steps_run
from when_ml_pipeline_meets_hydra.records.lookup import read_records

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


def test_after_a_killed_worker_and_a_failed_step_the_rest_goes_on(own_home: Path) -> None:
    words = ("c=fit,ship", "hydra/launcher=metaflow", "hydra.launcher.max_workers=2")
    thread = killing("gather")
    done = inside(*DIR, *words, "source.numbers=[1,2],[1,2,3]", "source.seconds=1", "--multirun")
    thread.join()
    assert done.code == 1
    assert "Metaflow ended without a result of this step" in done.err
    before = steps_run()
    assert before["gather"] == 2
    (record,) = read_records(own_home)
    gathered = sum((s["stage"], s["status"]) == ("gather", "done") for s in record.steps)  # the other may be cut off

    done = inside(*DIR, *words, "source.numbers=[1,2],[1,2,3]", "knobs.strict=false,true", "--multirun")
    assert done.code == 1
    assert "is doubtful" in done.err
    after = steps_run() - before
    assert after["gather"] == 2 - gathered
    assert (before["fit"] + after["fit"], after["ship"]) == (2 + 2, 2)
    record = max(read_records(own_home), key=lambda found: found.id)
    found = Counter((s["stage"], s["status"]) for s in record.steps)
    assert {k: n for k, n in found.items() if k[1] in ("failed", "skipped")} == {
        ("fit", "failed"): 2,
        ("ship", "skipped"): 2,
    }


def test_an_interrupt_a_stop_and_mapped_steps(own_home: Path) -> None:
    interrupted(own_home, "hydra/launcher=metaflow")
    stopped(own_home, "hydra/launcher=metaflow", "hydra.launcher.max_workers=1")
    mapped(own_home, "hydra/launcher=metaflow")
