"""What holds the code in its shape: the direction of imports, what is loaded when, ruff and mypy."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "when_ml_pipeline_meets_hydra"
PACKAGE = ROOT / "src" / NAME

# The rooms through which a run goes, and what all of them share; they print nothing and know no parts.
WAY = (
    *("binding", "cache", "composing", "execution", "hydra_jobs", "planning", "records", "storage"),
    *("contracts", "errors", "masking", "pipeline", "recording", "runs"),
)
USERS_OF_PRIVATE_NAMES = {"composing", "hydra_jobs"}
LIBRARIES = (
    *("sklearn", "scipy", "numpy", "pandas", "polars", "pyarrow", "lightgbm", "matplotlib", "jinja2"),
    *("duckdb", "nanoarrow", "psycopg", "snowflake"),
    *("onnx", "onnxruntime", "skl2onnx", "fastapi", "starlette", "uvicorn", "uvloop", "httpx"),
    *("argon2", "limits", "prometheus_client", "sqlalchemy", "alembic", "pyscaffold"),
    *("torch", "onnxscript"),
    *("mlflow", "kubernetes", "dagster", "metaflow", "wandb", "aim", "flyte", "flytekit"),
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


def _room(module: str) -> str:
    return module.partition(".")[0]


def test_few_modules_stand_at_the_top_of_the_package() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_the_way_of_a_run_is_one_screen() -> None:
    text = (PACKAGE / "pipeline.py").read_text(encoding="utf-8")
    lengths = {n.name: len(ast.unparse(n).splitlines()) for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
    assert max(lengths.values()) <= 40
    assert len(text.splitlines()) <= 90


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    path = {**os.environ, "PYTHONPATH": str(folder)}
    config = ["-c", code]
    return subprocess.run([sys.executable, *config], cwd=folder, env=path, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the package, with the contracts about its imports."""
    shutil.copytree(PACKAGE, tmp_path / NAME, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_go_one_way_and_in_no_circle(copied: Path) -> None:
    done = _lint_imports(copied)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tracking/trackers/mlflow.py", "from {name}.records import record"),
        ("planning/plan.py", "from {name}.execution import outcomes"),
        ("storage/locks.py", "from {name} import masking, binding"),
        ("ml/models/linear.py", "from {name}.serving.engine import scorer"),
        ("serving/http/users.py", "from {name}.deploy.clusters import local"),
        ("stages/template.py", "from {name} import pipeline"),
        ("execution/execute.py", "from {name}.ml import artifacts"),
        ("ml/datasets/values.py", "from {name}.ml.preparation import fit"),
    ],
)
def test_a_forbidden_import_is_found(copied: Path, module: str, line: str) -> None:
    with (copied / NAME / module).open("a") as file:
        file.write(f"\n{line.format(name=NAME)}\n")
    assert _lint_imports(copied).returncode == 1


def _is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def _private_uses(module: str) -> Iterator[str]:
    """The private names of Hydra and OmegaConf that a module imports, and private attributes of other objects."""
    theirs = [name for name in imports(module) if name.partition(".")[0] in {"hydra", "omegaconf"}]
    yield from (name for name in theirs if _is_private(name))
    if theirs:
        tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
            if isinstance(node, ast.Attribute) and _is_private(node.attr) and not is_own:
                yield ast.unparse(node)


def test_private_names_of_hydra_and_omegaconf_are_used_in_two_rooms() -> None:
    users = {m: list(_private_uses(m)) for m in modules()}
    assert {_room(m) for m, used in users.items() if used} == USERS_OF_PRIVATE_NAMES
    # It looks at both libraries, and at attributes as well as imports.
    found = {name for used in users.values() for name in used}
    assert {"hydra._internal.callbacks.Callbacks", "omegaconf._utils", "Plugins.instance()._instantiate"} <= found


def test_hydra_is_loaded_where_configs_are_composed_and_its_jobs_run() -> None:
    users = {_room(m) for m in modules() if any(re.match(r"(hydra|omegaconf)(\.|$)", name) for name in imports(m))}
    assert users == {"composing", "execution", "hydra_jobs"}


def _picture() -> tuple[set[str], set[tuple[str, str]]]:
    """The rooms and the arrows in the picture of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("```mermaid")[2].partition("```")[0]
    lines = [line.strip() for line in text.splitlines() if "-->" in line]
    ends = [(line.partition(" --> ")[0], line.partition(" --> ")[2].split(" & ")) for line in lines]
    arrows = {(start, end) for start, to in ends for end in to}
    return {room for arrow in arrows for room in arrow}, arrows


def test_the_picture_of_the_rooms_shows_the_folders_and_their_imports() -> None:
    rooms, arrows = _picture()
    assert rooms == {_room(m) for m in modules()} - {"", "__main__"}
    real = {(_room(m), _room(n)) for m in modules() for n in own_imports(m)}
    assert arrows <= real, "an arrow in the picture is no import"


def test_the_page_about_the_way_of_a_run_names_folders_and_functions_that_exist() -> None:
    text = (ROOT / "docs/explanation/way-of-a-run.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert [row[1].strip() for row in rows] == ["compose", "bind", "plan", "check", "execute", "record", "report"]
    for row in rows:
        assert all((PACKAGE / folder).is_dir() for folder in re.findall(r"`(\w+)/`", row[2]))
    way = ast.unparse(ast.parse((PACKAGE / "pipeline.py").read_text(encoding="utf-8")))
    names = [re.split(r"[.(]", found)[0] for row in rows[:-1] for found in re.findall(r"`([\w.]+\()", row[3])]
    assert all(re.search(rf"\b{name}\(", way) for name in names)


def test_planning_does_no_io() -> None:
    outside = {_room(name) for name in imports("planning.plan") if not name.startswith(NAME)}
    assert outside <= {"__future__", "collections", "dataclasses", "enum", "functools", "typing"}


def test_the_core_is_silent() -> None:
    way = [m for m in modules() if _room(m) in WAY]
    printing = {m for m in way for node in ast.walk(ast.parse(modules()[m].read_text())) if _prints(node)}
    assert not printing


def _prints(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


def test_modules_have_a_size_and_a_name() -> None:
    assert not {m for m, file in modules().items() if len(file.read_text().splitlines()) > 350}
    assert not {m for m in modules() if m.rpartition(".")[2] in {"utils", "common", "helpers", "base", "misc"}}


def _loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded once ``code`` has run in a process of its own."""
    code = f"import json, sys\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_option_classes_and_stages_load_no_library() -> None:
    targets = set()
    for file in (PACKAGE / "config").rglob("*.yaml"):
        if file.parent.name not in ("sampler", "pruner"):  # classes of Optuna, which are looked up when one is chosen
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
    words = ["c=preprocessing,modeling,prediction,analysis,exptests,deployment", "--multirun"]
    words += ["modeling/model=linear", "analysis/page=quick"]
    code = f"from {NAME}.cli import main\nassert main({words}) == 0"
    assert _loaded_by(code) >= {"sklearn", "polars", "onnxruntime", "matplotlib"}
    assert not _loaded_by(code) & set(LIBRARIES)


@pytest.mark.parametrize("words", ["ruff check --no-cache", pytest.param("mypy", marks=pytest.mark.slow)])
def test_linters_are_content(words: str) -> None:
    command = [sys.executable, "-m", *words.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


@pytest.mark.xdist_group("together")
def test_tests_of_a_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """Otherwise each process starts the servers of a group for itself."""
    is_alone = "PYTEST_XDIST_WORKER" not in os.environ
    assert is_alone or request.node.nodeid.endswith("@together"), "this pytest-xdist does not group with this pytest"
