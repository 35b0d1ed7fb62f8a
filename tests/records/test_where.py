"""The filter language of ``runs list --where``."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budget import costly
from small_pipeline import inside, living_in, small
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode
from when_ml_pipeline_meets_hydra.records.compare import look_up
from when_ml_pipeline_meets_hydra.records.find_runs import find_runs
from when_ml_pipeline_meets_hydra.records.lookup import read_records
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.records.where import Where

INDEX = "when_ml_pipeline_meets_hydra.records.index"
WORDS = "+words={word: '10', text: abc, no: 0, yes: true, list: [1, a], lambda: 3, nothing: null}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a few runs, among them a sweep, a failed one, and one with keys that no other has."""
    home = tmp_path_factory.mktemp("filtered")
    with living_in(home):
        small("c=gather")
        small("c=fit", "knobs.rounds=3", WORDS)
        small("c=fit", "knobs.rate=0.1,0.2,0.7", "knobs.rounds=1,9", multirun=True)
        small("c=fit", "knobs.strict=true")
        small("c=fit", "knobs.rate=0.9")
        inside("runs", "tag", "last", "best", "baseline")
        inside("runs", "note", "last", "the first\nof all")
        yield home


@pytest.fixture(autouse=True)
def _there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{INDEX}._RACY", 0)  # these records have ended
    monkeypatch.setenv("WMH_HOME", str(home))


def found(text: str, home: Path) -> list[str]:
    """The numbers of the runs that a filter finds, from the oldest, 0."""
    names = [record.id for record in read_records(home)]
    return sorted("".join(str(names.index(run.id)) for run in find_runs(home, [Where(text)])))


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("knobs.rounds == 10", "034"),
        ("knobs.rounds != 10", "12"),
        ("not knobs.rounds == 10", "12"),
        ("exists(knobs.rounds)", "01234"),
        ("not exists(words.text)", "0234"),
        ("knobs.rate > 0.5 and knobs.rounds > 5", "24"),
        ("knobs.rate > 0.5 and knobs.rounds == 1", "2"),
        ("0.05 < knobs.rate <= 0.1", "2"),
        ("fit.height > 5 or status == 'failed'", "34"),
        ("fit.height > fit.rest", "124"),
        ('fit/knobs == "gentle"', "01234"),
        ("'best' in tags", "4"),
        ("'best' not in tags", "0123"),
        ("'first' in note", "4"),
        ("'rounds=1,9' in command", "2"),
        ("jobs > 1", "2"),
        ("'fit' in stages and status in ['done', 'killed']", "124"),
        ("seconds >= 0 and started > '2020-01-01'", "01234"),
        ("started < '2020-01-01' or started == '2020-02-29T10:00'", ""),
        ("words.word > 9", "1"),
        ("words.word < 9", ""),
        ("words.word > '9'", ""),  # as texts
        ("words.word == 10", "1"),
        ("words.word == '10.0'", ""),
        ("words.text > 9", ""),
        ("words.text >= 'abb'", "1"),
        ("'b' in words.text", "1"),
        ("words.yes", "1"),
        ("words.yes == true", "1"),
        ("words.yes == 1", ""),
        ("words.no == false", ""),
        ("1 in words.list and words.list == [1, 'a']", "1"),
        ("words.nothing == null", "1"),
        ("words.nothing == None and words.nothing != 3", "1"),
        ("words.nothing > -1", ""),
        ('key["words.lambda"] == 3', "1"),
        ("knobs.rounds in (1, 2)\n or\tknobs.rounds in [9]", "2"),
    ],
)
def test_what_a_filter_finds(text: str, runs: str, home: Path) -> None:
    assert "".join(found(text, home)) == runs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the filter is empty"),
        ("knobs.rate =", "at character 12: this cannot be read. Compare with =="),
        ("knobs.rate > 1 AND jobs > 1", "at character 16: this cannot be read. Write and, or, not"),
        ("(knobs.rate > 1", "at character 1: '(' was never closed"),
        ("knobs.rate", None),
        ("knobs.rate + 1 > 2", "at character 1: expected a name, a number, a text in quotes"),
        ("started > 2026-01-01", "at character 16: a date or a text without quotes. Write it in quotes"),
        ("started > 'yesterday'", "at character 11: 'yesterday' is no date"),
        ("'2026-01-01' < started", "at character 1: the date stands on the right"),
        ("status is 'done'", "at character 1: 'is' is not known. Use == or !="),
        ("status in [done]", "at character 12: a list has values only"),
        ("__import__('os').system('touch here')", "at character 1: only exists(name) can be called"),
        ("[x for x in (1, 2)]", "at character 1: expected a comparison"),
        ("(lambda: 1)() == 1", "at character 1: expected a name"),
        ("knobs.__class__ == 1", "no run has 'knobs.__class__'"),
        ("'ä' == knobs.rat", "at character 8: no run has 'knobs.rat'. Did you mean 'knobs.rate'"),
        ("height > 1", "no run has 'height'. Did you mean 'fit.height'?"),
        ("status == done", "at character 11: no run has 'done'. Write a text in quotes: \"done\""),
        ("duration > 1 and stage == 'x'", "no run has 'duration'. Did you mean 'seconds'?"),
        ("a" * 5000, "a filter has at most 4,000 characters"),
        ("not " * 900 + "a", "nested too deeply"),
        ("(" * 250 + "a" + ")" * 250, "at character"),
        ("a" + ".a" * 1900 + " > 1", "nested too deeply"),
        ("-" * 3900 + "1 < a", "nested too deeply"),
        ("a > \0", "at character"),
        ("a > \udcff", "nested too deeply"),
        ("9" * 3000 + " > a > 1", "no run has 'a'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_filter_is_refused_with_its_place(text: str, message: str | None, home: Path) -> None:
    code, out, err = inside("runs", "list", "--where", text)
    if message is None:
        assert (code, out.count("\n")) == (ExitCode.DONE, 1)
        return
    with pytest.raises(BadInput) as refused:
        find_runs(home, [Where(text)])
    assert message in str(refused.value)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert "--where" in err
    assert not list(Path.cwd().glob("here"))


# How it would be evaluated on the records, written another way.

KEYS = (
    "knobs.rate",
    "knobs.rounds",
    "words.word",
    "words.text",
    "words.no",
    "words.yes",
    "words.nothing",
    "none.at.all",
)
METRICS = ("fit.height", "fit.rest", "gather.size")
LITERALS = (0, 1, 3, 9, 10, 0.1, 0.7, 5.4, -1, True, False, None, "10", "9", "abc", "done", "gentle", "")
SIGNS = ("==", "!=", "<", "<=", ">", ">=")

atoms = st.tuples(
    st.sampled_from((*KEYS, *METRICS, "fit/knobs", "status", "seconds", "jobs", "note")),
    st.sampled_from(SIGNS),
    st.sampled_from(LITERALS),
)
trees = st.recursive(
    atoms,
    lambda part: st.one_of(st.tuples(st.just("not"), part), st.tuples(part, st.sampled_from(("and", "or")), part)),
    max_leaves=6,
)


def as_text(tree: Any) -> str:
    """A tree as a filter."""
    if tree[0] == "not":
        return f"not ({as_text(tree[1])})"
    if tree[1] in ("and", "or"):
        return f"({as_text(tree[0])}) {tree[1]} ({as_text(tree[2])})"
    name, sign, literal = tree
    return f"{name} {sign} {literal!r}"


def holds(tree: Any, values: Mapping[str, Any]) -> bool:
    """Whether a tree holds for the values of a combination."""
    if tree[0] == "not":
        return not holds(tree[1], values)
    if tree[1] in ("and", "or"):
        left, right = holds(tree[0], values), holds(tree[2], values)
        return (left and right) if tree[1] == "and" else (left or right)
    name, sign, literal = tree
    if name not in values:
        return False
    one, other = values[name], literal
    if "number" in (kind(one), kind(other)):
        one, other = number(one), number(other)
    same = kind(one) == kind(other) and one == other
    if sign in ("==", "!="):
        return same is (sign == "==")
    if kind(one) != kind(other) or kind(one) not in ("number", "str"):
        return False
    return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[sign])


def kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and value.isdigit() else value


def combinations(record: Record) -> Iterator[dict[str, Any]]:
    """The values of each combination of a record, by the names above."""
    jobs = list(record.jobs())
    for place in {job["combination"] for job in jobs}:
        own = [job for job in jobs if job["combination"] == place]
        config = record.config(own[0]["number"])
        values = {key: value for key in KEYS if (value := look_up(config, key, math)) is not math}
        values |= own[0]["choices"]
        for step in record.steps:
            if {job["number"] for job in own} & {*step["jobs"]}:
                values |= {f"{step['stage']}.{name}": value for name, value in (step["metrics"] or {}).items()}
        facts = {"status": str(record.status), "seconds": record.head["seconds"], "jobs": len(jobs)}
        yield {**values, **facts, "note": record.note}


@cache
def recorded(home: Path) -> dict[str, list[dict[str, Any]]]:
    """The values of the combinations of each run."""
    return {record.id: list(combinations(record)) for record in read_records(home)}


@costly(60)
@given(tree=trees)
def test_a_filter_finds_through_the_index_what_it_finds_in_the_records(tree: Any, home: Path) -> None:
    of_runs = recorded(home)
    known = {key for found in of_runs.values() for values in found for key in values}
    expected = [run for run, found in of_runs.items() if any(holds(tree, values) for values in found)]
    shutil.rmtree(home / "cache", ignore_errors=True)
    for _ in range(2):  # without an index, and with the one that was made
        try:
            assert [run.id for run in find_runs(home, [Where(as_text(tree))])][::-1] == expected
        except BadInput as error:
            unknown = {problem.message.split("'")[1] for problem in error.problems}
            assert unknown
            assert not unknown & known
    assert (home / "cache" / "runs.sqlite").is_file()


def test_records_are_shown_as_json_with_tags_and_note(home: Path) -> None:
    code, out, _ = inside("runs", "list", "--where", "knobs.rate > 0.8", "--tag", "best", "--json")
    (content,) = json.loads(out)
    assert (code, content["tags"], content["note"]) == (0, ["baseline", "best"], "the first\nof all")
    assert content["steps"]
    assert inside("runs", "list", "--where", "knobs.rate > 0.8", "--tag", "other").out.count("\n") == 1
