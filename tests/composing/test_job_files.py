"""A job as one file: recursive defaults with packages, globals, the environment, a search path; and its graph."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from small_pipeline import inside, write
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.pipeline import prepare

CONF = Path(__file__).parents[2] / "docs" / "examples" / "jobs" / "conf"
CHAIN = "c=preprocessing,modeling,prediction,analysis,exptests,deployment"
JOB = "+experiment=sample_cls_binary"


def numbers(folder: Path) -> None:
    """Rows of two classes that lie apart."""
    random.seed(0)
    folder.mkdir(parents=True)
    lines = ["width,height,label"]
    for k in range(200):
        lines.append(f"{random.gauss(3 * (k % 2), 1):.4f},{random.gauss(0, 1):.4f},{'one' if k % 2 else 'seven'}")
    (folder / "numbers.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("place", ["searchpath", "--config-dir"])
def test_the_job_composes_with_globals_and_the_environment(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where = [f"hydra.searchpath=[file://{CONF}]"] if place == "searchpath" else ["--config-dir", str(CONF)]
    command = ["c=modeling", *where, JOB, "--cfg", "job", "--resolve", "-p"]
    assert "uri: ./data/numbers_cropped_split" in inside(*command, "globals").out
    monkeypatch.setenv("DATA_URI", "/elsewhere")
    monkeypatch.setenv("USER", "somebody")
    found = inside(*command, "globals").out
    assert "uri: /elsewhere/numbers_cropped_split" in found
    assert "id: somebody" in found, "what locations name is pulled in as well"
    assert "path: /elsewhere/numbers_cropped_split/numbers.csv" in inside(*command, "dataset").out
    assert inside(*command, "model_name").out == "CLB-SampleClsBinary\n"


def test_the_job_runs_from_data_to_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_URI", str(tmp_path / "there"))
    numbers(tmp_path / "there" / "numbers_cropped_split")
    done = inside(CHAIN, JOB, "--config-dir", str(CONF), "--multirun")
    assert done.code == 0, done.err
    assert re.search(r"passed  area +roc_auc is 0\.9", done.out)
    assert "7 of 7 gates passed" in done.out
    assert "CLB-SampleClsBinary version 1 is active on local" in done.out
    assert Path("models/CLB-SampleClsBinary").is_dir()


def test_the_graph_of_the_job() -> None:
    command = ("graph", JOB, "--config-dir", str(CONF))
    root = json.loads(inside(*command, "--format", "json").out)
    job = next(n for n in root["imports"] if n["config"] == "experiment/sample_cls_binary")
    (locations,) = (n for n in job["imports"] if n["config"] == "shared/locations/exp_locations")
    assert locations["package"] == "globals"
    assert [(n["config"], n["package"]) for n in locations["imports"]] == [
        ("shared/credentials/credentials_local", "globals.model_location.credentials")
    ]
    assert locations["file"] == str(CONF / "shared/locations/exp_locations.yaml")
    assert {n["config"] for n in root["imports"]} >= {"preprocessing/dataset/csv", "exptests/gates/classification"}

    lines = inside(*command).out.splitlines()
    assert lines[0] == "config"
    assert any(re.fullmatch(r".*└── shared/credentials/credentials_local  → globals\.\S+", line) for line in lines)

    mermaid = inside(*command, "--format", "mermaid").out.splitlines()
    assert mermaid[0] == "graph LR"
    names = {m[2]: m[1] for line in mermaid if (m := re.fullmatch(r'  (n\d+)\["(.*)"\]', line))}
    one, other = names["experiment/sample_cls_binary"], names["shared/locations/exp_locations"]
    assert f'  {one} -->|"globals"| {other}' in mermaid
    ends = {end for line in mermaid if "-->" in line for end in (line.split()[0], line.split()[-1])}
    assert ends == set(names.values()), "every arrow leads from a file to a file"


def test_a_file_that_is_pulled_in_twice_is_one_node(tmp_path: Path) -> None:
    gates = "# @package gates\n# Two\ndefaults:\n  - /exptests/gate@tests.a: r2\n  - /exptests/gate@tests.b: r2\n"
    folder = write(tmp_path / "conf", {"exptests/gates/two.yaml": gates})
    mermaid = inside("graph", "exptests/gates=two", "--config-dir", folder, "--format", "mermaid").out
    assert mermaid.count('["exptests/gate/r2"]') == 1
    assert '-->|"gates.tests.a"| ' in mermaid
    assert '-->|"gates.tests.b"| ' in mermaid


def test_problems_are_reported() -> None:
    done = inside("graph", "modeling/model=nope")
    assert (done.code, done.out) == (2, "")
    assert "modeling/model=nope: there is no such option" in done.err


def test_a_job_is_a_run_of_the_api_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_URI", str(tmp_path))
    numbers(tmp_path / "numbers_cropped_split")
    done = run(["c=exptests", JOB, "gates.tests.accuracy.min=1.0"], config_dirs=[CONF])
    assert done.exit_code == ExitCode.REFUSED
    assert done.record.status == "failed"
    verdict = json.loads((done.artifact("exptests").path / "gates.json").read_text())
    assert verdict["passed"] is False
    assert [g["gate"] for g in verdict["gates"] if not g["passed"]] == ["accuracy"]


@pytest.mark.parametrize("stage", ["deployment", "exptests"])
@pytest.mark.parametrize("swept", ["preprocessing/dataset=cars,wine", "modeling/model=linear,random_forest"])
def test_a_job_of_a_sweep_is_planned_as_it_is_alone(stage: str, swept: str) -> None:
    """What several stages receive is that of the same job, also where a job before shares a part of it."""
    group, _, options = swept.partition("=")
    together = prepare([f"c={stage}", swept, "objective.then=all"], multirun=True).plan
    for number, option in enumerate(options.split(",")):
        alone = prepare([f"c={stage}", f"{group}={option}"]).plan
        assert alone.requested[0] == together.requested[number]
        assert {s.key for s in alone.steps} <= {s.key for s in together.steps}
