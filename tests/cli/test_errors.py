"""User errors are reported before anything runs, all at once: key, value, origin, expectation, remedy."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budget import costly
from conftest import Cli
from small_pipeline import CONF, DIR, PACKAGES, TRACE, forget, inside, install, steps_run, write, wrong
from when_ml_pipeline_meets_hydra.errors import ExitCode


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(monkeypatch)
    yield
    forget("own")


WRONG: dict[str, tuple[list[str], list[str]]] = {
    "an unknown option": (
        ["c=gather", "gather/source=fil"],
        ["gather/source=fil: there is no such option (from the override gather/source=fil). Did you mean 'file'?"],
    ),
    "an unknown option of ours": (
        ["c=modeling", "modeling/model=gradient_bosting"],
        ["modeling/model=gradient_bosting: there is no such option", "Did you mean 'gradient_boosting' or 'hist_"],
    ),
    "an unknown stage": (["c=gathr"], ["c=gathr: there is no such option", "Did you mean 'gather'?"]),
    "an unknown subcommand": (["c=gather", "c/gather_sub=rum"], ["c/gather_sub=rum", "Did you mean 'run'?"]),
    "an unknown group": (
        ["c=gather", "gather/sources=few"],
        ["gather/sources: there is no such config group", "gather/source"],
    ),
    "an unknown group that is added": (["c=gather", "+x/y=3"], ["x/y: there is no such config group"]),
    "a misspelt key": (
        ["c=fit", "knobs.raet=0.1"],
        ["knobs.raet: there is no such key", "Did you mean 'knobs.rate'?"],
    ),
    "a misspelt first part": (
        ["c=fit", "knbs.rate=0.1"],
        ["knbs.rate: there is no such key", "Did you mean 'knobs'?"],
    ),
    "a misspelt key below": (
        ["c=ship", "target.login.usr=x"],
        ["target.login.usr: there is no such key", "Did you mean 'target.login.user'"],
    ),
    "a misspelt key in a group": (
        ["c=ship", "target={nme: x}"],
        ["target.nme: there is no such key", "'target.name'"],
    ),
    "a misspelt key that is forced": (
        ["c=fit", "++knobs.raet=0.1"],
        ["knobs.raet: there is no such key (from the override ++knobs.raet). Did you mean 'knobs.rate'?"],
    ),
    "a text for a number": (
        ["c=fit", "knobs.rate=abc"],
        ["knobs.rate=abc: expected a number, 0 < x < 1 (from the override knobs.rate=abc)"],
    ),
    "a quoted number": (
        ["c=fit", "knobs.rounds='5'"],
        [
            "knobs.rounds='5': expected a whole number, 1 ≤ x ≤ 1000, and this is a text (from the override "
            "knobs.rounds='5'). Write it without quotes"
        ],
    ),
    "a quoted truth value": (
        ["c=fit", 'knobs.strict="true"'],
        ["knobs.strict='true': expected true or false, and this is a text", "Write it without quotes"],
    ),
    "true for a number": (["c=fit", "knobs.rounds=true"], ["knobs.rounds=true: expected a whole number"]),
    "a number for true": (["c=fit", "knobs.strict=1"], ["knobs.strict=1: expected true or false"]),
    "a fraction for a whole number": (["c=fit", "knobs.rounds=1.5"], ["knobs.rounds=1.5: expected a whole number"]),
    "nothing for a number": (["c=fit", "knobs.rate=null"], ["knobs.rate=null: expected a number"]),
    "no number at all": (["c=fit", "knobs.rate=nan"], ["knobs.rate=NaN: expected a number"]),
    "infinitely much": (
        ["c=gather", "source.seconds=inf"],
        ["source.seconds=Infinity: expected a number, 0 ≤ x ≤ 60"],
    ),
    "too large": (["c=fit", "knobs.rate=1.5"], ["knobs.rate=1.5: expected a number, 0 < x < 1"]),
    "at the bound": (["c=fit", "knobs.rate=1"], ["knobs.rate=1: expected a number, 0 < x < 1"]),
    "too small": (["c=fit", "knobs.rounds=0"], ["knobs.rounds=0: expected a whole number, 1 ≤ x ≤ 1000"]),
    "none of the choices": (
        ["c=fit", "knobs.shape=lin"],
        ["knobs.shape=lin: expected one of line, parabola, exponent"],
    ),
    "an empty list": (["c=gather", "source.numbers=[]"], ["source.numbers=[]: expected a list, not empty"]),
    "an item of a list": (
        ["c=gather", "source.numbers=[1,x]"],
        ["source.numbers[1]=x: expected a whole number (from the override source.numbers=[1,x])"],
    ),
    "an empty text": (
        ["c=ship", "target.name=''"],
        ["target.name: expected a text, not empty (from the override target.name='')"],
    ),
    "a text of another form": (["c=ship", "target.mode=shout"], ["target.mode=shout: expected a text like ^(say|"]),
    "a value for a group": (
        ["c=fit", "knobs=5"],
        ["knobs: holds the keys of an option, which is chosen by its group. Write fit/knobs=…. Allowed: gentle"],
    ),
    "a list for a group": (["c=fit", "knobs=[1]"], ["knobs"]),
    "across fields": (
        ["c=fit", "knobs.shape=parabola", "knobs.rounds=1"],
        [
            "knobs: a parabola needs at least two rounds",
            "(from the override knobs.rounds=1 and the override knobs.shape=parabola)",
        ],
    ),
    "a mandatory value": (
        ["c=gather", "gather/source=file"],
        ["source.path: a value is needed", "gather/source/file.yaml, line 5", "Give it: source.path=…"],
    ),
    "a deleted value": (
        ["c=fit", "~knobs.rate"],
        ["knobs.rate: a value is needed (a number, 0 < x < 1)", "~knobs.rate"],
    ),
    "a deleted group": (["c=fit", "~knobs"], ["knobs: a value is needed: fit reads it (from the override ~knobs)"]),
    "a file that is not there": (
        ["c=gather", "gather/source=file", "source.path=nowhere.txt"],
        ["source.path=nowhere.txt: there is no such file (from the override source.path=nowhere.txt)"],
    ),
    "a folder for a file": (
        ["c=gather", "gather/source=file", "source.path=/"],
        ["source.path=/: there is no such file"],
    ),
    "a variable that is not set": (
        ["c=fit", "knobs.rate=${oc.env:NO_SUCH_THING}"],
        ["knobs.rate: the environment variable NO_SUCH_THING is not set", "Give it: knobs.rate=…"],
    ),
    "an interpolation to nowhere": (["c=fit", "knobs.rate=${no.where}"], ["knobs.rate: Interpolation key 'no.where'"]),
    "an interpolation to itself": (["c=fit", "knobs.rate=${knobs.rate}"], ["knobs.rate: Recursive interpolation"]),
    "an unknown resolver": (["c=fit", "knobs.rate=${who.knows:1}"], ["knobs.rate: Unsupported interpolation type"]),
    "a target outside": (
        ["c=fit", "+knobs._target_=os.system"],
        ["knobs._target_=os.system: only when_ml_pipeline_meets_hydra, small may be named here"],
    ),
    "a target of one's own": (["c=fit", "+knobs._target_=acme.Thing"], ["add packages=[acme] or set", PACKAGES]),
    "a target inside that is imported from outside": (
        ["c=fit", "+knobs._target_=small.options.sha256"],
        ["knobs._target_=small.options.sha256: neither a class nor a function of"],
    ),
    "a target that is not there": (["c=fit", "+knobs._target_=small.options.Nob"], ["small.options has no 'Nob'"]),
    "a module that is not there": (["c=fit", "+knobs._target_=small.nowhere.X"], ["cannot import small.nowhere"]),
    "a target without module": (["c=fit", "+knobs._target_=Knobs"], ["Write package.module.Name"]),
    "no target": (["c=fit", "+knobs._target_=null"], ["knobs._target_=null: has to be a class or function"]),
    "a module as target": (["c=fit", "+knobs._target_=small.options"], ["neither a class nor a function"]),
    "a function for an option": (
        ["c=fit", "+knobs._target_=small.steps.fit"],
        ["is a function, and an option is a class"],
    ),
    "another class": (
        [
            "c=gather",
            "+source._target_=small.options.Knobs",
            "~source.numbers",
            "~source.seconds",
            "~source.workers",
            "+source.rate=0.5",
            "+source.rounds=1",
        ],
        ["source._target_: Knobs is no Source"],
    ),
    "a class for a subcommand": (["c=fit", "fit_sub._target_=small.options.Knobs"], ["a subcommand is a function"]),
    "a target of a subcommand outside": (
        ["c=fit", "fit_sub._target_=os.system"],
        ["fit_sub._target_=os.system: only"],
    ),
    "several stages without multirun": (
        ["c=gather,fit"],
        ["c=gather,fit: several values need --multirun. Add --multirun to run one job for each"],
    ),
    "several values without multirun": (
        ["c=fit", "knobs.rounds=1,2"],
        [
            "knobs.rounds: several values need --multirun",
            "Add --multirun to run one job for each, or write knobs.rounds=[…]",
        ],
    ),
    "a range without multirun": (
        ["c=fit", "knobs.rounds=range(1,3)"],
        ["knobs.rounds: several values need --multirun"],
    ),
    "a list of stages": (
        ["c=[gather,fit]"],
        ["c: takes one name, not a list. For one job each write c=gather,fit --multirun"],
    ),
    "hydra's own": (["c=fit", "hydra.run.dri=x"], ["hydra.run.dri: there is no such key. Did you mean"]),
    "hydra's own groups": (["c=fit", "hydra/sweeper=basic"], ["hydra/sweeper: sweeps are planned as a whole"]),
    "bad grammar": (["c=fit", "knobs.rate={"], ["knobs.rate: this does not follow Hydra's grammar. Quote values"]),
    "a letter that needs quotes": (["c=fit", "knobs.rate=ä"], ["also letters such as ä: 'knobs.rate=\"…\"'"]),
    "an option without its group": (
        ["c=fit", "knobs=gentle"],
        ["knobs=gentle: holds the keys of an option, which is chosen by its group. Write fit/knobs=gentle"],
    ),
    "what is no option, without its group": (
        ["c=fit", "knobs=gentel"],
        ["knobs: holds the keys of an option, which is chosen by its group. Write fit/knobs=…. Did you mean 'gentle'?"],
    ),
    "a file in place of an option": (
        ["c=modeling", "preprocessing/dataset=my/own.csv"],
        ["there is no such option", "For a file write preprocessing/dataset=csv dataset.path=my/own.csv"],
    ),
    "a file that is not shipped": (
        ["c=preprocessing", "dataset.path=own.csv"],
        ["dataset.path=own.csv: no such file is shipped", "For a file of your own add preprocessing/dataset=csv"],
    ),
    "a name of a model with an umlaut": (
        ["c=deployment", "model_name='Umsätze 2025'"],
        ["model_name=Umsätze 2025: only ASCII letters", "'Umsatze-2025' for example"],
    ),
    "no key": (["c=fit", "=3"], ["this does not follow Hydra's grammar. Write key=value, without blanks"]),
    "no value": (["c=fit", "rate"], ["rate: neither a command nor key=value. See --help"]),
    "something that is there already": (
        ["c=fit", "+knobs.rate=0.1"],
        ["knobs.rate: this key is there already", "Leave out the +: knobs.rate=…"],
    ),
    "a choice that is left out by a list": (
        ["c=fit", "~gather/source@gather_sub.gather.source=[]"],
        ["gather/source: a deletion takes the name of one option, or none", "Write ~gather/source"],
    ),
    "something to delete that is not there": (["c=fit", "~knobs.raet"], ["knobs.raet: there is no such key"]),
    "a group at another place": (
        ["c=fit", "fit/knobs@elsewhere=gentle"],
        ["Could not override 'fit/knobs@elsewhere'"],
    ),
    "an option of what only holds groups": (["c=fit", "fit=5"], ["fit=5: there is no such option"]),
    "a number for the search path": (["c=fit", "hydra.searchpath=5"], ["hydra.searchpath: expected a list of folders"]),
    "a search path of no known kind": (
        ["c=fit", "hydra.searchpath=['x://y']"],
        ["hydra.searchpath=x://y: no such folder"],
    ),
    "a word for what is swept": (["c=fit", "hydra.sweeper.params=x"], ["hydra.sweeper.params: expected keys"]),
    "no launcher": (["c=fit", "hydra/launcher=[]"], ["hydra.launcher: expected keys with their values"]),
    "a part of Hydra's that is elsewhere": (["c=fit", "hydra.run=${x}"], ["hydra.run: expected keys"]),
    "a folder that is not there": (
        ["c=fit", "hydra.searchpath=[/no/where]"],
        ["hydra.searchpath=/no/where: no such folder"],
    ),
    "no stage": (["knobs.rate=0.1"], ["c: no stage is chosen. Add c=… with one of gather, "]),
    "help is no stage": (["c=help", "knobs.rate=0.1"], ["c: no stage is chosen"]),
    "an unknown stage to force": (["c=fit", "force=[fit,ift]"], ["force=ift: expected a list of stages (gather, "]),
    "no list to force": (["c=fit", "force={a: 1}"], ["force"]),
    "a file as the place": (["c=fit", f"home={__file__}"], ["nothing can be written there (Not a directory)"]),
    "no place": (["c=fit", "home=null"], ["home=null: expected a path"]),
    "a place that is none": (
        ["c=fit", "home=${oc.env:NO_SUCH_THING}"],
        ["home: the environment variable NO_SUCH_THING"],
    ),
    "no truth": (["c=fit", "show_secrets=maybe"], ["show_secrets=maybe: expected true or false"]),
}


@pytest.mark.parametrize(("words", "parts"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_reported(words: list[str], parts: list[str]) -> None:
    reported = "\n".join(wrong(*words).values())
    for part in parts:
        assert part in reported


MULTI = {
    "an interval": (["knobs.rounds=interval(1,3)"], "knobs.rounds: an interval is for a search"),
    "no value": (["knobs.rounds=range(5,1)"], "knobs.rounds: makes no job"),
    "a pattern of values": (["knobs.rounds=glob(*)"], "knobs.rounds: glob(…) is for the options of a group"),
    "a pattern that fits none": (["fit/knobs=glob(x*)"], "fit/knobs: no option matches the glob(…)"),
    "a range without steps": (["knobs.rounds=range(1,5,0)"], "knobs.rounds: a range goes from number to number"),
    "a range of tiny steps": (["knobs.rate=range(1,5,0.0)"], "knobs.rate: a range goes from number to number"),
    "a range to nowhere": (["knobs.rate=range(1,nan)"], "knobs.rate: a range goes from number to number"),
    "a sorted range": (
        ["knobs.rounds=sort(range(5,1,0))"],
        "follow Hydra's grammar. Write sort(a,b,…)"
        if version("hydra-core").startswith("1.4")
        else "knobs.rounds: a range goes from number to number",
    ),
    "a range of options to nowhere": (["fit/knobs=range(nan)"], "fit/knobs"),
    "a range of options without steps": (["fit/knobs=range(1,5,0)"], "fit/knobs"),
    "a range of words": (["knobs.rounds=range(a)"], "follow Hydra's grammar. Write range(stop)"),
    "a tag of a list": (["knobs.rounds=tag(a,1,2)"], "follow Hydra's grammar. Write tag(name,choice(a,b,…))"),
    "too many to shuffle": (["knobs.rounds=shuffle(range(1000000000))"], "knobs.rounds: makes more than 100000 jobs"),
    "a list in a list": (["knobs.rounds=1,str(2,3)"], "knobs.rounds: a sweep cannot be inside a list"),
    "a list in a pattern": (["fit/knobs=glob(choice(a,b))"], "follow Hydra's grammar. Write glob(pattern)"),
    "many options that are none": (["fit/knobs=range(3000)"], "fit/knobs: 2980 more of its values are not options"),
    "too many values": (["knobs.rounds=range(1,1000000000)"], "knobs.rounds: makes more than 100000 jobs"),
    "too many jobs": (
        ["knobs.rounds=range(0,9999)", "knobs.rate=range(0,9999)"],
        "--multirun: these are 99980001 jobs",
    ),
    "another place": (["home=a,b"], "home: has to be the same for all jobs of a run"),
    "one wrong value of many": (["knobs.rounds=1,2,x"], "knobs.rounds=x: expected a whole number"),
    "one wrong option of many": (["fit/knobs=gentle,rough"], "fit/knobs=rough: there is no such option"),
    "a key that only one option has": (
        ["gather/source=few,file", "source.path=x"],
        "source.path: there is no such key",
    ),
}


@pytest.mark.parametrize(("words", "part"), MULTI.values(), ids=MULTI.keys())
def test_what_is_wrong_with_a_sweep_is_reported(words: list[str], part: str) -> None:
    started = time.monotonic()
    assert part in "\n".join(wrong("c=fit", *words, multirun=True).values())
    assert time.monotonic() - started < 10


def test_everything_is_reported_at_once() -> None:
    found = wrong(
        "c=ship",
        "fit/knobs=rough",
        "target.nme=x",
        "target.mode=shout",
        "source.workers=0",
        "source.seconds=",
        "show_secrets=maybe",
        "knobs.shape=lin",
        "cluster.url={",
        "x/y=z",
    )
    assert [*found] == [
        *("cluster.url", "fit/knobs", "x/y", "target.nme", "show_secrets"),
        *("source.seconds", "source.workers", "target.mode"),
    ]


def test_all_jobs_are_reported_at_once() -> None:
    found = wrong("c=fit,ship", "knobs.rate=7,8", "target.mode=shout", multirun=True)
    assert [*found] == ["knobs.rate", "target.mode"]


def test_what_follows_from_a_mistake_is_not_reported_again() -> None:
    assert [*wrong("c=gather", "gather/source=fiel", "source.path=x", "source.pth=3")] == ["gather/source"]
    assert [*wrong("c=gather", "gather/source=file", "source.path={")] == ["source.path"]
    # Values that are taken from a wrong one.
    assert [*wrong("c=deployment", "dataset=null")] == ["dataset"]
    assert [*wrong("c=modeling", "objective.metric={a: r2}")] == ["objective.metric"]
    assert [*wrong("c=modeling", "objective.metric=[]")] == ["objective.metric"]
    found = wrong("c=deployment", "dataset.name=5x5,[1]", "model_name='${dataset.name}é'", multirun=True)
    assert {*found} == {"model_name", "dataset.name"}, "of different jobs"


def test_names_in_a_defaults_list_that_are_wrong(tmp_path: Path) -> None:
    """In the chosen file itself, in one that it includes, and where it overrides what is not there."""
    lines = {
        "experiment/one": ("override /modeling/model: linear", "override /modeling/param: smal"),
        "experiment/two": ("/shared/three",),
        "shared/three": ("override /modeling/param: smal",),
        "experiment/four": ("override /modeling/params: small",),
        "modeling/param/empty": (),
    }
    for name, entries in lines.items():
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "# @package _global_\n# A file\ndefaults:\n" + "".join(f"  - {entry}\n" for entry in entries)
        file.write_text(text if entries else "")
    for name, option, line in (("one", "experiment/one", 5), ("two", "shared/three", 4)):
        (said,) = wrong("c=modeling", f"+experiment={name}", dirs=[str(tmp_path)]).values()
        assert f"{option.replace('/', '=')}: its defaults list names modeling/param=smal, and there is no such" in said
        assert f"{option}.yaml, line {line})" in said
        assert "Did you mean 'small'?" in said
    (said,) = wrong("c=modeling", "+experiment=four", dirs=[str(tmp_path)]).values()
    assert "experiment=four: its defaults list is wrong: Could not override 'modeling/params'" in said
    assert "experiment/four.yaml, line 4)" in said
    (said,) = wrong("c=modeling", "modeling/param=empty", dirs=[str(tmp_path)]).values()
    assert "modeling/param=empty: its file is empty" in said
    assert "Make '# @package m_param' the first line of the file, followed by keys" in said


def test_a_person_reads_paragraphs_and_nothing_is_written(cli: Cli, own_home: Path) -> None:
    code, out, err = cli(*DIR, "c=fit", "knobs.rate=1.5", "knobs.shape=lin")
    assert code == ExitCode.BAD_INPUT
    assert out == ""
    assert err.splitlines() == [
        "Nothing ran: 2 problems",
        "  knobs.rate=1.5: expected a number, 0 < x < 1",
        "      from the override knobs.rate=1.5",
        "  knobs.shape=lin: expected one of line, parabola, exponent",
        "      from the override knobs.shape=lin",
    ]
    assert steps_run() == {}
    assert not own_home.exists()
    assert list(Path.cwd().iterdir()) == []


def test_data_are_looked_at_before_anything_runs(own_home: Path) -> None:
    Path("numbers.txt").write_text("1\nx\n3\ny\n")
    code, _, err = inside(*DIR, "c=fit", "gather/source=file", "source.path=numbers.txt")
    assert code == ExitCode.BAD_INPUT
    assert "2 problems" in err
    for text in ("source.path: line 2 is no whole number: x", "line 4 is no whole number: y", "Correct it"):
        assert text in err
    assert "from the override source.path=numbers.txt" in err
    assert steps_run() == {}
    assert not own_home.exists()


def test_data_of_stored_steps_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from small.options import FileSource

    Path("numbers.txt").write_text("1\n2\n")
    words = (*DIR, "c=gather", "gather/source=file", "source.path=numbers.txt")
    assert inside(*words).code == 0
    monkeypatch.setattr(FileSource, "check", lambda self: pytest.fail("looked at again"))
    assert inside(*words).code == 0


SOURCE = "# @package source\n# d\n"
FILES = {
    "broken YAML": (SOURCE + "a: [1\n", "bad.yaml, line 4", "its file cannot be read"),
    "a tab": (SOURCE + "numbers:\n\t- 1\n", "bad.yaml, line 4", "cannot start any token"),
    "a key that is there twice": (SOURCE + "a: 1\na: 2\n", "bad.yaml, line 4", "found duplicate key a"),
    "a broken interpolation": (SOURCE + "a: ${b\n", "bad.yaml", "its file cannot be read"),
    "a default that is not there": (
        SOURCE + "defaults:\n  - nowhere\n",
        "gather/source",
        "names gather/source=nowhere, and",
    ),
    "defaults that are none": (SOURCE + "defaults: 5\n", "gather/source", "defaults must be a list"),
    "defaults in a circle": (SOURCE + "defaults:\n  - bad\n", "defaults", "leads back to itself"),
    "a list": (SOURCE + "- 1\n", "source=[1]", "expected a group of keys"),
    "no keys": (SOURCE, "source.numbers", "a value is needed"),
    "no header": ("# d\nnumbers: [1]\n", "gather/source=bad", "Make '# @package source' the first line of the file"),
    "a header that is not the first line": ("# d\n" + SOURCE, "gather/source=bad", "first line of the file"),
    "a misspelt header": ("# @package sorce\nnumbers: [1]\n", "'source' is neither", "'sorce'"),
    "an unknown key": (SOURCE + "numbers: [1]\nworker: 3\n", "source.worker", "bad.yaml, line 4"),
    "a wrong value": (SOURCE + "numbers: [1]\nworkers: many\n", "source.workers=many", "bad.yaml, line 4"),
}


@pytest.mark.parametrize(("content", "key", "message"), FILES.values(), ids=FILES.keys())
def test_what_is_wrong_with_an_option_file_is_reported(content: str, key: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "conf", {"gather/source/bad.yaml": content})
    reported = "\n".join(wrong("c=gather", "gather/source=bad", dirs=[folder]).values())
    assert key in reported
    assert message in reported


def test_an_option_of_ours_without_its_header_is_reported(tmp_path: Path) -> None:
    folder = write(tmp_path / "conf", {"deployment/cluster/mine.yaml": "# d\nname: mine\n"})
    found = wrong("c=gather", "deployment/cluster=mine", dirs=[folder])
    assert "keys would be in the package 'deployment.cluster'" in found["deployment/cluster=mine"]
    assert "Make '# @package cluster' the first line of the file" in found["deployment/cluster=mine"]


def test_a_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "conf" / "gather" / "source").mkdir(parents=True)
    (tmp_path / "conf" / "gather" / "source" / "bad.yaml").write_bytes(b"# @package source\n# \xe9\nnumbers: [1]\n")
    assert "gather/source=bad" in wrong("c=gather", "gather/source=bad", dirs=[str(tmp_path / "conf")])


SUB = "# @package own_sub\n# d\n_target_: small.steps.gather\n"
STAGES = {
    "broken YAML": ({"c/own.yaml": "name: [", "c/own_sub/run.yaml": SUB}, "c=own: its file cannot be read"),
    "after nothing that is": ({"c/own.yaml": "after: gathr", "c/own_sub/run.yaml": SUB}, "Did you mean 'gather'?"),
    "after a number": ({"c/own.yaml": "after: 5", "c/own_sub/run.yaml": SUB}, "'5', which is not a stage"),
    "after itself": ({"c/own.yaml": "after: own", "c/own_sub/run.yaml": SUB}, "the stage comes after itself"),
    "no such subcommand": (
        {"c/own.yaml": "subcommand: go", "c/own_sub/run.yaml": SUB},
        "c=own: its subcommand is go, and",
    ),
    "no subcommands": ({"c/own.yaml": "name: own"}, "'own' is no stage that can run"),
    "no default": (
        {"c/own.yaml": "name: own", "c/own_sub/a.yaml": SUB, "c/own_sub/b.yaml": SUB},
        "no subcommand is chosen, and the stage has no default",
    ),
    "no header": ({"c/own.yaml": "# d", "c/own_sub/run.yaml": "_target_: small.steps.gather"}, "# @package own_sub"),
    "no target": ({"c/own.yaml": "# d", "c/own_sub/run.yaml": "# @package own_sub\na: 1"}, "names no function"),
}


@pytest.mark.parametrize(("files", "message"), STAGES.values(), ids=STAGES.keys())
def test_what_is_wrong_with_a_stage_is_reported(files: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in "\n".join(wrong("c=own", dirs=[write(tmp_path / "conf", files)]).values())


OWN = """
from __future__ import annotations
from pathlib import Path
from typing import TYPE_CHECKING
from when_ml_pipeline_meets_hydra.contracts import Artifact, frozen
from small.steps import Curve, Numbers
if TYPE_CHECKING:
    from nowhere import Thing

