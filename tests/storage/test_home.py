"""The home folder: git ignores it, unless it was there before the program."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import HOME, PROGRAM, Cli
from small_pipeline import DIR, inside, install
from when_ml_pipeline_meets_hydra.cli.exit import exit_code
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.storage.home import make_home


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch)
    monkeypatch.setenv("SMALL_TRACE", str(tmp_path / "trace.txt"))
    monkeypatch.delenv(HOME)


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


def test_a_repository_stays_clean_after_a_run() -> None:
    git("init", "-q")
    assert inside(*DIR, "c=fit").code == ExitCode.DONE
    assert len(list(Path(".pipeline/runs").iterdir())) == 1
    assert git("status", "--porcelain") == ""
    comment, pattern = Path(".pipeline/.gitignore").read_text().splitlines()
    assert comment.startswith("# ")
    assert pattern == "*"


def test_a_home_that_existed_before_gets_no_file() -> None:
    assert inside(*DIR, "c=fit", "home=.").code == ExitCode.DONE
    assert Path("runs").is_dir()
    assert not Path(".gitignore").exists()
    Path("old").mkdir()
    assert inside(*DIR, "c=fit", "home=old").code == ExitCode.DONE
    assert not Path("old/.gitignore").exists()


def test_a_gitignore_that_a_user_removed_stays_removed() -> None:
    assert inside(*DIR, "c=fit").code == ExitCode.DONE
    Path(".pipeline/.gitignore").unlink()
    assert inside(*DIR, "c=fit", "knobs.rounds=3").code == ExitCode.DONE
    assert not Path(".pipeline/.gitignore").exists()


def test_processes_that_begin_at_once_share_a_new_home() -> None:
    git("init", "-q")
    words = [[*DIR, "c=fit", f"knobs.rounds={n}"] for n in range(2, 6)]
    running = [subprocess.Popen([PROGRAM, *w], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for w in words]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * len(words), errors
    assert git("status", "--porcelain") == ""


def test_threads_that_make_a_home_at_once(tmp_path: Path) -> None:
    for n in range(50):
        home = tmp_path / f"deep{n}" / "home"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(make_home, [home] * 8))
        assert (home / ".gitignore").read_text().endswith("\n*\n")


def test_an_unexpected_error_makes_a_home_that_git_ignores(capsys: pytest.CaptureFixture[str]) -> None:
    git("init", "-q")

    def fail() -> int:
        raise RuntimeError("a bug")

    assert exit_code(fail, []) == ExitCode.STEP_FAILED
    assert "Unexpected RuntimeError" in capsys.readouterr().err
    assert len(list(Path(".pipeline/errors").iterdir())) == 1
    assert git("status", "--porcelain") == ""


def test_users_of_the_default_repository_are_kept_out_of_git() -> None:
    git("init", "-q")
    command = [str(PROGRAM), "cluster", "user", "add", "ann"]
    subprocess.run(command, input="only-we-know\n", check=True, capture_output=True, text=True)
    assert Path(".pipeline/models/users.json").is_file()
    assert git("status", "--porcelain") == ""


def test_what_only_reads_makes_no_home(cli: Cli) -> None:
    for words in ("runs list", "store list", "cluster user list", " ".join(["plan", *DIR, "c=fit"])):
        assert cli(*words.split()).code == ExitCode.DONE
    assert not Path(".pipeline").exists()


def test_a_server_of_the_default_repository_makes_a_home_that_git_ignores() -> None:
    git("init", "-q")
    env = {**os.environ, "WMH_SERVE_PW": "only-we-know"}
    server = subprocess.Popen([PROGRAM, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert server.stderr
        assert "Serving no model yet" in server.stderr.readline()
        assert Path(".pipeline/.gitignore").is_file()
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert git("status", "--porcelain") == ""
