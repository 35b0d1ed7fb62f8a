"""What is quicker says the same as Hydra does."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any

from hydra.core.default_element import GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from when_ml_pipeline_meets_hydra.composing import hydra_patches

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,4}", fullmatch=True)
KEYS = st.builds(lambda sep, names: sep.join(names), st.sampled_from("/."), st.lists(NAMES, min_size=1, max_size=3))
WORDS = NAMES | st.sampled_from(["true", "False", "null", "NULL", "nan", "inf", "Infinity", "nullable", "3", "a-b", ""])
LINES = st.builds(
    lambda sign, key, words: f"{sign}{key}={','.join(words)}",
    *(st.sampled_from(["", "+", "++", "+++", "~"]), KEYS, st.lists(WORDS, min_size=1, max_size=3)),
)


def parsed_by_hydra(line: str) -> Any:
    """What Hydra's own parser makes of an override."""
    parser = OverridesParser.create()
    return inspect.unwrap(OverridesParser.parse_rule)(parser, line, "override")


@given(LINES)
@example("c/modeling_sub=train,tune")
@example("a.b=true_1")
@example("a/b=x")
@settings(deadline=None)
def test_a_plain_override_is_what_hydras_grammar_says(line: str) -> None:
    plain = hydra_patches.plain_override(line)
    if plain is not None:
        assert plain == parsed_by_hydra(line)


def test_what_people_type_most_is_plain() -> None:
    for line in ("c=modeling", "+c/fit_sub=slow", "modeling/param=small,large", "dataset.name=x_1", "++a=b"):
        assert hydra_patches.plain_override(line) is not None
    for line in ("a=1", "a=b-c", "a=null", "a=True", "a=[b]", "a=b, c", "a=f(x)", "~a=b", "a@b=c", "a/b.c=d", "a="):
        assert hydra_patches.plain_override(line) is None


def test_a_copy_of_a_defaults_list_is_deep() -> None:
    defaults = hydra_patches.DefaultsList([GroupDefault(group="a", value="b")])
    copy = deepcopy(defaults)
    assert copy == defaults
    assert copy[0] is not defaults[0]