class Plain:
    pass

def unannotated(source) -> None: ...
def unknown(sorce: int) -> None: ...
def nowhere(source: Thing) -> None: ...
def many(*source: int) -> None: ...
def plain(source: Plain) -> None: ...
def mismatch(gather: Curve) -> None: ...
def nothing(ship: Numbers) -> None: ...
def circle(own: Numbers, *, out: Path) -> Numbers: ...
def circle_of_two(other: Numbers, *, out: Path) -> Numbers: ...
def other(own: Numbers, *, out: Path) -> Numbers: ...
"""

FUNCTIONS = {
    "unannotated": "own.unannotated: cannot be a subcommand: its parameter 'source' has no annotation",
    "unknown": "own_sub: its parameter 'sorce' is neither a config key nor a stage",
    "nowhere": "own.nowhere: cannot be a subcommand: name 'Thing' is not defined",
    "many": "its parameter 'source' cannot be given by name",
    "plain": "Plain is no type that values can be checked against",
    "mismatch": "own needs the Curve of gather, but its subcommand 'run' returns Numbers",
    "nothing": "own needs the Numbers of ship, but its subcommand 'run' returns nothing",
    "circle": "needs its own result: own → own",
    "circle_of_two": "needs its own result: own → other → own",
    "missing": "own has no 'missing'",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stages whose functions are wrong, in a package of their own."""
    write(tmp_path / "py", {"own.py": OWN, "dying.py": "raise SystemExit('no')", "bad.py": "def (:"})
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    monkeypatch.setenv(PACKAGES, "small own dying bad")
    options = {f"c/own_sub/{n}.yaml": f"# @package own_sub\n# d\n_target_: own.{n}\n" for n in FUNCTIONS}
    other = {"c/other.yaml": "# d\n", "c/other_sub/run.yaml": "# @package other_sub\n# d\n_target_: own.other\n"}
    return write(tmp_path / "conf", {"c/own.yaml": "# d\nsubcommand: unknown\n", **options, **other})


