"""The version of a step's code: which sources it covers."""

from __future__ import annotations

import importlib
import os
import py_compile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small_pipeline import forget, inside, write
from when_ml_pipeline_meets_hydra.binding import code_version as sources
from when_ml_pipeline_meets_hydra.binding.call import UNKNOWN_CODE

FILES = {
    "__init__.py": "",
    "stage.py": "def go():\n    from crate.lazy import thing\n    return thing\n",
    "lazy.py": "from . import \\\n    sibling\nfrom .deep.end import (\n    one,\n    two as zwei,\n)\n",
    "sibling.py": "import crate.plain\nimport json, crate.second\n",
    "plain.py": "X = 1\n",
    "second.py": "X = 1\n",
    "deep/__init__.py": "from ..above import y\n",
    "deep/end.py": "one = two = 1\n",
    "above.py": "y = 1\n",
    "stranger.py": "X = 1\n",
    "broken.py": "def (:\n",
}

Change = Callable[..., str]


def forget_files() -> None:
    """Read files anew, as another process would."""
    importlib.invalidate_caches()
    for cached in (sources._digest_and_imports, sources._spec, sources._is_the_users):
        cached.cache_clear()


@pytest.fixture
def version_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Change:
    """The version of ``crate.stage`` after some files were changed."""
    root = tmp_path / "py"
    monkeypatch.syspath_prepend(str(root))

    def change(*modules: str, **files: str) -> str:
        changed = {f"{m}.py": FILES[f"{m}.py"] + "# changed\n" for m in modules}
        write(root / "crate", {**FILES, **changed, **{f"{n}.py": text for n, text in files.items()}})
        forget_files()
        return sources.code_version(["crate.stage"])

    return change


def test_the_same_sources_have_the_same_version(version_after: Change) -> None:
    assert version_after() == version_after()


@pytest.mark.parametrize(
    "module", ["stage", "lazy", "sibling", "plain", "second", "deep/__init__", "deep/end", "above"]
)
def test_what_is_imported_counts_also_lazily_and_relatively(version_after: Change, module: str) -> None:
    assert version_after(module) != version_after()


def test_the_page_beside_a_module_counts(version_after: Change, tmp_path: Path) -> None:
    before = version_after()
    (tmp_path / "py/crate/plain.html").write_text("<p>\n")
    assert version_after() != before


def test_what_is_not_imported_does_not_count(version_after: Change) -> None:
    assert version_after("stranger") == version_after()


def test_a_module_that_is_imported_by_its_name_counts(version_after: Change) -> None:
    stage = "from importlib import import_module\n\ndef go():\n    return import_module('.stranger', 'crate')\n"
    assert version_after("stranger", stage=stage) != version_after(stage=stage)
    stage = stage.replace("'.stranger', 'crate'", '"crate.stranger"')
    assert version_after("stranger", stage=stage) != version_after(stage=stage)


def test_a_source_that_cannot_be_parsed_is_followed_all_the_same(version_after: Change) -> None:
    one = version_after(stage="from crate.broken import x\n")
    assert version_after("broken", stage="from crate.broken import x\n") != one


def test_circles_of_imports_end(version_after: Change) -> None:
    assert version_after(plain="from crate import stage\n") != version_after()


def test_installed_packages_do_not_count() -> None:
    name = sources.__name__.partition(".")[0]
    assert sources.code_version([f"{name}.errors", f"{name}.contracts"]) == sources.code_version([])


def test_a_version_does_not_depend_on_the_order_of_modules() -> None:
    name = sources.__name__.partition(".")[0]
    modules = [f"{name}.keys", f"{name}.masking"]
    assert sources.code_version(modules) == sources.code_version(modules[::-1])


def test_nothing_is_imported(version_after: Change) -> None:
    version_after(stage="raise RuntimeError('imported')\n")


def test_a_single_file_is_a_module_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "py", {"lonely.py": "X = 1\n"})
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    assert sources.code_version(["lonely"]) != sources.code_version([])


