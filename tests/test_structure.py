"""What holds the layout of the code: ruff, mypy, the directions of imports, and what importing an option costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
NAME = "when_ml_pipeline_meets_hydra"
SOURCES = ROOT / "src" / NAME

# The way of a run: a module imports only what stands in an earlier line.
LAYERS = (
    ("errors",),
    ("contracts", "secrets", "sources", "config_tree"),
    ("keys", "store", "targets", "hydra_api"),
    ("origins", "validation"),
    ("compose",),
    ("bind",),
    ("plan",),
    ("execute",),
    ("record",),
    ("report", "pipeline"),
)
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
# Interchangeable parts: all that they know of the core is the contract and the exceptions.
PARTS = {"datasets", "models", "clusters", "preparation", "training", "serving", "stages"}
CONTRACT = {"contracts", "errors"}
SURFACES = {"cli"}
HEAVY = (
    *("fastapi", "httpx", "lightgbm", "numpy", "onnx", "onnxmltools", "onnxruntime", "pandas", "polars", "pyarrow"),
    *("scipy", "skl2onnx", "sklearn", "starlette", "uvicorn"),
)


@cache
def _modules() -> dict[str, ast.Module]:
    """The package's modules by their name below it (``cli.plan``, ``stages``), parsed."""
    found = {}
    for file in sorted(SOURCES.rglob("*.py")):
        parts = file.relative_to(SOURCES).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__")] = ast.parse(file.read_text(encoding="utf-8"))
    return found


def _imported(module: str) -> Iterator[str]:
    """All that a module imports, also inside functions and for types only; our own names begin with a dot."""
    for node in ast.walk(_modules()[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (f".{n.removeprefix(NAME).lstrip('.')}" if n.partition(".")[0] == NAME else n for n in names)


def _own(module: str) -> Iterator[str]:
    """The modules of ours that a module imports (``serving.rows`` for a name in it)."""
    for name in _imported(module):
        if name.startswith("."):
            target = name[1:]
            if target not in _modules():
                target = target.rpartition(".")[0]
            yield target


def _family(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("command", [["ruff", "check"], ["mypy"]], ids=["ruff", "mypy"])
def test_linters_are_content(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_of_the_core_has_its_layer() -> None:
    alone = {m for m in _modules() if "." not in m and m and not (SOURCES / m).is_dir()} - {"__main__"}
    assert alone == set(LEVEL)


def test_every_folder_is_a_part_or_a_surface() -> None:
    folders = {_family(m) for m in _modules() if (SOURCES / _family(m)).is_dir() and m}
    assert folders <= PARTS | SURFACES


def test_the_core_never_imports_backwards() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, level in LEVEL.items()
        for other in _own(module)
        if other and LEVEL.get(other, len(LAYERS)) >= level
    ]
    assert wrong == []


def test_parts_know_of_the_core_only_the_contract_and_the_exceptions() -> None:
    wrong = [
        f"{module} imports {other}"
        for module in _modules()
        if _family(module) in PARTS
        for other in _own(module)
        if _family(other) not in PARTS | CONTRACT
    ]
    assert wrong == []


def test_nobody_but_the_surface_imports_the_surface() -> None:
    wrong = [
        f"{module} imports {other}"
        for module in _modules()
        if _family(module) not in {*SURFACES, "__main__"}
        for other in _own(module)
        if _family(other) in SURFACES
    ]
    assert wrong == []


def test_parts_import_in_no_circle() -> None:
    """Also counting imports inside functions, since a step's code version follows those."""
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(set(_own(module))):
                if other != module:
                    visit(other, (*path, module))
            done.add(module)

    for module in _modules():
        if _family(module) in PARTS:
            visit(module, ())


def test_hydra_is_used_in_one_module() -> None:
    allowed = {"compose": {"hydra.core.override_parser.types"}}  # the types of what `parse` returns
    wrong = [
        f"{module} imports {name}"
        for module in _modules()
        if module != "hydra_api"
        for name in _imported(module)
        if name.partition(".")[0] == "hydra" and name.rpartition(".")[0] not in allowed.get(module, ())
    ]
    assert wrong == []


def test_the_core_prints_nothing() -> None:
    wrong = [
        f"{module}, line {node.lineno}"
        for module in LEVEL
        for node in ast.walk(_modules()[module])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert wrong == []


def _targets(content: object) -> Iterator[str]:
    if isinstance(content, dict):
        if isinstance(target := content.get("_target_"), str):
            yield target
        yield from chain.from_iterable(map(_targets, content.values()))


def test_option_classes_and_stages_import_no_ml_library() -> None:
    files = sorted((SOURCES / "config").rglob("*.yaml"))
    targets = {t for f in files for t in _targets(yaml.safe_load(f.read_text(encoding="utf-8")))}
    modules = sorted({t.rpartition(".")[0] for t in targets})
    assert f"{NAME}.stages.deployment" in modules
    program = f"""
import importlib, sys, typing
for target in {sorted(targets)!r}:
    module, _, name = target.rpartition(".")
    typing.get_type_hints(getattr(importlib.import_module(module), name), include_extras=True)
print(*sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
