"""Every option takes the values that its type says and no others; what is refused is said, whatever it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from inspect import signature
from itertools import chain
from typing import Annotated, Any, NamedTuple

import pytest
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from budget import costly
from conftest import Cli
from option_oracle import (
    BY_FIELD,
    STRANGE,
    Place,
    as_written,
    edges,
    fits,
    is_limited,
    is_same,
    made_of,
    places,
    values,
)
from option_words import OPTIONS, in_groups, set_up, words_for
from small_pipeline import inside
from when_ml_pipeline_meets_hydra import pipeline
from when_ml_pipeline_meets_hydra.binding.keys import field_hints, is_secret
from when_ml_pipeline_meets_hydra.binding.settings import GivenObjective, hints
from when_ml_pipeline_meets_hydra.composing import compose as composing
from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job, Request
from when_ml_pipeline_meets_hydra.composing.sweep import SweepComposer
from when_ml_pipeline_meets_hydra.composing.tree import HELP, STAGES, Option
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.stages.modeling import train

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:extend_list.* is deprecated:UserWarning"),  # Hydra 1.4, of what is typed
]
READ = [o for o in OPTIONS if (o.group, o.name) != (STAGES, HELP)]
# Numbers in units of the data, which only they know.
UNLIMITED = {"min", "max", "tolerance", "snapshot"}
VARIABLES = ("${oc.env:A_NUMBER}", "${oc.env:A_WORD}", "${oc.env:NOT_SET_HERE,0.25}")
SHARED: dict[str, Any] = {}


class Came(NamedTuple):
    """What came of a command: its configs, whether they could be composed, what was said, what each job receives."""

    jobs: tuple[Job, ...]
    is_composed: bool
    problems: tuple[Problem, ...]
    places: tuple[Mapping[str, Place], ...] = ()

    def refused(self, number: int) -> list[Problem]:
        """What was said against one job."""
        return [p for p in self.problems if not p.jobs or number in p.jobs]


class Bench:
    """Prepares commands. What does not differ between them is composed once; the data are not looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.composed: list[Composed] = []
        composers: dict[tuple[str, ...], SweepComposer] = {}
        loader = SHARED["loader"] = SHARED.get("loader") or Loader()
        compose = composing.compose_with_problems

        def composer(_: Loader, hydra_values: Any) -> SweepComposer:
            lines = tuple(str(o.input_line) for o in hydra_values)
            return composers.get(lines) or composers.setdefault(lines, SweepComposer(loader, hydra_values))

        def composed(request: Request) -> Composed:
            words, dirs = request.overrides, request.config_dirs
            self.composed.append(compose(words, multirun=request.multirun, config_dirs=dirs))
            return self.composed[-1]

        monkeypatch.setattr(composing, "Loader", lambda _: loader)
        monkeypatch.setattr(composing, "SweepComposer", composer)
        monkeypatch.setattr(pipeline, "compose", composed)
        monkeypatch.setattr(pipeline, "check", lambda *_: None)

    def __call__(self, *words: str, multirun: bool = False) -> Came:
        try:
            calls = pipeline.prepare(words, multirun=multirun).bound.calls
        except BadInput as refused:
            composed = self.composed.pop()
            return Came(composed.jobs, not composed.problems, refused.problems)
        return Came(self.composed.pop().jobs, True, (), tuple(places(call) for _, call in calls))

    def read_by(self, option: Option) -> tuple[Mapping[str, Any], list[str]]:
        """The config keys that an option's command reads, with their annotations; which of them are the option's."""
        name = f"{option.group}={option.name}"
        if name not in SHARED:
            came = self(*words_for(option))
            assert not came.problems, f"{name} needs more: {[str(p) for p in came.problems]}"
            hints = {key: place.hint for key, place in came.places[0].items()}
            whole = option.package == "_global_"
            own = [k for k in hints if whole or f"{k}.".startswith(f"{option.package}.")]
            SHARED[name] = hints, own
        found: tuple[Mapping[str, Any], list[str]] = SHARED[name]
        return found


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    set_up(monkeypatch)
    monkeypatch.setenv("A_NUMBER", "3")
    monkeypatch.setenv("A_WORD", "true")
    return Bench(monkeypatch)


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}: {written(v)}" for k, v in value.items()) + "}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool | float) else str(value)