def archive(root: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(root, "w") as made:
        for name, text in files.items():
            made.writestr(f"crate/{name}", text)


def compiled(folder: Path, files: dict[str, str]) -> None:
    write(folder / "crate", files)
    for source in (folder / "crate").rglob("*.py"):
        py_compile.compile(str(source), str(source.with_suffix(".pyc")), dfile=source.name, doraise=True)
        source.unlink()


def machine_code(folder: Path, files: dict[str, str]) -> None:
    write(folder / "crate", {name: text for name, text in files.items() if name != "second.py"})
    (folder / "crate" / "second.abi3.so").write_text(files["second.py"])


MODULES = ("stage.py", "lazy.py", "sibling.py", "plain.py", "second.py", "deep/__init__.py", "deep/end.py", "above.py")


@pytest.mark.parametrize("make", [archive, compiled, machine_code])
def test_code_that_is_in_no_source_file_counts_too(
    make: Callable[[Path, dict[str, str]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(changed: str = "") -> str:
        sound = {name: text for name, text in FILES.items() if name != "broken.py"}
        root = tmp_path / f"made-{changed.replace('/', '-')}"
        make(root, sound | ({changed: f"{FILES[changed]}z = 5\n"} if changed else {}))
        forget_files()
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(root))
            return sources.code_version(["crate.stage"])

    versions = {name: version(name) for name in MODULES}
    assert len({version(), *versions.values()}) == 1 + len(MODULES)
    assert version("stranger.py") == version()


def test_other_packages_of_the_same_person_count(version_after: Change, tmp_path: Path) -> None:
    stage = "def go():\n    import neighbour.house\n    from street import number\n    import json, numpy\n"

    def version(**files: str) -> str:
        texts = {
            "neighbour/house.py": "X = 1\n",
            "street/__init__.py": "from . import number\n",
            "street/number.py": "",
        }
        write(tmp_path / "py", texts | {name.replace("__", "/") + ".py": text for name, text in files.items()})
        return version_after(stage=stage)

    assert version(neighbour__house="X = 2\n") != version() != version(street__number="X = 2\n")
    assert sources.packages_of(["crate.stage"]) == {"crate", "neighbour", "street"}


def test_code_in_no_file_has_a_version_of_its_own(version_after: Change) -> None:
    made: dict[str, Any] = {"__name__": "crate.stage"}
    exec("def go(): pass", made)
    known = version_after()
    assert sources.code_version(["crate.stage"], test_nothing_is_imported) == known
    for version in (
        sources.code_version(["crate.stage"], made["go"]),
        sources.code_version(["no_such_package.module"]),
        sources.code_version(["__main__"]),
    ):
        assert version.startswith(UNKNOWN_CODE)


STEP = """
from pathlib import Path
from when_ml_pipeline_meets_hydra import Artifact, frozen

@frozen
class Counted(Artifact):
    number: int

def count(*, out: Path) -> Counted:
    return Counted(path=out, number=NUMBER)
"""
EXECUTED = "exec('def count(*, out: Path) -> Counted: return Counted(path=out, number=NUMBER)')\n"
WORDS = ("c=preprocessing", "c/preprocessing_sub=count", "packages=[crate]")


def test_a_step_in_an_archive_or_made_by_exec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = write(tmp_path / "conf", {"c/preprocessing_sub/count.yaml": (
        "# @package preprocessing_sub\n# Count\n_target_: crate.steps.count\n"
    )})  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path / "crate.zip"))

    def line(number: int, more: str = "") -> str:
        """What a process says that finds ``NUMBER`` in the archive."""
        archive(tmp_path / "crate.zip", {"__init__.py": "", "steps.py": f"NUMBER = {number}\n{STEP}{more}"})
        forget_files()
        forget("crate")
        monkeypatch.setattr(sources, "_THIS_PROCESS", os.urandom(16).hex())
        done = inside(*WORDS, "--config-dir", conf)
        assert done.code == 0, done.err
        return done.err.splitlines()[0]

    assert line(1).endswith("(new)")
    assert line(1) == "preprocessing count: stored (nothing changed)"
    assert line(2).endswith("(its code changed)")
    for _ in range(2):
        assert line(2, EXECUTED).endswith("(its code is in no file, so a change would go unnoticed)")
