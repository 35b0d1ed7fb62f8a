"""``wmh check`` finds what is wrong with option files, all at once and with file and line, and nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from conftest import Cli
from small_pipeline import forget, inside, write
from when_ml_pipeline_meets_hydra.checking.check import check_folders
from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"

GOOD = {
    "modeling/param/gentle.yaml": (
        "# @package m_param\n# Small steps\ndefaults:\n  - small\n  - _self_\nlearning_rate: 0.02\n"
    ),
    "preprocessing/dataset/later.yaml": (
        "# @package dataset\n# The file comes with the command\ndefaults:\n  - csv\n  - _self_\n"
        "path: nowhere.csv\ntarget: ${oc.env:NO_SUCH_TARGET}\n"
    ),
    "customer/acme.yaml": (
        "# @package _global_\n# A customer\ndefaults:\n  - override /modeling/param: gentle\nseed: 3\n"
    ),
}
# file → its text, and what is said about it: key, message and line
FAULTS = {
    "modeling/param/typo.yaml": (
        "# @package m_param\n# Typo\ndefaults:\n  - small\n  - _self_\nn_estimator: 3\n",
        "m_param.n_estimator: there is no such key (from {}, line 6)",
    ),
    "modeling/param/many.yaml": (
        "# @package m_param\n# A word\ndefaults:\n  - small\n  - _self_\nn_estimators: many\n",
        "m_param.n_estimators=many: expected a whole number, 1 ≤ x ≤ 100000 (from {}, line 6)",
    ),
    "modeling/param/deep.yaml": (
        "# @package m_param\n# Out of range\ndefaults:\n  - small\n  - _self_\nmax_depth: -3\n",
        "m_param.max_depth=-3: expected a whole number, 1 ≤ x ≤ 1000 or null (from {}, line 6)",
    ),
    "modeling/param/lost.yaml": (
        "# @package m_param\n# Extends none\ndefaults:\n  - smal\n  - _self_\n",
        "modeling/param=lost: its defaults list names modeling/param=smal, and there is no such option "
        "(from {}, line 4)",
    ),
    "modeling/param/no_model/small.yaml": (
        "# @package m_param\n# Of no model\nlearning_rate: 1\n",
        "modeling/model=no_model: there is no such option (from {})",
    ),
    "modeling/model/outside.yaml": (
        "# @package model\n# Not allowed\n_target_: os.path.join\n",
        "model._target_=os.path.join: only when_ml_pipeline_meets_hydra, faulty may be named here (from {}, line 3)",
    ),
    "modeling/model/gone.yaml": (
        "# @package model\n# Not there\n_target_: faulty.models.Gone\n",
        "model._target_=faulty.models.Gone: faulty.models has no 'Gone' (from {}, line 3)",
    ),
    "modeling/model/unwritten.yaml": (
        "# @package model\n# No such module\n_target_: faulty.unwritten.Model\n",
        "model._target_=faulty.unwritten.Model: cannot import faulty.unwritten (No module named 'faulty.unwritten') "
        "(from {}, line 3)",
    ),
    "modeling/model/function.yaml": (
        "# @package model\n# A function\n_target_: faulty.models.fit\n",
        "model._target_=faulty.models.fit: is a function, and an option is a class (from {}, line 3)",
    ),
    "preprocessing/dataset/broken.yaml": (
        "# @package dataset\nname: [1\n",
        "preprocessing/dataset=broken: it cannot be read: did not find expected ',' or ']' (from {}, line 3)",
    ),
    "preprocessing/dataset/list.yaml": (
        "- 1\n",
        "preprocessing/dataset=list: expected keys with their values (from {})",
    ),
    "preprocessing/dataset/cars.yaml": (
        "# @package dataset\n# Hidden\nname: mine\n",
        "preprocessing/dataset=cars: it is never read, since the program's own option of this name comes first "
        "(from {})",
    ),
    "preprocessing/dataset/headless.yaml": (
        "# No header\n_target_: when_ml_pipeline_meets_hydra.ml.datasets.csv.Csv\n",
        "preprocessing/dataset=headless: its file has no package header, so its keys would be in the package "
        "'preprocessing.dataset' (from {})",
    ),
    "c/lonely.yaml": ("# A stage\nafter: modeling\n", "c=lonely: the stage has no subcommand (from {})"),
    "c/nothing_sub/go.yaml": (
        "# @package nothing_sub\n# Of no stage\n_target_: faulty.models.fit\n",
        "c/nothing_sub=go: it is never read, since there is no stage nothing (from {})",
    ),
    "c/modeling_sub/idle.yaml": (
        "# @package modeling_sub\n# Names no function\nx: 1\n",
        "modeling_sub: the subcommand's file names no function (from {}, line 1)",
    ),
    "c/modeling_sub/wild.yaml": (
        "# @package modeling_sub\n# Without annotations\n_target_: faulty.models.fit\n",
        "modeling_sub._target_=faulty.models.fit: cannot be a subcommand",
    ),
    "experiment/old.yaml": (
        "# @package _global_\n# An option that was renamed\ndefaults:\n  - override /modeling/model: linaer\n",
        "experiment=old: its defaults list names modeling/model=linaer, and there is no such option (from {}, line 4)",
    ),
    "experiment/vain.yaml": (
        "# @package _global_\n# A key of nobody\nseed: 3\nsead: 4\n",
        "experiment=vain: no stage reads its keys at 'sead' (from {}, line 4)",
    ),
    "report/style/plain.yaml": (
        "# @package style\n# Of nobody\ndigits: 1\n",
        "report/style=plain: no stage reads its keys at 'style' (from {}, line 1)",
    ),
    "hydra/launcher/mine.yaml": (
        "# @package hydra.launcher\ndefaults:\n  - locale\n  - _self_\n",
        "hydra/launcher=mine: its defaults list names hydra/launcher=locale, and there is no such option "
        "(from {}, line 3)",
    ),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that faulty option files may name."""
    write(tmp_path / "src", {"faulty/__init__.py": "", "faulty/models.py": "def fit(x, y=1): ...\n"})
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    monkeypatch.setenv("WMH_PACKAGES", "faulty")
    forget("faulty")


