"""A missing program or package is a skip that names it, and a failure where nothing may be skipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from needed import NOTHING_IS_SKIPPED, PROGRAMS, need

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "remedy"), [("zsh", "apt-get install zsh"), ("no_such.package", "tox -e integration brings it")]
)
def test_what_is_missing_is_named(name: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv(NOTHING_IS_SKIPPED, raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"^{name} is not installed: {remedy}$"):
        need("pytest", name)
    monkeypatch.setenv(NOTHING_IS_SKIPPED, "1")
    with pytest.raises(pytest.fail.Exception, match=f"^{name} is not installed: {remedy}"):
        need("pytest", name)


def test_ci_installs_each_program() -> None:
    listed = (ROOT / ".ci" / "packages").read_text(encoding="utf-8").split()
    programs = {remedy.removeprefix("apt-get install ") for remedy in PROGRAMS.values() if remedy.startswith("apt-get")}
    assert listed == sorted({*programs, "libgomp1"}), "LightGBM needs libgomp1"


def test_no_other_test_is_skipped() -> None:
    """Everything that may be missing goes through ``need`` and ``not_here``."""
    found = {
        file.name
        for file in (ROOT / "tests").rglob("*.py")
        if re.search(r"\bimportorskip\b|\bskipif\b|\bmark\.skip\b|pytest\.skip\(", file.read_text(encoding="utf-8"))
    }
    assert found == {"needed.py"}
