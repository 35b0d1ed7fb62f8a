"""Config → typed calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr

from small_pipeline import forget, install, small_calls, small_jobs, write
from when_ml_pipeline_meets_hydra.binding.bind import bind, describe
from when_ml_pipeline_meets_hydra.binding.call import Call
from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
from when_ml_pipeline_meets_hydra.binding.signature import signature_of
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages, inside, locate_class, locate_function
from when_ml_pipeline_meets_hydra.binding.validation import allowed, schema, secret_keys, validate
from when_ml_pipeline_meets_hydra.cli.help.stage import show_stage_help
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.composing.environment import PACKAGES
from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY
from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(monkeypatch)
    yield
    forget("own")


def call(*overrides: str) -> Call:
    ((_, found),) = small_calls(*overrides).calls
    return found


def test_a_call_has_what_the_function_names() -> None:
    from small.options import Knobs, Shape

    found = call("c=fit", "knobs.shape=parabola", "knobs.rate=0.25")
    assert found.name == "fit run"
    assert found.function.__name__ == "fit"
    assert found.arguments == {"knobs": Knobs(rate=0.25, rounds=10, shape=Shape.PARABOLA, strict=False)}
    assert found.specials == {"out"}
    assert found.needs["gather"].name == "gather run"
    assert found.needs["gather"].specials == {"out", "progress"}
    assert (found.returns or object).__name__ == "Curve"
    assert not found.is_effect


def test_an_effect_is_one() -> None:
    found = call("c=ship")
    assert found.is_effect
    assert found.returns is None
    assert set(found.after) == {"fit", "gather"}


def test_a_whole_number_is_a_number_and_enums_are_found_by_their_value() -> None:
    assert call("c=gather", "source.seconds=0").arguments["source"].seconds == 0.0


def test_a_target_chooses_the_class(tmp_path: Path) -> None:
    file = tmp_path / "numbers.txt"
    file.write_text("4\n5\n")
    found = call("c=gather", "gather/source=file", f"source.path={file}")
    assert type(found.arguments["source"]).__name__ == "FileSource"
    assert found.keyed["source (content)"] == found.arguments["source"].fingerprint()


def test_the_key_has_neither_secrets_nor_what_changes_nothing() -> None:
    one = call("c=ship", "target.login.phrase=aaaa", "source.workers=1")
    two = call("c=ship", "target.login.phrase=bbbb", "source.workers=9")
    assert one.keyed == two.keyed
    assert one.needs["fit"].needs["gather"].keyed == two.needs["fit"].needs["gather"].keyed
    assert one.arguments["target"].login.phrase == SecretStr("aaaa")


def test_a_secret_in_another_value_is_marked_in_the_key_and_not_told() -> None:
    one = call("c=ship", "target.login.phrase=xyzzy", "target.name=at-${target.login.phrase}")
    two = call("c=ship", "target.login.phrase=plugh", "target.name=at-${target.login.phrase}")
    assert one.arguments["target"].name == "at-xyzzy"
    assert "xyzzy" not in repr(one.keyed)
    assert one.keyed["target"]["name"] != two.keyed["target"]["name"]


def test_what_no_function_names_is_not_validated() -> None:
    assert call("c=gather", "knobs.rate=77").stage == "gather"


def test_jobs_of_one_command_share_nothing_but_the_stages() -> None:
    calls = small_calls("c=fit", "knobs.rounds=1,2", multirun=True).calls
    assert [c.arguments["knobs"].rounds for _, c in calls] == [1, 2]
    assert calls[0][1].needs["gather"].keyed == calls[1][1].needs["gather"].keyed


def test_secrets_are_found_by_type_and_by_name_also_unused_ones() -> None:
    secrets = "phrase-01", "hush-0001", "api-key-1", "my-pw-001"
    keys = "target.login.phrase={}", "target.hush={}", "++m_param.api_key={}", "++p_param.my_pw=[{}]"
    words = "c=gather", *(key.format(secret) for key, secret in zip(keys, secrets, strict=True))
    found, masks = find_secrets(small_jobs(*words))
    assert {"target.login.phrase", "target.hush"} <= found
    assert masks.text(" ".join([*secrets, "rest"])) == " ".join(["**********"] * 4 + ["rest"])


def test_of_the_programs_own_stages_only_options_with_a_target_have_secrets() -> None:
    """Therefore its stages need not be imported for secrets."""
    for file in sorted((PRIMARY / "c").glob("*_sub/*.yaml")):
        target = yaml.safe_load(file.read_text())["_target_"]
        found = signature_of(locate_function(target, allowed_packages(), key="", origin=lambda _: None))
        assert not [key for name, hint in found.parameters.items() for key in secret_keys(hint, name)], target


OWN = """
from __future__ import annotations
from collections.abc import Mapping
from typing import Annotated, Any, Protocol
from pathlib import Path
from pydantic import BaseModel, ConfigDict, Field
from when_ml_pipeline_meets_hydra.contracts import Artifact, Progress, Wanted, effect, frozen

