"""What is importable from the top of the package: all of it loaded on first use, typed and documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import when_ml_pipeline_meets_hydra as top

ROOT = Path(__file__).parent.parent
NAME = "when_ml_pipeline_meets_hydra"
SOURCE = (ROOT / "src" / NAME / "__init__.py").read_text(encoding="utf-8")


def test_type_checkers_read_the_same_names_as_python_loads() -> None:
    (block,) = (node for node in ast.parse(SOURCE).body if isinstance(node, ast.If))
    typed: dict[str | None, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        typed |= {alias.asname: str(node.module).removeprefix(f"{NAME}.") for alias in node.names}
    assert typed == top._MODULES


def test_every_name_is_there_and_has_a_docstring() -> None:
    for name in top._MODULES:
        found = getattr(top, name)
        assert found.__doc__ or name in ("NamedPath", "InDim"), name
    assert set(top.__all__) <= set(dir(top))


def test_every_name_stands_in_the_reference() -> None:
    page = (ROOT / "docs/reference/python-api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\.\. auto\w+:: (\w+)$", page, re.MULTILINE)) == set(top._MODULES)


def test_examples_import_from_the_top_alone() -> None:
    for file in (ROOT / "docs/examples").rglob("*.py"):
        deep = re.findall(rf"^\s*(?:from|import) {NAME}\.\S+", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert not deep, f"{file}: {deep}"


def test_importing_the_package_loads_nothing_and_a_name_stays_what_it_is() -> None:
    code = (
        f"import sys, {NAME} as top\n"
        "before = [m for m in sys.modules if m.startswith(top.__name__ + '.')]\n"
        "assert not before and 'pydantic' not in sys.modules, before\n"
        "run = top.run\n"
        f"import {NAME}.runs, {NAME}.pipeline, {NAME}.cli\n"
        "assert top.run is run and callable(top.run) and callable(top.prepare)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_protocol_of_data_sets_stays_where_packages_of_users_import_it() -> None:
    from when_ml_pipeline_meets_hydra import Dataset
    from when_ml_pipeline_meets_hydra.datasets import interface

    assert interface.Dataset is Dataset