def at(config: Mapping[str, Any], key: str) -> Any:
    """What a config says at a key. Raises ``KeyError``."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping):
            raise KeyError(key)
        node = node[part]
    return node


# What a model is trained without, if an override deletes it.
OPTIONAL = {name for name, p in signature(train).parameters.items() if p.default is not p.empty}


def is_right(job: Job, hints: Mapping[str, Any]) -> bool | None:
    """What the types alone say of a config; None where they cannot tell."""
    answers: list[bool | None] = []
    config = as_written(job.config, job.raw, job.overrides)
    for key, hint in hints.items():
        try:
            value = at(config, key)
            is_class = hint is Any and isinstance(value, Mapping) and "_target_" in value
            answers.append(None if is_class else _fits(hint, value))
        except KeyError:
            if (top := key.partition(".")[0]) in OPTIONAL and top not in config:
                answers.append(None)  # the function has a default
                continue
            answers += [False] if "." not in key or key.endswith("._target_") else []  # fields: their class says
    faults = [key for key in job.faults if re.split(r"[.\[]", key)[0] in hints]
    return False if faults or False in answers else None if None in answers else True


def _fits(hint: Any, value: Any) -> bool | None:
    """As ``fits``: nearly all values are those of the job before."""
    known = SHARED.setdefault("fits", {})
    question = id(hint), repr(value)
    if question not in known:
        known[question] = hint, fits(hint, value)  # an annotation that is kept keeps its id
    answer: bool | None = known[question][1]
    return answer


def judged(job: Job, came: Came, hints: Mapping[str, Any], *keys: str) -> Iterator[str]:
    """How what came of a job differs from what the types of its options say."""
    problems, right = came.refused(job.number), job.stage != HELP and is_right(job, hints)
    derived = [name for key in keys for name in made_of(job.raw, key)]
    said = f"{job.overrides}: {[str(p) for p in problems]}"
    if not problems and right is False:
        yield f"accepted: {said}"
    if problems and right and came.is_composed:
        yield f"refused: {said}"
    if problems and not any(_concerns(p, key) for p in problems for key in derived):
        yield f"another key is blamed: {said}"
    secrets = [text for text in map(str, _secrets(job, hints)) if len(text) > 4]
    for problem in problems:
        if any(text in str(problem) for text in secrets):
            yield f"a secret is told: {said}"
        touched = any(_concerns(problem, key) for key in keys)
        yield from (f"{what}: {said}" for what in _lacks(problem, needs_origin=touched and came.is_composed))
    yield from arrived_otherwise(job, came)


def arrived_otherwise(job: Job, came: Came) -> Iterator[str]:
    """What a job receives in another way than its config says."""
    config = as_written(job.config, job.raw, job.overrides) if came.places else {}
    for key, place in (came.places[job.number] if came.places else {}).items():
        with suppress(KeyError):
            if not is_same(place.value, at(config, key), place.hint):
                yield f"{key} arrives as {place.value!r}: {job.overrides}"


def _secrets(job: Job, hints: Mapping[str, Any]) -> Iterator[Any]:
    for key in (key for key, hint in hints.items() if is_secret(hint)):
        with suppress(KeyError):
            yield at(job.config, key)


def _concerns(problem: Problem, key: str) -> bool:
    """Whether a problem is with a key, with something inside it, or with the option that it belongs to."""
    dotted = re.sub(r"\[(\d+)\]", r".\1", problem.key)
    return f"{dotted}.".startswith(f"{key}.") or f"{key}.".startswith(f"{dotted}.")


def _lacks(problem: Problem, *, needs_origin: bool) -> Iterator[str]:
    """What a person would miss in a problem."""
    text = str(problem)
    if needs_origin and problem.key != STAGES and "the override" not in (problem.origin or ""):
        yield "no origin"
    if len(problem.message) < 5 or "\n" in problem.message or "Traceback" in text or "pydantic" in text:
        yield "no message"


@pytest.mark.integration  # 40 s
def test_each_limit_of_each_field_holds(bench: Bench) -> None:
    """All values of a field are the jobs of one sweep; those that are right arrive as they are."""
    seen: set[tuple[str, str]] = set()
    wrong: list[str] = []
    for option in READ:
        hints, own = bench.read_by(option)
        for key in own:
            place = (key.rpartition(".")[2], str(hints[key]))
            if place not in seen:
                seen.add(place)
                wrong += _limits(bench, words_for(option), key, hints)
    assert not wrong, "\n".join(wrong)
    assert len(seen) > 100


def _limits(bench: Bench, words: list[str], key: str, hints: Mapping[str, Any]) -> Iterator[str]:
    if not (is_limited(hints[key]) or key.rpartition(".")[2] in UNLIMITED):
        yield f"{key} has no limit: {hints[key]}"
    of_name = chain.from_iterable(BY_FIELD.get(key.rpartition(".")[2], ()))
    tried = [*(written(v) for v in (*edges(hints[key]), *STRANGE, *of_name)), *VARIABLES]
    came = bench(*words, f"{key}={','.join(tried)}", multirun=True)
    if any("chosen by its group" in problem.message for problem in came.problems):
        return  # nothing but a group of keys may stand there
    assert len(came.jobs) == len(tried)
    for job in came.jobs:
        yield from judged(job, came, hints, key)
    if right := [text for n, text in enumerate(tried) if not came.refused(n)]:
        came = bench(*words, f"{key}={','.join(right)}", multirun=True)
        yield from (str(p) for p in came.problems)
        for job in came.jobs:
            yield from arrived_otherwise(job, came)


# What stands for a value, or is written in another way than it means.
_TOKENS = (
    *("???", "", "1e400", "-1e400", "1_0", "0x10", "1e2", ".5", "5.", "00", "+1", "NULL", "True", "NaN", "-Inf"),
    *VARIABLES,
    *("${no.such.key}", "${oc.env:NOT_SET_HERE}", "${nothing:5}", "${", "${a", "$", "'${no.such}'", "\\${home}"),
    *("${home}", "${model_name}", "${c}", "[", "{", "'", '"', "a b", "=", "[[1,", "*", "tag(1)", "glob(*)", "1,2"),
    *("sort(3,1)", "range(3)", "int(5)", "interval(0,1)", "shuffle(1,2)", "range(2,1,0)", "range(1,nan)"),
    *("float('x')", "int('5')", "bool('x')"),
    *("str([1])", "json_str({a: 1})", "extend_list(1)", "9" * 5000),
)
_TARGETS = (
    *(None, 5, "", "x", ".", "..", "a..b", "é.ü", ["x"], {"x": 1}, "os.system", "builtins.eval", "no.such.thing"),
    "when_ml_pipeline_meets_hydra",
    *(f"when_ml_pipeline_meets_hydra.{name}" for name in (".x", "no.thing", "errors.BadInput", "errors.did_you_mean")),
    "when_ml_pipeline_meets_hydra.pipeline.Run",
)


@st.composite
def overrides(draw: st.DrawFn, hints: Mapping[str, Any], own: list[str], package: str) -> tuple[str, str]:
    """A key, and an override that has to do with it."""
    key = draw(st.sampled_from(own)) if own else package
    hint = hints.get(key)
    value = st.one_of(values(hint).map(written), st.sampled_from(_TOKENS))
    kind = draw(st.integers(0, 9))
    if kind < 6:
        return key, f"{key}={draw(value)}"
    if kind == 6:
        return key, f"{draw(st.sampled_from(['+', '++', '~', '++~', '+++']))}{key}={draw(value)}"
    if kind == 7:
        return key, f"~{key}"
    if kind == 8 and not key.endswith("_target_"):
        deeper = f"{key}{draw(st.sampled_from(['x', '.x', '.0', '.', '..x', '[0]', '@x', '.x.y.z', '/x']))}"
        return key, f"{draw(st.sampled_from(['', '+', '++', '~']))}{deeper}={draw(value)}"
    top = package if package != "_global_" else key.partition(".")[0]
    return (
        f"{top}._target_",
        f"{draw(st.sampled_from(['', '++']))}{top}._target_={draw(st.sampled_from(_TARGETS).map(written))}",
    )


@pytest.mark.parametrize("option", in_groups(READ))
@costly(3)
@given(data=st.data())
def test_whatever_is_given_is_accepted_or_refused_in_words(bench: Bench, option: Option, data: st.DataObject) -> None:
    hints, own = bench.read_by(option)
    given = data.draw(st.lists(overrides(hints, own, option.package), min_size=1, max_size=3))
    came = bench(*words_for(option), *(line for _, line in given))
    keys = [name for key, line in given for name in (key, line.partition("=")[0].lstrip("+~"))]
    if not came.jobs:
        assert came.problems
    for job in came.jobs:
        wrong = list(judged(job, came, hints, *keys))
        assert not wrong, (given, wrong)


def test_the_settings_of_a_run_are_held_as_well(bench: Bench) -> None:
    wanted = {**hints(), **{f"objective.{name}": hint for name, hint in field_hints(GivenObjective).items()}}
    wrong = []
    for key, hint in {**wanted, "hydra.launcher.n_jobs": Annotated[int, Field(ge=1, le=1024)]}.items():
        for value in (*edges(hint), *STRANGE):
            is_right = fits(hint, value) and not (key == "force" and value not in ("", []))
            is_right = is_right and (key, value) != ("objective.metric", [])
            came = bench("c=preprocessing", f"{key}={written(value)}")
            if is_right is bool(came.problems) or not all(_concerns(p, key) for p in came.problems):
                wrong.append(f"{key}={value!r}: {[str(p) for p in came.problems]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    [
        *("m_param.learning_rate=nan", "m_param.learning_rate=1", "m_param.n_estimators=true", "m_param=[1]"),
        *("m_param.n_estimators=1e400", "m_param.max_depth='5'", "m_param.loss=hubber", "m_param.seed=???"),
        *("m_param.seed=${no.such.key}", "~m_param", "model.subsample=0", "++model.subsmaple=0.5", "dataset.path="),
        "model._target_=os.system",
    ],
)
def test_the_front_door_says_it_in_words(line: str) -> None:
    code, out, err = inside("c=modeling", line)
    assert (code, out) == (2, "")
    assert line.partition("=")[0].lstrip("+~") in err
    assert "Traceback" not in err


def test_bytes_that_are_no_text_are_refused(cli: Cli) -> None:
    code, _, err = cli("c=modeling", "dataset.path='caf\udce9.csv'")
    assert code == 2
    assert "dataset.path: contains bytes that are not valid UTF-8" in err