class Speaks(Protocol):
    def speak(self) -> str: ...

@frozen
class Dog:
    name: str = "rex"
    def speak(self) -> str: return "wuff"

class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    size: int = 1

def defaults(animal: Speaks, extra: int = 7, *, progress: Progress) -> None: ...
def plain(model_name: str, force: tuple[str, ...], anything: Any = None) -> None: ...
def model(box: Strict) -> None: ...
def mapped(animal: Mapping[str, Any]) -> None: ...
def either(animal: Dog | None) -> None: ...

def many(extra: int) -> bool: return extra > 7
def wants(extra: int = 7, preprocessing: Annotated[Artifact | None, Wanted(many)] = None) -> None: ...
def wants_also(preprocessing: Annotated[Artifact | None, Wanted(many, or_requested=True)] = None) -> None: ...
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stage ``own`` with functions to choose from, in a package of its own."""
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    monkeypatch.setenv(PACKAGES, "small, own")
    write(tmp_path / "py", {"own/__init__.py": OWN})
    subcommands = {
        f"c/own_sub/{name}.yaml": f"# @package own_sub\n# d\n_target_: own.{name}\n"
        for name in ("defaults", "plain", "model", "mapped", "either", "wants", "wants_also")
    }
    dog = "# @package animal\n# d\n_target_: own.Dog\nname: bello\n"
    box = "# @package box\n# d\nsize: 3\n"
    more = {"c/own.yaml": "# d\nname: own\n", "own/animal/dog.yaml": dog, "own/box/b.yaml": box}
    return write(tmp_path / "conf", {**subcommands, **more})


def own_call(own: str, *overrides: str) -> Call:
    ((_, found),) = bind(compose(["c=own", *overrides], config_dirs=[own])).calls
    return found


def test_a_protocol_is_met_by_the_target(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = own_call(own, "c/own_sub=defaults", "own/animal=dog")
    assert found.arguments["animal"].speak() == "wuff"
    assert "extra" not in found.arguments, "the function's own default stays"
    show_stage_help(["c=own", "c/own_sub=defaults", "own/animal=dog"], [own], multirun=False)
    assert capsys.readouterr().out.startswith("own defaults: d\n"), "its option file's, as it has no docstring"


def test_an_option_of_a_class_is_no_mapping(own: str) -> None:
    with pytest.raises(BadInput, match=r"animal\._target_: Dog is no Mapping"):
        own_call(own, "c/own_sub=mapped", "own/animal=dog")
    assert own_call(own, "c/own_sub=either", "own/animal=dog").arguments["animal"].name == "bello"


def test_a_parameter_with_a_default_can_be_given(own: str) -> None:
    assert own_call(own, "c/own_sub=defaults", "own/animal=dog", "+extra=3").arguments["extra"] == 3


@pytest.mark.parametrize("subcommand", ["wants", "wants_also"])
def test_a_parameter_is_received_if_its_rule_wants_it_or_the_stage_is_requested(subcommand: str, own: str) -> None:
    words = f"c/own_sub={subcommand}"
    assert not own_call(own, words).needs, "the rule's key is not there"
    assert not own_call(own, words, "+extra=7").needs
    assert own_call(own, words, "+extra=8").needs["preprocessing"].stage == "preprocessing"
    calls = bind(compose(["c=preprocessing,own", words, "+extra=7"], config_dirs=[own], multirun=True)).calls
    (asked,) = (call for _, call in calls if call.stage == "own")
    assert ("preprocessing" in asked.needs) == (subcommand == "wants_also")


def test_top_level_keys_are_parameters_too(own: str) -> None:
    found = own_call(own, "c/own_sub=plain", "model_name=kate", "+anything={a: [1]}")
    assert found.arguments == {"model_name": "kate", "force": (), "anything": {"a": [1]}}


def test_a_pydantic_model_is_an_option_class_too(own: str) -> None:
    assert own_call(own, "c/own_sub=model", "own/box=b").arguments["box"].size == 3


def test_describe_says_what_is_received(own: str) -> None:
    composed = small_jobs("c=fit")
    described = describe(composed.jobs[0], composed.stages, composed.jobs[0].stage)
    assert described.summary == "Fit a curve to the numbers."
    assert described.artifacts == {"gather": "Numbers"}
    assert [*described.keys] == ["knobs"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(a, b: int): ...", "its parameter 'a' has no annotation"),
        ("def f(*a: int): ...", "cannot be given by name"),
        ("def f(**a: int): ...", "cannot be given by name"),
        ("def f(a: int, /): ...", "cannot be given by name"),
        ("def f(a: int): ...", "what it returns has no annotation"),
    ],
)
def test_a_function_that_cannot_be_a_subcommand(code: str, message: str) -> None:
    names: dict[str, object] = {}
    exec(code, names)
    with pytest.raises(TypeError, match=message):
        signature_of(names["f"])


def test_packages_come_from_the_environment_and_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PACKAGES, "one, two three")
    assert allowed_packages(["four"])[1:] == ("one", "two", "three", "four")


@pytest.mark.parametrize(
    ("name", "expected"), [("acme", True), ("acme.deep.er", True), ("acme2", False), ("acm", False), ("xacme", False)]
)
def test_inside_a_package(name: str, expected: bool) -> None:
    assert inside(name, ["acme"]) is expected


def test_what_a_module_merely_imports_is_not_its_own() -> None:
    with pytest.raises(BadInput, match="neither a class nor a function"):
        locate_class("small.options.sha256", ["small"], key="x", origin=lambda _: None)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (int | None, "a whole number or null"),
        (bool, "true or false"),
        (tuple[int, ...], "a list"),
        (Path, "a path"),
        (dict[str, int], "a group of keys"),
    ],
)
def test_types_in_words(hint: object, words: str) -> None:
    assert allowed(schema(hint)) == words


def test_ranges_in_words() -> None:
    from small.options import Knobs, Source

    fields = {**schema(Knobs)["properties"], **schema(Source)["properties"]}
    assert allowed(fields["rate"]) == "a number, 0 < x < 1"
    assert allowed(fields["rounds"]) == "a whole number, 1 ≤ x ≤ 1000"
    assert allowed(fields["numbers"]) == "a list, not empty"
    assert allowed(fields["workers"]) == "a whole number, at least 1"


def test_secret_keys_of_nested_options() -> None:
    from small.options import Target

    assert set(secret_keys(Target, "target")) == {"target.login.phrase", "target.hush"}


@given(st.floats(allow_nan=True))
def test_a_rate_is_accepted_exactly_inside_its_range(rate: float) -> None:
    from small.options import Knobs

    data = {"rate": rate, "rounds": 1}
    if 0 < rate < 1:
        assert validate(Knobs, data, key="knobs", origin=lambda _: None).rate == rate
    else:
        with pytest.raises(BadInput) as caught:
            validate(Knobs, data, key="knobs", origin=lambda _: "here")
        (problem,) = caught.value.problems
        assert (problem.key, problem.origin) == ("knobs.rate", "here")
        assert "0 < x < 1" in problem.message


@given(st.one_of(st.text(), st.booleans(), st.none(), st.lists(st.integers()), st.floats()))
def test_a_whole_number_is_nothing_else(value: object) -> None:
    from small.options import Knobs

    with pytest.raises(BadInput, match="whole number"):
        validate(Knobs, {"rate": 0.5, "rounds": value}, key="knobs", origin=lambda _: None)


@frozen
class Files:
    """Paths in all places where an option of somebody's own may have them."""

    plain: Path = Path()
    optional: Path | None = None
    several: tuple[Path, ...] = ()
    named: Mapping[str, Path | None] = field(default_factory=dict)
    described: Annotated[Path, Field(description="described")] = Path()
    word_or_path: str | Path = ""
    rounds: Annotated[int, Field(ge=1)] = 1


