"""The key of a step: what it covers and what it leaves out. The digests are pinned: a change recomputes everything."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretBytes, SecretStr

from when_ml_pipeline_meets_hydra.binding.keys import is_secret, keyed, keyed_fields
from when_ml_pipeline_meets_hydra.contracts import Unkeyed, frozen
from when_ml_pipeline_meets_hydra.planning.plan import FORMAT
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest


class Colour(Enum):
    RED = "r"


@frozen
class Inner:
    depth: int
    pw: SecretStr | None = None


@frozen
class Option:
    rate: float = 0.1
    n_jobs: Annotated[int, Field(ge=1), Unkeyed()] = 1
    verbose: Annotated[bool, Unkeyed] = False
    colour: Colour = Colour.RED
    inner: Inner = Inner(depth=1)
    many: tuple[Inner, ...] = ()
    secrets: tuple[SecretStr, ...] = ()
    raw: SecretBytes | None = None
    place: Path = Path("a/b")
    words: frozenset[str] = frozenset({"b", "a"})


class Model(BaseModel):
    size: int
    token: SecretStr


def test_the_format_is_pinned() -> None:
    assert FORMAT == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        ({"b": [1, 2.5, None, True], "a": "é"}, "0c187fb652afca8017b5ef38178eeef09a9dfef844316f80ba4207cdf1995ee5"),
    ],
)
def test_digests_are_pinned(value: object, expected: str) -> None:
    assert digest(value) == expected


def test_the_digest_of_an_option_is_pinned() -> None:
    assert digest(keyed(Inner(depth=3))) == "cd4fed9d92b4d9b448a61221fb3bcfaa92aaf39221f052b64b3fb0eeaf70a2c0"


def test_what_an_option_adds_to_the_key() -> None:
    assert keyed(Option()) == {
        "type": f"{__name__}.Option",
        "rate": 0.1,
        "colour": "r",
        "inner": {"type": f"{__name__}.Inner", "depth": 1},
        "many": [],
        "place": "a/b",
        "words": ["a", "b"],
    }


def test_secrets_and_unkeyed_fields_are_left_out_wherever_they_are() -> None:
    assert keyed_fields(Option) == ("rate", "colour", "inner", "many", "place", "words")
    one = Option(inner=Inner(depth=1, pw=SecretStr("a")), many=(Inner(depth=1, pw=SecretStr("a")),), n_jobs=2)
    two = Option(inner=Inner(depth=1, pw=SecretStr("b")), many=(Inner(depth=1),), verbose=True)
    assert keyed(one) == keyed(two)
    assert keyed(Model(size=1, token=SecretStr("a"))) == {"type": f"{__name__}.Model", "size": 1}
    assert keyed({"a": 1, "pw": SecretStr("x")}) == {"a": 1}


def test_the_class_of_an_option_counts() -> None:
    @frozen
    class Other:
        depth: int

    assert keyed(Other(depth=1)) != keyed(Inner(depth=1))


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (SecretStr, True),
        (SecretStr | None, True),
        (Annotated[SecretStr, Field(min_length=1)], True),
        (tuple[SecretStr, ...], True),
        (dict[str, SecretStr], True),
        (str, False),
        (tuple[int, ...], False),
    ],
)
def test_what_is_secret(hint: object, expected: bool) -> None:
    assert is_secret(hint) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _shuffled(value: object, order: list[int]) -> object:
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: hash((item[0], *order)))
        return {name: _shuffled(inner, order) for name, inner in items}
    return [_shuffled(inner, order) for inner in value] if isinstance(value, list) else value


@given(JSON, st.lists(st.integers(), max_size=2))
def test_the_order_of_keys_does_not_count(value: object, order: list[int]) -> None:
    assert digest(_shuffled(value, order)) == digest(value)


@given(JSON, JSON)
def test_other_values_have_other_digests(one: object, two: object) -> None:
    if repr(one) != repr(two) and _shuffled(one, []) != _shuffled(two, []):
        assert digest(one) != digest(two)


@given(JSON)
def test_plain_values_are_keyed_as_they_are(value: object) -> None:
    assert keyed(value) == value


@given(st.integers(), st.text(), st.integers(1))
def test_only_what_counts_counts(depth: int, secret: str, jobs: int) -> None:
    plain = keyed(Option(inner=Inner(depth=depth)))
    assert keyed(Option(inner=Inner(depth=depth, pw=SecretStr(secret)), n_jobs=jobs)) == plain
    assert keyed(Option(inner=Inner(depth=depth + 1))) != plain