@pytest.mark.parametrize(("name", "message"), FUNCTIONS.items())
def test_what_is_wrong_with_a_function_is_reported(name: str, message: str, own: str) -> None:
    assert message in "\n".join(wrong("c=own", f"c/own_sub={name}", dirs=[own]).values())


@pytest.mark.parametrize(
    ("module", "message"),
    [("dying", "importing dying fails: SystemExit: no"), ("bad", "importing bad fails: SyntaxError")],
)
def test_a_module_that_cannot_be_imported_is_reported(module: str, message: str, own: str) -> None:
    assert message in "\n".join(wrong("c=own", f"own_sub._target_={module}.f", dirs=[own]).values())


def test_packages_count_on_the_command_line_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PACKAGES)
    assert "gather_sub._target_" in wrong("c=gather")
    assert inside(*DIR, "c=gather", "packages=[small]").code == 0
    greedy = {"gather/source/greedy.yaml": "# @package _global_\npackages: [small]\nsource: {numbers: [1]}\n"}
    assert "gather_sub._target_" in wrong("c=gather", "gather/source=greedy", dirs=[write(tmp_path / "conf", greedy)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "unrecognized arguments: --nope"),
        (["c=fit", "--cfg", "nope"], "invalid choice: 'nope'"),
        (["c=help", "--cfg", "job", "--package", "home.x"], "--package=home.x: there is no such key"),
        (["--config-dir"], "expected one argument"),
        (["c=fit", "--config-dir", "/no/where"], "--config-dir=/no/where: no such folder"),
        (["c=fit", "--config-dir", __file__], "no such folder"),
        (["c=fit", "--config-dir", "x://y"], "--config-dir=x://y: no such folder"),
        (["-sc", "install=tcsh"], "-sc=install=tcsh: not understood"),
        (["plan", "c=fit", "--nope"], "No such option"),
        (["plan"], "c: no stage is chosen"),
        (["runs", "nope"], "No such command"),
        (["runs", "diff", "a"], "Missing argument"),
        (["store", "gc", "--unused-for", "-1"], "Invalid value for '--unused-for'"),
        (["runs", "show", "nope"], "nope: there is no such run"),
    ],
)
def test_what_is_wrong_with_the_flags_is_reported(words: list[str], message: str, own_home: Path) -> None:
    found = inside(*words)
    assert found.code == ExitCode.BAD_INPUT
    assert message in re.sub(r"\s+", " ", found.err)
    assert "Traceback" not in found.err
    assert not own_home.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["plan", *DIR, "c=gather", f"home={'x' * 300}"],
        ["plan", *DIR, "c=gather", f"hydra.searchpath=[{'x' * 300}]"],
        ["c=gather", "--config-dir", "/x" * 3000],
        ["c=gather", f"{'x' * 300}=3"],
        ["x" * 300],
    ],
    ids=range(5),
)
def test_a_name_that_no_file_can_have_is_reported(words: list[str]) -> None:
    code, _, err = inside(*words)
    assert (code, "Nothing ran" in err, "Unexpected" in err) == (ExitCode.BAD_INPUT, True, False)
    assert "xxxxx" in err or "/x/x/x" in err


