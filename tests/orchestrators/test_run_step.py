"""One step of a plan by its key: computed as in an ordinary run, or refused with what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from small_pipeline import CONF, inside, install, small_plan, steps_run, write
from when_ml_pipeline_meets_hydra import BadInput, prepare, promise_of, run_step
from when_ml_pipeline_meets_hydra.execution.graph import Command, Graph, Node, nodes_folder, stop_file
from when_ml_pipeline_meets_hydra.orchestrators.node import run_node
from when_ml_pipeline_meets_hydra.orchestrators.run_step import StepFacts
from when_ml_pipeline_meets_hydra.records.lookup import read_records
from when_ml_pipeline_meets_hydra.records.record import Record

SECRET = "a phrase nobody knows"
WORDS = ("c=gather,fit,ship", f"target.login.phrase={SECRET}")


@pytest.fixture(autouse=True)
def small_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def step(key: str, *words: str, promise: object = None, record: Path | None = None) -> StepFacts:
    known = json.loads(json.dumps(promise)) if promise else None
    return run_step(words or WORDS, key, multirun=True, config_dirs=[CONF], promise=known, record=record)


def test_each_step_of_a_plan_is_computed_alone_and_gives_plain_facts(own_home: Path) -> None:
    plan = small_plan(*WORDS, multirun=True).plan
    gather, fit, ship = (s.key for s in plan.steps)
    with pytest.raises(BadInput, match=r"fit run: it needs the result of gather run \(\w{12}\), which is not stored"):
        step(fit)
    assert not steps_run()
    found = [step(key) for key in (gather, fit, ship)]
    assert [f["status"] for f in found] == ["done"] * 3
    assert json.loads(json.dumps(found)) == found
    assert found[1]["metrics"] == {"height": 3.0, "rest": 0.0}
    assert found[1]["artifact"]
    assert (Path(found[1]["artifact"]) / "curve.txt").is_file()
    assert found[1]["log"]
    assert "fitted a line" in Path(found[1]["log"]).read_text()
    again = [step(key) for key in (fit, ship)]
    assert [f["status"] for f in again] == ["stored", "done"]
    assert dict(steps_run()) == {"gather": 1, "fit": 1, "ship": 2}
    records = list(read_records(own_home))
    assert [(r.status, r.head["counts"]) for r in records[:2]] == [("done", {"done": 1})] * 2
    assert (
        records[1].folder / "1" / ".hydra" / "overrides.yaml"
    ).read_text() == "- c=fit\n- target.login.phrase=**********\n"
    assert SECRET not in "".join(f.read_text() for f in own_home.rglob("*") if f.is_file())
    assert inside("c=fit", "--config-dir", CONF).err.count("stored (nothing changed)") == 2


def test_a_step_of_a_run_writes_its_log_into_the_record_of_that_run(own_home: Path) -> None:
    run = inside("c=gather", "--config-dir", CONF)
    assert run.code == 0
    (record,) = read_records(own_home)
    before = {f for f in record.folder.rglob("*") if f.is_file()}
    found = step(small_plan(*WORDS, multirun=True).plan.steps[1].key, record=record.folder)
    assert {f for f in record.folder.rglob("*") if f.is_file()} - before == {Path(found["log"] or "")}
    assert found["run"] == record.id == Record(record.folder).id
    assert len(list(read_records(own_home))) == 1


def test_a_node_without_the_folder_of_its_command_fails(own_home: Path, tmp_path: Path) -> None:
    plan = small_plan(*WORDS, multirun=True).plan
    command = Command(overrides=WORDS, multirun=True, config_dirs=(CONF,), folder=str(tmp_path / "gone"))
    graph = Graph(
        command=command,
        record=own_home / "runs" / "one",
        nodes=(Node.of(plan.steps[0], {}),),
        combinations=((0,),),
        promise=promise_of(plan),
        options={},
        stops=True,
    )
    graph.write(nodes_folder(graph.record) / "graph.json")
    facts = run_node(graph, plan.steps[0].key)
    assert (facts["status"], facts["exit_code"]) == ("failed", 2)
    text = f"is not here (No such file or directory: {command.folder}). Mount it at the same path"
    assert text in str(facts["error"])
    assert stop_file(graph.record).exists()
    assert not steps_run()


def test_another_key_is_refused_with_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    data = tmp_path / "numbers.txt"
    data.write_text("4\n5\n")
    words = ("c=fit", "gather/source=file", f"source.path={data}")
    plan = small_plan(*words, multirun=True).plan
    promise, fit = promise_of(plan), plan.steps[-1].key

    def refusal(*words: str, **changed: object) -> str:
        with pytest.raises(BadInput) as caught:
            step(fit, *words, promise={**promise, **changed})
        return str(caught.value)

    assert f"{fit[:12]}: this step has another key here: fit run: knobs.rate 0.5 → 0.25." in refusal(
        *words, "knobs.rate=0.25"
    )
    newer = refusal(*words, "knobs.rate=0.25", versions={**promise["versions"], "polars": "0.1"})
    assert "; polars 0.1 → " in newer
    data.write_text("4\n6\n")
    assert "another key here: gather run: other data of source." in refusal(*words)
    data.write_text("4\n5\n")
    old = json.loads(json.dumps(promise["inputs"]).replace(plan.steps[0].inputs["code"], "0" * 64))
    old = {"f" * 64: {**old[fit], "artifacts": {"gather": "e" * 64}}, "e" * 64: old[plan.steps[0].key]}
    with pytest.raises(BadInput, match="fit run: other code; gather run: other code"):
        step("f" * 64, *words, promise={"inputs": old})
    with pytest.raises(BadInput, match=r"no step of these overrides has this key: they have gather run \w{12}, fit"):
        step("f" * 64, *words, promise=promise)
    assert not steps_run()
    assert not own_home.exists()


BEST = {
    "c/score.yaml": "# d\nname: score\nsubcommand: run\n",
    "c/score_sub/run.yaml": "# @package score_sub\n# d\n_target_: choosing.score\n",
    "c/push.yaml": "# d\nname: push\nafter: score\nsubcommand: run\n",
    "c/push_sub/run.yaml": "# @package push_sub\n# d\n_target_: choosing.push\n",
}
CHOOSING = '''
from __future__ import annotations
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from when_ml_pipeline_meets_hydra import Artifact, Claim, claims, effect, frozen

@frozen
class Scored(Artifact):
    directions: ClassVar[Mapping[str, str]] = {"r2": "maximize"}
    metrics: Mapping[str, float]

def score(level: float, *, out: Path) -> Scored:
    """Score."""
    return Scored(path=out, metrics={"r2": level})

def place(level: float) -> Claim:
    return Claim(place="shelf", text="the shelf", among="all")

@claims(place)
@effect
def push(score: Scored, level: float) -> None:
    """Push."""
    print("pushed", level)
'''


def test_the_best_of_several_candidates_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "py", {"choosing.py": CHOOSING})
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    monkeypatch.setenv("WMH_PACKAGES", "choosing")
    conf = write(tmp_path / "conf", BEST)
    words = ["c=score,push", "+level=0.25,0.75", "objective.metric=r2"]
    plan = prepare(words, multirun=True, config_dirs=[conf]).plan
    keys = {(s.call.stage, s.call.arguments["level"]): s.key for s in plan.steps}
    found = {n: run_step(words, keys[n], multirun=True, config_dirs=[conf]) for n in sorted(keys, reverse=True)}
    assert found["push", 0.75]["status"] == "done"
    assert found["push", 0.75]["reason"] == "chosen, the best r2=0.75 of 2 combinations"
    assert (found["push", 0.25]["status"], found["push", 0.25]["run"]) == ("not chosen", "")


def test_a_search_on_an_orchestrator_is_refused_and_leaves_nothing(own_home: Path) -> None:
    space = ("knobs.rate=interval(0.1,0.9)", "objective.metric=height", "objective.direction=maximize")
    done = inside("c=fit", "--config-dir", CONF, *space, "hydra/sweeper=random", "hydra/launcher=metaflow")
    assert (done.code, own_home.exists()) == (2, False)
    assert "the trials of a search are proposed while it runs, so Metaflow cannot plan them" in done.err


def test_options_of_orchestrators_are_validated(own_home: Path) -> None:
    wrong = ("hydra.launcher.max_concurrent=0", "hydra.launcher.job_name=a-b")
    done = inside("c=fit", "--config-dir", CONF, "hydra/launcher=dagster", *wrong)
    assert (done.code, own_home.exists()) == (2, False)
    assert "hydra.launcher.max_concurrent=0: expected a whole number, 1 ≤ x ≤ 1024 or null" in done.err
    assert "hydra.launcher.job_name=a-b: expected a text like" in done.err