def test_paths_are_those_of_this_machine_by_their_annotation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    def made(data: object, hint: object = Files) -> Any:
        return validate(hint, data, key="files", origin=lambda key: f"origin of {key}")

    there, here = "~/a.csv", Path("/home/me/a.csv")
    texts = {"plain": there, "optional": there, "described": there, "several": [there, "b"], "named": {"x": there}}
    assert made(texts) == Files(
        plain=here, optional=here, described=here, several=(here, Path("b")), named={"x": here}, word_or_path=""
    )
    assert made({"word_or_path": there}).word_or_path == there, "a text where texts are wanted"
    assert made(there, Path) == here
    places = ("plain", "optional", "described", "several[1]", "named.x")
    texts = dict.fromkeys(("plain", "optional", "described"), "s3://bucket/a.csv")
    with pytest.raises(BadInput) as caught:
        made({**texts, "several": ["a", "s3://b"], "named": {"x": "gs://b"}, "rounds": 0})
    *paths, rounds = caught.value.problems
    assert [p.key for p in paths] == [f"files.{place}" for place in places]
    assert all("is not supported here: expected the path of a file or folder" in p.message for p in paths)
    assert paths[0].value == "s3://bucket/a.csv"
    assert paths[0].origin == "origin of files.plain"
    assert rounds.key == "files.rounds"
    with pytest.raises(BadInput, match="expected a path, not empty"):
        made({"plain": ""})