@pytest.mark.parametrize("home", ["/proc/no", "/dev/null/x"])
def test_a_home_that_cannot_be_written_is_reported(home: str) -> None:
    code, _, err = inside(*DIR, "c=gather", f"home={home}")
    assert code == ExitCode.BAD_INPUT
    assert f"home={home}: nothing can be written there" in err


WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
SIGNS = st.text("ab01[]{}(),:=.$'\"\\ +~@/*-_", max_size=12)
KEYS = st.sampled_from(
    [
        *("c", "gather/source", "fit/knobs", "c/fit_sub", "source", "knobs.rate", "target.login", "home", "", "fit"),
        *("hydra", "hydra/launcher", "hydra/sweeper", "hydra.launcher", "hydra.sweeper.params", "hydra.searchpath"),
        *("hydra.sweeper.params.x", "hydra.run", "hydra.sweep.dir", "hydra.job", "hydra.job.config"),
    ]
)
VALUES = st.sampled_from(
    ["few", "file", "fit", "null", "[]", "{a: 1}", "1,2", "range(1,3)", "glob(*)", "${knobs}", "nan"]
)
NUMBERS = st.sampled_from(["0", "1", "-1", "5", "0.0", "0.1", "1e-320", "1e3", "nan", "-inf", "null"])
CALLED = st.sampled_from(["choice", "range", "glob", "interval", "sort", "shuffle", "tag", "int", "str", "nothing"])
CALLS = st.recursive(
    VALUES | NUMBERS,
    lambda inner: (
        st.builds(lambda f, given: f"{f}({','.join(given)})", CALLED, st.lists(inner, max_size=3))
        | st.builds(lambda given: f"range({','.join(given)})", st.lists(NUMBERS, min_size=1, max_size=3))
    ),
    max_leaves=5,
)
OVERRIDES = (
    st.builds("{}{}={}".format, st.sampled_from(["", "", "+", "++", "~"]), KEYS, CALLS | CALLS | WORDS | SIGNS) | SIGNS
)


@costly(12)
@given(st.lists(OVERRIDES, max_size=3), st.sampled_from([["plan"], ["--cfg", "job"], ["--help"]]), st.booleans())
def test_whatever_is_typed_is_understood_or_reported(overrides: list[str], how: list[str], multirun: bool) -> None:
    words = [*(how if how == ["plan"] else []), *DIR, "c=fit", *(o for o in overrides if not o.startswith("-"))]
    started = time.monotonic()
    found = inside(*words, *(how if how != ["plan"] else []), *(["--multirun"] if multirun else []))
    assert found.code in (ExitCode.DONE, ExitCode.BAD_INPUT), found.err
    assert "Traceback" not in found.out + found.err
    assert time.monotonic() - started < 20
    assert not Path(TRACE).exists()


def test_the_examples_of_this_file_are_in_order() -> None:
    """Without a mistake the small pipeline runs: each test above fails for its own reason."""
    assert inside("--config-dir", CONF, "c=ship").code == 0
