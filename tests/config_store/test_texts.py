"""Texts of entries: edits of single keys change nothing else, merges keep both sides, folders keep every byte."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml, load_yaml
from when_ml_pipeline_meets_hydra.config_store import yaml_edits
from when_ml_pipeline_meets_hydra.config_store.entries import checked_text, normalized
from when_ml_pipeline_meets_hydra.config_store.folders import read_folder, write_folder
from when_ml_pipeline_meets_hydra.config_store.forms import Field
from when_ml_pipeline_meets_hydra.config_store.merging import merge
from when_ml_pipeline_meets_hydra.errors import BadInput

NAMES = st.sampled_from(["a", "b", "rate", "deep", "x_1"])
VALUES = st.one_of(st.integers(-9, 9), st.booleans(), st.none(), st.sampled_from(["ü", "no", "1e3", "a: b", "#", " "]))
CONTENTS = st.recursive(VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=2))
CONFIGS = st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=4)
LINES = st.lists(st.sampled_from(["a: 1", "b: 2", "c: 3", "# d"]), max_size=6).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


def commented(content: Any) -> str:
    """The YAML of a config with a comment behind and above each line."""
    lines = dump_yaml(content).splitlines()
    return "# @package a\n" + "".join(f"# on line {n}\n{line}  # {n}\n" for n, line in enumerate(lines))


@settings(max_examples=150, deadline=None)
@given(content=CONFIGS, value=VALUES, data=st.data())
def test_an_edit_of_a_key_changes_nothing_else(content: dict[str, Any], value: Any, data: st.DataObject) -> None:
    text = commented(content)
    key = [data.draw(st.sampled_from(sorted(content)))]
    if isinstance(inner := content[key[0]], dict) and inner:
        key.append(data.draw(st.sampled_from(sorted(inner))))
    edited = yaml_edits.set_key(text, key, dump_yaml([value])[2:].strip())
    assert yaml_edits.value_at(load_yaml(edited), key) == value
    if not isinstance(yaml_edits.value_at(content, key), dict | list):  # those in a block go with it
        assert [line for line in text.splitlines() if line.startswith("#") and line not in edited.splitlines()] == []
    without = yaml_edits.delete_key(text, key)
    assert not yaml_edits.has_key(without, key)
    assert {*without.splitlines()} <= {*text.splitlines()}
    renamed = yaml_edits.rename_key(text, key, "renamed")
    assert yaml_edits.rename_key(renamed, [*key[:-1], "renamed"], key[-1]) == text


@given(base=LINES, ours=LINES, theirs=LINES)
def test_a_merge_keeps_both_sides(base: str, ours: str, theirs: str) -> None:
    assert merge(base, ours, base) == (ours, 0)
    assert merge(base, base, theirs) == (theirs, 0)
    assert merge(base, ours, ours) == (ours, 0)
    text, conflicts = merge(base, ours, theirs)
    assert conflicts == text.count("<<<<<<< ")
    assert all(line in text.splitlines() for line in {*ours.splitlines()} - {*base.splitlines()})


@settings(max_examples=30, deadline=None)
@given(
    contents=st.dictionaries(st.from_regex(r"(group/)?[a-z]{1,4}", fullmatch=True), CONFIGS, max_size=4),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_an_export_is_imported_as_it_was(contents: dict[str, Any], end: str) -> None:
    texts = {path: commented(content).replace("\n", end) for path, content in contents.items()}
    kept = {path: checked_text(path, text) for path, text in texts.items()}
    assert kept == {path: normalized(text) for path, text in kept.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert write_folder(folder, kept, delete=True) == ([*kept], [])
        assert read_folder(folder) == kept
        assert write_folder(folder, kept, delete=True) == ([], [])


@pytest.mark.parametrize("text", ["a: &b 1\nc: *b\n", "? a\n: 1\n", "{a: 1, b}\n"])
def test_an_unusual_text_is_refused_or_edited_rightly(text: str) -> None:
    try:
        edited = yaml_edits.set_key(text, ["a"], "2")
    except yaml_edits.NotEditable:
        return
    assert load_yaml(edited) == {**load_yaml(text), "a": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "it sets a twice (from line 3)"),
        ("a:\n- b: {c: 1, d: 2, c: 3}\n", "it sets a.b.c twice (from line 2)"),
        ("a: 1\n---\nb: 2\n", "but found another document"),
    ],
)
def test_a_text_that_hydra_would_not_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        checked_text("group/name", text)
    assert message in str(refused.value)


def test_numbers_and_dates_are_what_hydra_takes_them_for() -> None:
    text = "small: 1e-3  # number\nday: 2024-05-01\nname: '1e3'\n"
    content = yaml_edits.content_of(text)
    assert content == {"small": 1e-3, "day": "2024-05-01", "name": "1e3"}
    after = yaml_edits.changed(text, {**content, "small": content["small"] * 2, "other": "2e-4"})
    assert after == text.replace("1e-3", "0.002") + "other: '2e-4'\n"
    for name in content:
        moved = yaml_edits.move_key(text, [name], ["deep", name])
        rest = {other: value for other, value in content.items() if other != name}
        assert yaml_edits.content_of(moved) == {**rest, "deep": {name: content[name]}}


@given(value=st.from_regex(r"[-+]?[0-9._]{0,3}(e|E)?[-+]?[0-9_:]{0,2}", fullmatch=True))
def test_hydra_reads_a_text_as_the_text_that_it_is(value: str) -> None:
    assert OmegaConf.create(dump_yaml({"a": value})).a == value


def test_what_is_no_entry_is_not_left_out_unseen(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("a: 1\n")
    (tmp_path / ".hidden.yaml").symlink_to("nowhere")
    assert read_folder(tmp_path) == {"mine": "a: 1\n"}
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("nowhere")
    with pytest.raises(BadInput) as refused:
        read_folder(tmp_path)
    assert [problem.key for problem in refused.value.problems] == ["link", "pipe"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", "1e3", "1e3"),
        ("number", "1e3", 1000.0),
        ("yaml", "[1e-3, 2]", [1e-3, 2]),
        ("yaml", "a: 1\nb: 2024-05-01", {"a": 1, "b": "2024-05-01"}),
        ("yaml", "[1", "[1"),
    ],
)
def test_a_field_of_a_form_is_read_as_it_was_written(kind: str, text: str, value: Any) -> None:
    facts = {"origin": None, "is_own": False, "is_optional": False, "choices": (), "allowed": "", "description": ""}
    field = Field(key="a", kind=kind, text="", **facts)  # type: ignore[arg-type]
    assert OmegaConf.create(f"a: {field.written(text)}").a == value
