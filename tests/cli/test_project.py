"""A project is found by ``[tool.wmh]`` in the nearest pyproject.toml: no flag and no variable is needed in it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import HOME, Cli
from small_pipeline import SMALL, forget, inside, write
from when_ml_pipeline_meets_hydra.cli.completion import candidates
from when_ml_pipeline_meets_hydra.cli.project import enter_project, left_as_they_were

TABLE = """\
[project]
name = "demo"

[tool.wmh]
config_dirs = ["conf"]
packages = ["small"]

[tool.wmh.aliases]
quick = ["c=fit", "knobs.rounds=3"]
preview = ["plan", "c=fit"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The root of a project; the working folder is two folders below it."""
    root = tmp_path / "demo"
    shutil.copytree(SMALL / "conf", root / "conf")
    shutil.copytree(SMALL / "small", root / "src" / "small", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "pyproject.toml").write_text(TABLE)
    below = root / "notebooks" / "old"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.setenv("SMALL_TRACE", str(tmp_path / "trace.txt"))
    for name in (HOME, "PYTHONPATH", "WMH_CONFIG_STORE"):
        monkeypatch.delenv(name, raising=False)
    forget("small")
    yield root
    forget("small")


def test_a_command_of_one_word_suffices_in_any_folder_of_a_project(project: Path, cli: Cli) -> None:
    first = cli("c=fit", "knobs.rounds=2,3", "--multirun", "hydra.launcher.n_jobs=2")
    assert first.code == 0, first.err
    assert sorted(f.name for f in project.iterdir() if f.is_dir()) == [".pipeline", "conf", "notebooks", "src"]
    assert not list(Path.cwd().iterdir()), "the home is that of the project"
    again = inside("quick")
    assert (again.code, "fit run: stored" in again.err) == (0, True), again.err
    assert (project / ".pipeline" / "cache").is_dir()
    assert "nothing changed" in inside("quick").err
    assert "fit run: done" in inside("quick", "knobs.rounds=4").err
    assert inside("runs", "list").out.count(" done ") == 4


def test_what_is_in_force_is_shown(project: Path) -> None:
    file = project / "pyproject.toml"
    shown = inside("--info", "project").out
    assert f"project: {file}\nconfig_dirs:\n- {project}/conf\npackages:\n- small\nsrc: {project}/src\n" in shown
    assert f"home: {project}/.pipeline\nconfig_store: null\n" in shown
    assert "  quick: c=fit knobs.rounds=3\n" in shown
    text = inside("--help").out
    assert f"\nProject: {file}\n" in text
    assert "  quick                      c=fit knobs.rounds=3\n" in text
    assert "gather/source" in text
    planned = inside("preview")
    assert f"Project: {file}\n" in planned.err
    assert "fit run" in planned.out
    assert inside("graph", "c=fit").code == 0
    assert f"quick \t{file}\n" in inside("-sc", "query=fish", env={"COMP_LINE": "wmh qu"}).out
    with left_as_they_were():
        enter_project([])
        assert "preview " in candidates("wmh pre")
        assert candidates("wmh quick gather/source=f") == ["gather/source=few", "gather/source=file"]


def test_the_command_line_and_the_environment_come_first(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert inside("quick", env={HOME: str(elsewhere)}).code == 0
    assert not (project / ".pipeline").exists()
    assert "only when_ml_pipeline_meets_hydra, other may be named" in inside("quick", env={"WMH_PACKAGES": "other"}).err
    few = (project / "conf/gather/source/few.yaml").read_text()
    more = write(tmp_path / "more", {"gather/source/few.yaml": few.replace("[", "[77, ")})
    assert "77" in inside("--config-dir", more, "c=fit", "--cfg", "job").out


def test_nothing_of_a_project_is_left_behind(project: Path) -> None:
    before, path = dict(os.environ), list(sys.path)
    assert inside("quick").code == 0
    assert (dict(os.environ), sys.path) == (before, path)


def test_a_change_of_the_file_is_noticed(project: Path) -> None:
    assert inside("c=fit").code == inside("c=fit").code == 0
    few = (project / "conf/gather/source/few.yaml").read_text()
    write(project / "other", {"gather/source/few.yaml": few.replace("[", "[77, ")})
    file = project / "pyproject.toml"
    file.write_text(TABLE.replace('["conf"]', '["other", "conf"]'))
    assert "gather run: done" in inside("c=fit").err
    file.write_text(TABLE.replace('["small"]', "[]"))
    assert inside("c=fit").code == 2
    file.write_text(TABLE.replace("packages", 'home = "results"\npackages'))
    assert "(new)" in inside("c=fit").err
    assert (project / "results" / "store").is_dir()


def test_only_the_nearest_file_counts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = project / "notebooks" / "pyproject.toml"
    inner.write_text('[project]\nname = "inner"\n')
    assert "no [tool.wmh] in the nearest pyproject.toml" in inside("--info", "project").out
    assert inside("quick").code == 2
    inner.write_text("[tool.wmh]\n")
    assert f"home: {inner.parent}/.pipeline\n" in inside("--info", "project").out
    inner.unlink()
    assert "packages:\n- small\n" in inside("--info", "project").out
    monkeypatch.setenv("WMH_PROJECT", str(project))
    monkeypatch.chdir(project.parent)
    assert "no project here" in inside("--info", "project").out, "no variable can name one"


def test_variables_may_stand_in_the_env_file_of_the_project(project: Path) -> None:
    (project / ".env").write_text("ROUNDS=5\nWMH_PROJECT=/nowhere\n")
    shown = inside("c=fit", "knobs.rounds=${oc.env:ROUNDS}", "--cfg", "job", "--resolve").out
    assert "rounds: '5'" in shown
    (Path.cwd() / ".env").write_text("ROUNDS=6\n")
    assert "rounds: '6'" in inside("c=fit", "knobs.rounds=${oc.env:ROUNDS}", "--cfg", "job", "--resolve").out


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('config_dir = ["conf"]', 6, "config_dir: there is no such key"),
        ('config_dirs = ["nowhere"]', 6, "config_dirs=nowhere: there is no folder"),
        ('config_dirs = "conf"', 6, 'config_dirs=conf: expected a list of texts, such as ["conf"]'),
        ('packages = ["a b"]', 6, "packages=a b: is not the name of a package"),
        ("src = 3", 6, 'src=3: expected a text, such as "src"'),
        ('src = "lib"', 6, "src=lib: there is no folder"),
        ('home = ""', 6, 'home=: expected a text, such as ".pipeline"'),
        ('home = "s3://bucket"', 6, "home=s3://bucket: s3:// is not supported here"),
        ('config_store = "postgresql://me:hush@host/db"', 6, "config_store: a password is never kept in a file"),
        ('config_store = "postgresql://host/db?password=hush"', 6, "config_store: a password is never kept in a file"),
        ("aliases = 3", 6, "aliases=3: expected a table"),
        ('[tool.wmh.aliases]\nplan = ["c=fit"]', 7, "aliases.plan: there is a command of this name"),
        ('[tool.wmh.aliases]\nfit = ["c=fit"]', 7, "aliases.fit: there is a stage of this name"),
        ('[tool.wmh.aliases]\nq = "c=fit"', 7, "aliases.q=c=fit: expected a list of arguments"),
        ('[tool.wmh.aliases]\n"a b" = ["c=fit"]', 7, "aliases.a b: expected a name in letters"),
        ("[tool.wmh.alias]\nq = 1", 6, "alias: there is no such key"),
    ],
)
def test_a_wrong_table_is_refused_with_file_and_line(project: Path, text: str, line: int, message: str) -> None:
    file = project / "pyproject.toml"
    file.write_text(f'[project]\nname = "demo"\n\n[tool.wmh]\n# ours\n{text}\n')
    if "fit" in text:
        file.write_text(file.read_text().replace("# ours", 'config_dirs = ["conf"]'))
    code, out, err = inside("c=fit")
    assert (code, out) == (2, "")
    assert f"  tool.wmh.{message}" in err
    assert f"from {file}, line {line}\n" in err
    assert "hush" not in err


def test_a_file_that_cannot_be_read_is_refused(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.wmh\n")
    code, _, err = inside("--help")
    assert code == 2
    assert "tool.wmh: the file cannot be read: Expected ']'" in err


def test_tomllib_is_imported_in_projects_only(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "pyproject.toml").write_text('[project]\nname = "another"\n')
    assert "tomllib" not in cli("--help", env={"PYTHONPROFILEIMPORTTIME": "1"}).err
