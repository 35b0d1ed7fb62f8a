"""The version of a step's code: which sources it covers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from small_pipeline import write
from when_ml_pipeline_meets_hydra.binding import code_version as sources

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


@pytest.fixture
def version_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Change:
    """The version of ``crate.stage`` after some files were changed."""
    root = tmp_path / "py"
    monkeypatch.syspath_prepend(str(root))

    def change(*modules: str, **files: str) -> str:
        changed = {f"{m}.py": FILES[f"{m}.py"] + "# changed\n" for m in modules}
        write(root / "crate", {**FILES, **changed, **{f"{n}.py": text for n, text in files.items()}})
        for cached in (sources._digest_and_imports, sources._file):
            cached.cache_clear()
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


def test_a_source_that_cannot_be_parsed_is_followed_all_the_same(version_after: Change) -> None:
    one = version_after(stage="from crate.broken import x\n")
    assert version_after("broken", stage="from crate.broken import x\n") != one


def test_circles_of_imports_end(version_after: Change) -> None:
    assert version_after(plain="from crate import stage\n") != version_after()


def test_other_packages_and_unknown_modules_do_not_count() -> None:
    assert sources.code_version(["no_such_package.module"]) == sources.code_version([])
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
