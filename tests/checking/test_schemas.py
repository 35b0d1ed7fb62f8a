"""JSON Schemas of option files: every shipped option is valid, and what the program refuses is mostly refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from small_pipeline import inside, write
from when_ml_pipeline_meets_hydra.checking.schemas import group_schemas
from when_ml_pipeline_meets_hydra.composing.tree import read_options

WRONG = (
    ("modeling/model/random_forest", {"no_such_key": 1}),
    ("preprocessing/split/random", {"test_fraction": 2}),
    ("preprocessing/split/random", {"test_fraction": "much"}),
    ("preprocessing/split/random", {"seed": 1.5}),
    ("preprocessing/dataset/csv", {"path": 3}),
    ("preprocessing/dataset/csv", {"pth": "a.csv"}),
    ("preprocessing/param/standard", {"scaling": "wrong"}),
    ("modeling/param/linear/small", {"alpha": "strong"}),
    ("modeling/param/linear/small", {"knots": -1}),
    ("modeling/validation/kfold", {"folds": 1}),
)


@pytest.fixture(scope="module")
def schemas() -> dict[str, dict[str, Any]]:
    """The schemas of the program's own groups."""
    return group_schemas(())


def errors(schema: dict[str, Any], content: Any) -> list[str]:
    """What is wrong with the content of an option file."""
    jsonschema.Draft7Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(content)]


def shipped() -> Iterator[tuple[str, str, Any]]:
    """Group, name and content of every shipped option."""
    for group, options in read_options().items():
        for name, option in options.items():
            yield group, name, yaml.safe_load(option.text())


def test_every_shipped_option_is_valid(schemas: dict[str, dict[str, Any]]) -> None:
    wrong = {f"{g}/{n}": found[:1] for g, n, content in shipped() if (found := errors(schemas[g], content))}
    assert not wrong


@pytest.mark.parametrize(("path", "change"), WRONG)
def test_a_wrong_option_is_not_valid(schemas: dict[str, dict[str, Any]], path: str, change: dict[str, Any]) -> None:
    group, _, name = path.rpartition("/")
    content = next(c for g, n, c in shipped() if (g, n) == (group, name))
    assert errors(schemas[group], {**content, **change})


def test_each_option_with_a_type_refuses_an_unknown_key(schemas: dict[str, dict[str, Any]]) -> None:
    """Two hundred wrong ones: each shipped option with a key that is none, and a mapping for each of its numbers."""
    tried = 0
    for group, name, content in shipped():
        if "_target_" not in (content or {}) or group.startswith("c/"):
            continue
        assert errors(schemas[group], {**content, "no_such_key": 1}), (group, name)
        numbers = [k for k, v in content.items() if isinstance(v, int | float) and not isinstance(v, bool)]
        for key in numbers:
            assert errors(schemas[group], {**content, key: {"a": 1}}), (group, name, key)
        tried += 1 + len(numbers)
    assert tried >= 200


def test_interpolations_later_values_and_includes_are_valid(schemas: dict[str, dict[str, Any]]) -> None:
    schema = schemas["preprocessing/split"]
    content = {"defaults": ["random", "_self_"], "test_fraction": "${share}", "seed": "???"}
    assert errors(schema, content) == []
    assert errors(schema, {"test_fraction": 0.5}) == []
    assert "description" in json.dumps(schema)


def test_settings_of_the_editor_are_kept() -> None:
    folder = write(Path("conf"), {"modeling/param/mine.yaml": "# @package m_param\nn_estimators: 3\n"})
    kept = {"editor.tabSize": 2, "yaml.schemas": {"https://example.org/s.json": "ci/*.yaml"}}
    write(Path(".vscode"), {"settings.json": json.dumps(kept)})
    assert inside("schema", "--config-dir", folder).code == 0
    settings = json.loads(Path(".vscode/settings.json").read_text())
    assert settings["editor.tabSize"] == 2
    named = settings["yaml.schemas"]
    assert named["https://example.org/s.json"] == "ci/*.yaml"
    assert named["./.vscode/wmh-schemas/modeling.param.json"] == ["conf/modeling/param/*.yaml"]
    assert "n_estimators" in Path(".vscode/wmh-schemas/modeling.param.json").read_text()
    before = Path(".vscode/settings.json").read_text()
    assert inside("schema", "--config-dir", folder).code == 0
    assert Path(".vscode/settings.json").read_text() == before

    Path(".vscode/settings.json").write_text("{// a comment\n}")
    code, _, err = inside("schema", "--config-dir", folder)
    assert code == 2
    assert "cannot be read as JSON" in err
    assert Path(".vscode/settings.json").read_text() == "{// a comment\n}"
    assert inside("schema").code == 2
