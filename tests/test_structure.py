"""What holds the code in its shape: the direction of imports, what is loaded when, ruff and mypy."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "when_ml_pipeline_meets_hydra"
PACKAGE = ROOT / "src" / NAME

# A module of the core imports only what stands in an earlier line.
LAYERS = (
    ("errors", "observers"),
    ("contracts", "masking", "signature", "sources", "config_tree", "durable", "locks", "interrupts"),
    ("hydra_quicker", "hydra_resolvers", "hydra_grammar"),
    ("keys", "store", "targets", "hydra_api"),
    ("origins", "validation"),
    ("composition",),
    ("nodes", "exchange"),
    ("combine",),
    ("compose",),
    ("options", "secrecy", "freshness"),
    ("bind",),
    ("plan",),
    ("outcomes",),
    ("compute", "schedule", "wording"),
    ("runners", "waves", "worker", "workers"),
    ("execute",),
    ("record",),
    ("comparison", "hydra_running", "job_folders"),
    ("job_context", "settings"),
    ("jobs", "recall", "compositions"),
    ("report", "pipeline", "frames", "pictures"),
)
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
SURFACES = {"cli"}
PARTS = {
    *("connections", "datasets", "models", "clusters", "networks", "preparation"),
    *("profiles", "training", "serving", "stages", "strategies", "rows", "gates", "analyses"),
}
FOR_PARTS = {"contracts", "durable", "errors"}
LIBRARIES = (
    *("sklearn", "scipy", "numpy", "pandas", "polars", "pyarrow", "lightgbm", "matplotlib"),
    *("duckdb", "psycopg", "snowflake"),
    *("onnx", "onnxruntime", "skl2onnx", "onnxmltools", "fastapi", "starlette", "uvicorn", "uvloop", "httpx"),
    *("argon2", "limits", "prometheus_client"),
    *("torch", "onnxscript"),
    *("mlflow", "kubernetes"),
)


def modules() -> dict[str, Path]:
    """Name inside the package (``cli.plan``; the package itself is ``""``) → file."""
    return {_inside(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def _inside(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(module: str) -> frozenset[str]:
    """Everything that a module imports when it runs, also inside functions, by its full name."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    return frozenset(name for node in _walk(tree) for name in _imported(node))


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs: what only type checkers read is no dependency."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _walk(child)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """The modules of the package that a module imports, by their names inside it."""
    known = modules()
    found = set()
    for name in imports(module):
        if name.startswith(f"{NAME}."):
            inside = name.removeprefix(f"{NAME}.")
            found.add(inside if inside in known else inside.rpartition(".")[0])
    return found - {module}


def _family(module: str) -> str:
    return module.partition(".")[0]


CORE = {m for m in modules() if "." not in m and m not in {"", "__main__"} | SURFACES | PARTS}


def test_every_folder_of_code_is_a_surface_or_a_family_of_parts() -> None:
    folders = {_family(m) for m in modules() if "." in m}
    assert folders <= SURFACES | PARTS


def test_a_run_goes_one_way() -> None:
    backwards = {(m, n) for m in CORE for n in own_imports(m) if n and LEVEL[n] >= LEVEL[m]}
    assert not backwards


def test_every_module_of_the_core_has_a_layer() -> None:
    assert set(LEVEL) == CORE


def test_parts_import_in_no_circle() -> None:
    """Also counting imports inside functions, since the version of a step's code follows those."""
    graph = {m: own_imports(m) for m in modules() if _family(m) in PARTS}
    graph = {m: needed & set(graph) for m, needed in graph.items()}
    while free := {m for m, needed in graph.items() if not needed}:
        graph = {m: needed - free for m, needed in graph.items() if m not in free}
    assert not graph


def test_the_core_knows_neither_surfaces_nor_parts() -> None:
    known = {(m, n) for m in CORE for n in own_imports(m) if _family(n) in SURFACES | PARTS}
    assert not known


def test_parts_know_nothing_of_the_core_but_the_contract() -> None:
    parts = [m for m in modules() if _family(m) in PARTS]
    known = {(m, n) for m in parts for n in own_imports(m) if _family(n) not in PARTS | FOR_PARTS}
    assert not known


def test_hydra_is_used_in_few_modules() -> None:
    users = {m for m in modules() if any(re.match(r"hydra(\.|$)", name) for name in imports(m))}
    where_configs_are_composed = {"hydra_api", "hydra_grammar", "hydra_quicker", "hydra_resolvers"}
    assert users == where_configs_are_composed | {"hydra_running"}


def test_planning_does_no_io() -> None:
    outside = {_family(name) for name in imports("plan") if not name.startswith(NAME)}
    assert outside <= {"__future__", "collections", "dataclasses", "enum", "functools", "typing"}


def test_the_core_is_silent() -> None:
    printing = {m for m in CORE for node in ast.walk(ast.parse(modules()[m].read_text())) if _prints(node)}
    assert not printing


def _prints(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


def test_modules_have_a_size_and_a_name() -> None:
    assert not {m for m, file in modules().items() if len(file.read_text().splitlines()) > 350}
    assert not {m for m in modules() if m.rpartition(".")[2] in {"utils", "common", "helpers", "base", "misc"}}


def _loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded once ``code`` has run in a process of its own."""
    code = f"import json, sys\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_option_classes_and_stages_load_no_library() -> None:
    targets = set()
    for file in (PACKAGE / "config").rglob("*.yaml"):
        targets |= set(re.findall(r"^_target_: (\S+)\.\w+$", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert targets
    assert not _loaded_by(f"import {', '.join(sorted(targets))}") & set(LIBRARIES)


@pytest.mark.parametrize("words", [["--help"], ["c=help"], []])
def test_help_loads_next_to_nothing(words: list[str]) -> None:
    loaded = _loaded_by(f"from {NAME}.cli import main\nassert main({words}) == 0")
    assert not loaded & {*LIBRARIES, "hydra", "omegaconf", "typer", "pydantic"}


def test_the_core_loads_no_library() -> None:
    assert not _loaded_by(f"import {NAME}.pipeline") & {*LIBRARIES, "rich", "typer"}


def test_a_stored_run_loads_no_library() -> None:
    code = f"from {NAME}.cli import main\nassert main(['c=preprocessing,modeling,deployment', '--multirun']) == 0"
    assert _loaded_by(code) >= {"sklearn", "polars", "onnxruntime"}
    assert not _loaded_by(code) & set(LIBRARIES)


@pytest.mark.parametrize("words", ["ruff check --no-cache", pytest.param("mypy", marks=pytest.mark.slow)])
def test_linters_are_content(words: str) -> None:
    command = [sys.executable, "-m", *words.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