@pytest.mark.usefixtures("package")
def test_each_planted_fault_is_found_and_nothing_else() -> None:
    folder = Path(write(Path("conf"), {**GOOD, **{name: text for name, (text, _) in FAULTS.items()}}))
    code, out, err = inside("check", "--config-dir", str(folder), "--json")
    problems = json.loads(out)["problems"]
    assert (code, err) == (2, "")
    shown = [
        f"{p['key']}{'=' + p['value'] if 'value' in p else ''}: {p['message']} (from {p['origin']})" for p in problems
    ]
    for name, (_, said) in FAULTS.items():
        wanted = said.format(folder / name)
        assert any(line.startswith(wanted) for line in shown), (wanted, shown)
    for name in GOOD:
        assert not any(name in line for line in shown)
    assert all(p.get("origin") for p in problems)


def test_good_files_are_said_to_be_good_and_are_not_checked_again(own_home: Path) -> None:
    folder = write(Path("conf"), GOOD)
    for file in Path(folder).rglob("*.yaml"):
        os.utime(file, (1, 1))
    time.sleep(1.1)  # what has just been written may be written again
    code, out, err = inside("check", "--config-dir", folder)
    assert (code, out, err) == (0, "", f"The option files of {folder} are good\n")
    started = time.process_time()
    assert inside("check", "--config-dir", folder).code == 0
    assert time.process_time() - started < 0.3
    write(Path(folder), {"modeling/param/gentle.yaml": GOOD["modeling/param/gentle.yaml"].replace("0.02", "fast")})
    changed = inside("check", "--config-dir", folder)
    assert changed.code == 2
    assert changed.err.startswith("Not all is good: ")
    assert "  m_param.learning_rate=fast: expected a number" in changed.err
    assert f"      from {folder}/modeling/param/gentle.yaml, line 6\n" in changed.err
    assert not own_home.exists(), "nothing ran"


def test_a_line_says_for_which_other_choice_an_option_is_made() -> None:
    text = "# @package m_param\n# Strong\ndefaults:\n  - linear/small\n  - _self_\nalpha: 3\n"
    folder = write(Path("conf"), {"modeling/param/ridge.yaml": text})
    assert (
        "m_param: these hyperparameters (LinearParam) are not those of the model"
        in inside("check", "--config-dir", folder).err
    )
    write(Path(folder), {"modeling/param/ridge.yaml": f"{text}# @with modeling/model=linear\n"})
    assert inside("check", "--config-dir", folder).code == 0


def test_there_is_something_to_check() -> None:
    code, _, err = inside("check")
    assert code == 2
    assert "--config-dir: there are no option files of yours to check" in err
    assert "--config-dir=nowhere: no such folder" in inside("check", "--config-dir", "nowhere").err


@pytest.mark.parametrize("name", ["acme", "boards", "jobs", "nets", "shop"])
def test_the_examples_of_the_docs_are_good(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / name))
    monkeypatch.setenv("WMH_PACKAGES", name)
    assert check_folders([str(EXAMPLES / name / "conf")]) == ()


@pytest.mark.integration
def test_the_options_of_the_program_are_good() -> None:
    assert check_folders([str(PRIMARY)], is_own=True) == ()


@pytest.mark.integration
def test_two_hundred_files_take_seconds_and_less_than_one_if_unchanged(cli: Cli) -> None:
    files = {}
    for number in range(30):
        files[f"customer/c{number}.yaml"] = f"# @package _global_\n# One\nseed: {number}\n"
        files[f"modeling/param/p{number}.yaml"] = (
            f"# @package m_param\n# One\ndefaults:\n  - small\n  - _self_\nn_estimators: {number + 1}\n"
        )
    for number in range(100):
        files[f"preprocessing/dataset/d{number}.yaml"] = (
            f"# @package dataset\n# One\ndefaults:\n  - csv\n  - _self_\npath: d{number}.csv\ntarget: y\n"
        )
    for number in range(40):
        files[f"preprocessing/split/s{number}.yaml"] = (
            f"# @package split\n# One\ndefaults:\n  - random\n  - _self_\ntest_fraction: 0.{number + 10}\n"
        )
    folder = write(Path("conf"), files)
    time.sleep(1.1)
    for most in (8, 1):
        before = os.times()
        assert cli("check", "--config-dir", folder).code == 0
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        assert used < most, "CPU seconds"
