"""The wheel has everything in it, and works where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "when_ml_pipeline_meets_hydra"

# One worker builds the wheel once.
pytestmark = pytest.mark.xdist_group("wheel")


def files_of_checkout() -> list[str]:
    """What git tracks, or would."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that pip built from the files of the checkout, without git's help and without leftovers of builds."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in files_of_checkout():
        if name.startswith("src/") or "/" not in name:
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source"))
    return next(folder.glob("*.whl"))


def _pip(verb: str, *words: str) -> None:
    # Neither needs the network: what a build needs is in the extra "testing".
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", verb, "--quiet", "--no-deps", *words]
    subprocess.run(command, check=True, timeout=300)


def test_wheel_has_every_file_and_no_other(wheel: Path) -> None:
    expected = {name.removeprefix("src/") for name in files_of_checkout() if name.startswith("src/")}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected


def test_wheel_names_the_program_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        assert f"{NAME} = {NAME}.cli:main" in archive.read(found["entry_points.txt"]).decode()
        assert b"License-Expression: MIT" in archive.read(found["METADATA"])
        assert "licenses/LICENSE.txt" in found


@pytest.mark.slow
@pytest.mark.integration
def test_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    _pip("install", "--target", str(site), str(wheel))
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}

    def python(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert python("-c", f"import {NAME}; print({NAME}.__file__)").startswith(str(site))
    assert "preprocessing/dataset" in python("-m", NAME, "--help")
    words = ["c=preprocessing,modeling,deployment", "modeling/param=small", "--multirun"]
    assert "cars version 1 is active on local" in python("-m", NAME, *words)
    assert "cars version 1 on local is unchanged" in python("-m", NAME, *words)
    seeds = ["c=modeling", "modeling/model=linear", "m_param.seed=1,2", "-m", "hydra.launcher.n_jobs=2"]
    assert "Launching 2 jobs" in python("-m", NAME, *seeds)
    assert "described in profile.html" in python("-m", NAME, "c=preprocessing", "c/preprocessing_sub=profile")
    assert "PlanSweeper" in python("-m", NAME, "--info", "plugins", "c=modeling")
