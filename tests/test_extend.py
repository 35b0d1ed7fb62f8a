"""A folder and a package somewhere else add a data set, a model, a subcommand and a stage: YAML and functions only."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Cli
from small_pipeline import DIR, PACKAGES, forget, inside, install, steps_run, write
from when_ml_pipeline_meets_hydra.binding import code_version
from when_ml_pipeline_meets_hydra.errors import ExitCode

ACME = Path(__file__).parent.parent / "docs" / "examples" / "acme"
OTHER = """
from __future__ import annotations
from when_ml_pipeline_meets_hydra.ml.artifacts import TrainedModel

def count(modeling: TrainedModel) -> None:
    \"\"\"Count the metrics.\"\"\"
    print(f"{len(modeling.metrics)} metrics of {modeling.model}")
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Acme's package and option files, far from ours, and readings to train on."""
    root = tmp_path / "acme-project"
    shutil.copytree(ACME, root, ignore=shutil.ignore_patterns("__pycache__"))
    write(root, {"acme/other.py": OTHER, "acme/conf/__init__.py": ""})
    shutil.copytree(root / "conf", root / "acme" / "conf", dirs_exist_ok=True)
    other = "# @package report_sub\n# Only count\n_target_: acme.other.count\n"
    write(root, {"conf/c/report_sub/other.yaml": other, "acme/conf/c/report_sub/other.yaml": other})
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setenv(PACKAGES, "acme")
    random.seed(0)
    rows = [(random.uniform(-10, 30), random.uniform(0, 100)) for _ in range(120)]
    lines = (json.dumps({"temperature": t, "humidity": h, "pressure": 1000 + t - h / 10}) for t, h in rows)
    Path("readings.jsonl").write_text("\n".join(lines))
    yield root
    forget("acme")


def words(acme: Path) -> tuple[str, ...]:
    return ("--config-dir", str(acme / "conf"), "preprocessing/dataset=readings", "modeling/model=wild_trees")


@pytest.mark.parametrize("how", ["--config-dir", "searchpath", "package"])
def test_everything_shows_in_help(acme: Path, how: str) -> None:
    places = {
        "--config-dir": ["--config-dir", str(acme / "conf")],
        "searchpath": [f"hydra.searchpath=[{acme / 'conf'}]"],
        "package": ["hydra.searchpath=[pkg://acme.conf]"],
    }
    code, out, _ = inside(*places[how], "--help")
    assert code == 0
    lines = [line.strip("│ ├└─") for line in out.splitlines()]
    for start in (
        "report           Write down how good the model is",
        "make*     -> c=report c/report_sub=make",
        "other     -> c=report c/report_sub=other",
        "count     -> c=preprocessing c/preprocessing_sub=count",
        "readings                Acme's sensors",
        "wild_trees              Extremely randomised trees",
        "report/style",
        "plain*                  A title and numbers",
    ):
        assert any(line.startswith(start) for line in lines), start
    code, out, _ = inside(*places[how])
    assert out.splitlines()[0].endswith("'exptests', 'deployment', 'report', 'help'] commands")


def test_the_help_of_the_stage_says_what_it_receives(acme: Path) -> None:
    code, out, _ = inside("c=report", "--help", *words(acme))
    assert code == 0
    for text in (
        "report make: Write a page about the model.",
        "c/report_sub=make|other",
        "receives preprocessing's PreparedData",
        "receives modeling's TrainedModel",
        "style.digits=3   a whole number, 1 ≤ x ≤ 12",
        "Digits of each number",
        "plain.yaml, line 4",
    ):
        assert text in out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("style.digits=13", "style.digits=13: expected a whole number, 1 ≤ x ≤ 12"),
        ("style.digit=3", "style.digit: there is no such key"),
        ("report/style=plane", "report/style=plane: there is no such option"),
        ("model.max_features=2", "model.max_features=2: expected a number, 0 < x ≤ 1"),
        ("dataset.path=nowhere.jsonl", "dataset.path=nowhere.jsonl: there is no such file"),
        ("dataset.target=presure", "dataset.target=presure: no row of readings.jsonl has such a key"),
        ("c/report_sub=mke", "c/report_sub=mke: there is no such option"),
    ],
)
def test_everything_is_validated(acme: Path, override: str, message: str) -> None:
    code, _, err = inside("c=report", *words(acme), override)
    assert code == ExitCode.BAD_INPUT
    assert message in err


