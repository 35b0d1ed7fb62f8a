"""The built wheel, installed outside the checkout: package data lies in it, and the program works from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "when_ml_pipeline_meets_hydra"
TEMPLATE = (
    *("preprocessing/dataset=dataset_1", "preprocessing/param=param_1", "modeling/model=model_1"),
    *("modeling/param=param_1", "deployment/cluster=cluster_1", "c/preprocessing_sub=foo", "c/modeling_sub=foo"),
    *("c/deployment_sub=foo", "c=preprocessing,modeling,deployment", "--multirun"),
)
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def _run(*words: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SETUPTOOLS_SCM_PRETEND_VERSION")}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the checkout as a fresh clone without tags would be, so that it leaves nothing here."""
    copy = tmp_path_factory.mktemp("copy")
    names = _run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for words in (("init", "--quiet"), ("add", "--all"), (*author, "commit", "--quiet", "--message=copy")):
        _run("git", *words, cwd=copy)
    built = tmp_path_factory.mktemp("built")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", built, cwd=copy)
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script in a new environment, which has everything but this package from the one of the tests."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--quiet", "--python", python, "--disable-pip-version-check")
    _run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder.parent)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # Path files in the folders named here are not read, so an editable install there stays out.
    paths = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "others.pth").write_text("\n".join(paths), encoding="utf-8")
    return folder / "bin" / NAME


def test_package_data_is_complete(wheel: Path) -> None:
    sources = ROOT / "src"
    wanted = {
        file.relative_to(sources).as_posix()
        for file in (sources / NAME).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= set(archive.namelist())


def test_only_the_package_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {NAME}


def test_help_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    out = _run(installed, "--help", cwd=tmp_path)
    assert "deployment/cluster" in out
    assert _run(installed.parent / "python", "-c", f"import {NAME}; print({NAME}.__file__)", cwd=tmp_path).startswith(
        str(installed.parent.parent)
    )


def test_the_templates_scenario_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    out = _run(installed, *TEMPLATE, cwd=tmp_path)
    titles = [line for line in out.splitlines() if line.startswith("=====")]
    assert titles == [
        f"========== Run {stage}'s 'foo' subcommand ==========" for stage in ("preprocessing", "modeling", "deployment")
    ]
