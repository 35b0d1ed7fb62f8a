"""What Hydra composed in this process before is composed again only where something that it reads has changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore

from small_pipeline import write
from when_ml_pipeline_meets_hydra.composing import composed_before
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

MINE = "modeling/param/mine.yaml"


class Twice:
    """Composes a command in new loaders, and counts how often Hydra does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(self, *words: str) -> Any:
        self.count = 0
        composed = compose(["c=modeling", "modeling/param=mine", *words], config_dirs=[str(self.folder)])
        return composed.jobs[0].config["m_param"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Twice:
    """A folder whose option was composed before, long after it was written."""
    twice = Twice(Path(write(tmp_path / "conf", {MINE: "# @package m_param\na: 1\n"})))
    original = Loader._load

    def counted(self: Loader, choices: Sequence[str]) -> Any:
        twice.count += 1
        return original(self, choices)

    monkeypatch.setattr(Loader, "_load", counted)
    monkeypatch.setattr(composed_before, "_KNOWN", {})
    later(monkeypatch)
    assert (twice(), twice.count) == ({"a": 1}, 1)
    return twice


def later(monkeypatch: pytest.MonkeyPatch, seconds: float = 2) -> None:
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() + int(seconds * 1e9))
    monkeypatch.setattr(composed_before, "time", clock)


def test_what_is_the_same_is_composed_once(mine: Twice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (mine("+m_param.b=2"), mine.count) == ({"a": 1, "b": 2}, 0)
    assert (mine(), mine.count) == ({"a": 1}, 0), "nothing stays of what was set"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("ANY", "thing")
    assert (mine("m_param.a=${hydra:runtime.cwd}"), mine.count) == ({"a": str(tmp_path / "elsewhere")}, 0)


def test_a_file_that_changed_is_read_again(mine: Twice, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine.folder / MINE).write_text("# @package m_param\na: 2\n")
    assert (mine(), mine.count) == ({"a": 2}, 1)
    later(monkeypatch, 0)
    for value in (3, 4):
        (mine.folder / MINE).write_text(f"# @package m_param\na: {value}\n")
        assert (mine(), mine.count) == ({"a": value}, 1), "one that has just changed may have changed once more"


def test_options_that_come_and_go_are_noticed(mine: Twice) -> None:
    write(mine.folder, {"modeling/param/other.yaml": "# @package m_param\na: 1\n"})
    assert (mine(), mine.count) == ({"a": 1}, 1)
    store = ConfigStore.instance()
    store.store(group="modeling/more", name="stored", node={"a": 1})
    assert (mine(), mine.count) == ({"a": 1}, 1)
    del store.repo["modeling"]
    assert (mine(), mine.count) == ({"a": 1}, 0), "as before"


def test_what_depends_on_more_is_composed_each_time(mine: Twice, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = "# @package _global_\nhydra: {job: {env_copy: [A_NAME]}}\n"
    named = "# @package dataset\ndefaults: [/modeling/param@more: '${modeling/param}']\n"
    write(mine.folder, {"experiment/it.yaml": copied, "preprocessing/dataset/it.yaml": named})
    for word in ("+experiment=it", "preprocessing/dataset=it"):
        for name in ("param_1", "param_2"):
            monkeypatch.setenv("A_NAME", name)
            assert (mine(word), mine.count > 0) == ({"a": 1}, True)


def test_a_search_path_that_is_no_folder_is_read_each_time(mine: Twice) -> None:
    command = ["c=modeling", "hydra.searchpath=[file://nowhere]"]
    for _ in range(2):
        mine.count = 0
        with pytest.raises(Exception, match="nowhere"):
            compose(command)
        assert mine.count > 0


def test_few_states_are_kept(mine: Twice) -> None:
    for value in range(composed_before.MOST_STATES + 2):
        (mine.folder / MINE).write_text(f"# @package m_param\na: {10**value}\n")
        assert (mine(), mine.count) == ({"a": 10**value}, 1)
    assert len(composed_before._KNOWN) == composed_before.MOST_STATES
