"""``wmh new`` makes a project that runs as it is; ``putup --wmh`` does the same to one of PyScaffold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import HOME
from small_pipeline import forget, inside

ROWS = [f"{n % 3},{n},{n * 0.5},2026-01-{n % 28 + 1:02},,{'ab'[n % 2]},same" for n in range(60)]
TABLE = "kind,number,size,day,empty,letter,constant\n" + "\n".join(ROWS) + "\n"


def option(project: str) -> dict[str, object]:
    """The data set option of a project."""
    content = yaml.safe_load(Path(project, "conf/preprocessing/dataset/my_table.yaml").read_text())
    assert isinstance(content, dict)
    return content


def test_a_csv_file_is_profiled() -> None:
    Path("My-Table.csv").write_text(TABLE)
    code, out, err = inside("new", "demo", "--csv", "My-Table.csv", "--target", "kind")
    assert (code, out, err) == (0, "cd demo\nwmh train\n", "demo is a project. Go on:\n")
    found = option("demo")
    assert (found["target"], found["task"]) == ("kind", "classification")
    assert found["columns"] == [
        {"name": "size", "dtype": "float"},
        {"name": "day", "dtype": "date"},
        {"name": "letter", "dtype": "string"},
    ]
    text = Path("demo/conf/preprocessing/dataset/my_table.yaml").read_text()
    for name in (
        "number (each row has a value of its own",
        "empty (it has no values)",
        "constant (it has one value only",
    ):
        assert f"# Left out: {name}" in text
    assert '"preprocessing/split=time"' in Path("demo/pyproject.toml").read_text()
    assert Path("demo/data/My-Table.csv").read_text() == TABLE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("c",), "name=c: expected letters"),
        (("a b",), "name=a b: expected letters"),
        (("demo", "--csv", "x.csv"), "--csv FILE and --target COLUMN belong together"),
        (("demo", "--csv", "none.csv", "--target", "y"), "--csv=none.csv: there is no such file"),
        (("demo", "--csv", "t.csv", "--target", "knd"), "--target=knd: t.csv has no such column"),
        (("full",), "folder=full: there is something of this name already"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(words: tuple[str, ...], said: str) -> None:
    Path("t.csv").write_text(TABLE)
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    code, _, err = inside("new", *words)
    assert code == 2
    assert said in err
    assert sorted(p.name for p in Path.cwd().iterdir()) == ["full", "t.csv"]
    assert [p.name for p in Path("full").iterdir()] == ["mine.txt"]


def test_a_new_project_is_good_and_runs_from_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOME)
    assert inside("new", "own").code == 0
    monkeypatch.chdir("own/conf")
    checked = inside("check")
    assert checked.code == 0, checked.err
    words = ("preprocessing/dataset=own_table", "preprocessing/split=quarter", "preprocessing/param=own")
    planned = inside("plan", "c=report", *words, "modeling/model=own_trees", "modeling/param=quick")
    assert planned.code == 0, planned.err
    assert "report make" in planned.out
    assert "own_trees" in inside("--help").out
    forget("own")


@pytest.mark.integration("pyscaffold")
@pytest.mark.parametrize("how", ["new", "putup"])
def test_its_own_commands_work(how: str) -> None:
    env = {k: v for k, v in os.environ.items() if k != HOME}
    bins = Path(sys.executable).parent
    git = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a"}
    env |= {**git, "GIT_COMMITTER_EMAIL": "a@example.org", "PATH": f"{bins}{os.pathsep}{os.environ['PATH']}"}

    def run(*words: str, cwd: str = ".") -> None:
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr

    run(*(["wmh", "new", "demo"] if how == "new" else ["putup", "--wmh", "demo"]))
    run("wmh", "train", cwd="demo")
    run("python", "-m", "pytest", "-p", "no:schemathesis", "-o", "addopts=", "tests/test_pipeline.py", cwd="demo")
    run("wmh", "everything", "modeling/param=quick", cwd="demo/conf")
    if how == "putup":
        file = Path("demo/conf/modeling/param/quick.yaml")
        file.write_text(file.read_text().replace("20", "30"))
        run("git", "commit", "-qam", "mine", cwd="demo")  # with --force, which a changed tree needs, edits are lost
        run("putup", "--update", "demo", "--wmh")
        assert "n_estimators: 30" in file.read_text()