def actions(acme: Path, *more: str) -> dict[str, tuple[str, str]]:
    """What the plan says of each stage."""
    for cached in (code_version._digest_and_imports, code_version._spec):
        cached.cache_clear()
    done = inside("plan", "--json", *words(acme), *more)
    assert done.code == 0, done.err
    return {step["stage"]: (step["action"], step["reason"]) for step in json.loads(done.out)["steps"]}


def test_everything_is_planned_run_and_cached(acme: Path, cli: Cli) -> None:
    new, stored = ("run", "new"), ("stored", "nothing changed")
    assert actions(acme, "c=report") == {"preprocessing": new, "modeling": new, "report": new}

    stages = "c=preprocessing,modeling,report"
    code, out, err = cli(*words(acme), stages, "c/report_sub=other", "m_param.n_estimators=5", "--multirun")
    assert code == 0, err
    assert "Launching 3 jobs locally" in out
    assert "4 metrics of wild_trees" in out
    assert "report other: done" in err

    code, out, err = inside(*words(acme), "c=report", "m_param.n_estimators=5")
    assert code == 0, err
    assert "# How good is the model?" in out
    assert "modeling train: stored" in err

    five = ("c=report", "m_param.n_estimators=5")
    assert actions(acme, *five)["report"] == stored
    changed = actions(acme, *five, "style.digits=5")
    assert changed["report"] == ("run", "style.digits 3 → 5")
    assert changed["modeling"] == stored

    with (acme / "acme" / "stages.py").open("a") as file:
        file.write("# another line\n")
    changed = actions(acme, *five)
    assert changed["modeling"] == stored
    assert changed["report"] == ("run", "its code changed")

    with (acme / "acme" / "wild_trees.py").open("a") as file:
        file.write("# another line\n")
    changed = actions(acme, *five)
    assert changed["preprocessing"] == stored
    assert changed["modeling"] == ("run", "its code changed")

    with Path("readings.jsonl").open("a") as file:
        file.write('\n{"temperature": 1, "humidity": 2, "pressure": 1000}\n')
    changed = actions(acme, *five)
    assert changed["preprocessing"] == ("run", "dataset (content) changed")
    assert changed["report"][0] == "run"


def test_the_subcommand_of_our_own_stage_runs_and_is_stored(acme: Path) -> None:
    asked = (*words(acme), "c=preprocessing", "c/preprocessing_sub=count")
    code, out, _ = inside(*asked)
    assert (code, out) == (0, "readings: 120 rows, 3 columns\n")
    assert "stored (nothing changed)" in inside(*asked).err


def test_a_package_that_is_not_named_is_refused(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PACKAGES)
    code, _, err = inside("c=report", *words(acme))
    assert code == ExitCode.BAD_INPUT
    assert "report_sub._target_=acme.stages.make: only when_ml_pipeline_meets_hydra may be named here" in err
    assert "add packages=[acme]" in err
    assert inside("plan", "c=report", *words(acme), "packages=[acme]").code == 0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small pipeline: three stages that are all somebody else's."""
    install(monkeypatch)


@pytest.mark.usefixtures("small")
def test_stages_may_share_a_step(tmp_path: Path) -> None:
    """A stage after ``fit`` that does what ``gather`` does before it."""
    again = "# @package again_sub\n# Once more\n_target_: small.steps.gather\n"
    folder = write(tmp_path / "more", {"c/again.yaml": "# d\nafter: fit\n", "c/again_sub/run.yaml": again})
    done = inside(*DIR, "--config-dir", folder, "c=ship,again,fit,gather", "--multirun")
    assert done.code == 0, done.err
    assert steps_run() == {"gather": 1, "fit": 1, "ship": 1}


@pytest.mark.usefixtures("small")
def test_one_group_can_be_in_several_folders(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"fit/knobs/rough.yaml": "# @package knobs\n# Rough\nrate: 0.9\nrounds: 1\n"})
    two = write(tmp_path / "two", {"fit/knobs/rough.yaml": "# @package knobs\n# Later\nrate: 0.1\nrounds: 1\n"})
    asked = (*DIR, "--config-dir", one, "--config-dir", two, "c=fit", "fit/knobs=rough", "--cfg", "job", "-p", "knobs")
    assert inside(*asked).out == "rate: 0.9\nrounds: 1\n", "what comes earlier on the path wins"
    assert "rough                   Rough" in inside(*DIR, "--config-dir", one, "--config-dir", two, "--help").out
