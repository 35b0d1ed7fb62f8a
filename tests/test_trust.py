"""A config from elsewhere runs no code that the person at the keyboard has not allowed, and ends within seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Cli
from small_pipeline import CONF, DIR, PACKAGES, forget, inside, install, steps_run, write, wrong
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode
from when_ml_pipeline_meets_hydra.pipeline import prepare

OWN = "when_ml_pipeline_meets_hydra"
RAN = "ran.txt"
# A module that notes that it was imported, and what of it was called.
EVIL = f"""
from pathlib import Path
Path({RAN!r}).open("a").write("imported\\n")
def call(**named: str) -> None: Path({RAN!r}).open("a").write("called\\n")
class Made:
    def __init__(self, **named: str) -> None: call()
"""
LENIENT = """
from __future__ import annotations
import shutil
from pathlib import Path
from shutil import rmtree
from small.options import Knobs as Borrowed
from small.steps import gather as borrowed
from when_ml_pipeline_meets_hydra.contracts import Artifact, frozen

def called() -> None: Path("ran.txt").write_text("called")
def wipe(path) -> None: called()
def silent(source: int): called()
def text(source: int) -> str: called()
def either(source: int) -> Artifact | None: called()
lazy = lambda: called()
class Loose:
    def __init__(self, path): called()
    def read(self) -> tuple[int, ...]: return ()
"""
LIBRARY = """
class Estimator:
    def __init__(self, alpha=1.0, deep=None): self.alpha, self.deep = alpha, deep
class Ridge(Estimator): pass
class Splitter:
    def __init__(self, alpha=1.0): from evil import call
"""
ASKS = """
from __future__ import annotations
from collections.abc import Mapping
from typing import Annotated
from library import Estimator
from pydantic import SecretStr
from when_ml_pipeline_meets_hydra import Artifact, Chosen, Several, effect, frozen

@frozen
class Model:
    estimator: Annotated[Estimator, Chosen()]
    others: Annotated[Mapping[str, Estimator], Several()]

class Login:
    def __init__(self, user: str, tries: int, phrase: SecretStr) -> None:
        self.user, self.tries, self.phrase = user, tries, phrase

@effect
def learn(maker: Model, login: Login) -> None:
    found = [f"{type(e).__name__}({e.alpha})" for e in (maker.estimator, *maker.others.values())]
    print(*found, login.user, login.tries + 1, len(login.phrase.get_secret_value()), login.phrase.get_secret_value())
"""
ASKING = {
    "c/learn.yaml": "# d\nsubcommand: it\n",
    "c/learn_sub/it.yaml": "# @package learn_sub\n# d\n_target_: asks.learn\n",
    "learn/maker/wide.yaml": (
        "# @package _global_\n# d\nmaker: {_target_: asks.Model, others: {b: {_target_: library.Ridge, alpha: 3}}}\n"
        "login: {_target_: asks.Login, user: bob, tries: 2, phrase: hunter22hunter}\n"
        "estimator: {_target_: library.Ridge, alpha: 2}\n"
    ),
}


@pytest.fixture(autouse=True)
def _packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The small pipeline, a package ``lenient`` that is allowed, and one called ``evil`` that is not."""
    install(monkeypatch)
    evil = {"evil/__init__.py": EVIL, "evil/conf/__init__.py": EVIL, "evil/conf/fit/knobs/far.yaml": KNOBS}
    write(tmp_path / "py", {**evil, "lenient.py": LENIENT})
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    monkeypatch.setenv(PACKAGES, "small lenient")
    yield
    assert not Path(RAN).exists(), "code ran that nobody allowed"
    forget("evil")
    forget("lenient")


KNOBS = "# @package knobs\n# d\nrate: 0.5\nrounds: 1\n"
GLOBAL = "# @package _global_\n# d\n"
EXPERIMENTS = {
    "a callback": (
        "hydra:\n  callbacks:\n    x: {_target_: evil.Made, file: x}\n",
        "hydra.callbacks.x._target_=evil.Made: only when_ml_pipeline_meets_hydra, small, lenient may be named here",
    ),
    "a callback of Python's": (
        "hydra:\n  callbacks:\n    x: {_target_: subprocess.check_call, _args_: [[touch, ran.txt]]}\n",
        "hydra.callbacks.x._target_=subprocess.check_call: only",
    ),
    "a callback that is a function of ours": (
        f"hydra:\n  callbacks:\n    x: {{_target_: {OWN}.storage.durable_files.write, path: ran.txt, content: x}}\n",
        "of this program, only classes of options may be named here",
    ),
    "a callback inside of a callback": (
        "hydra:\n  callbacks:\n    x: {_target_: small.options.Login, user: {_target_: evil.call}, phrase: p}\n",
        "hydra.callbacks.x.user._target_=evil.call: an argument here is a value",
    ),
    "a callback that an interpolation brings": (
        "evil: {_target_: evil.call}\nhydra:\n  callbacks:\n    x: ${evil}\n",
        "hydra.callbacks.x: expected a group of keys with a _target_",
    ),
    "an argument of a launcher": (
        "hydra:\n  launcher: {n_jobs: {_target_: evil.call}}\n",
        "hydra.launcher.n_jobs._target_=evil.call: an argument here is a value",
    ),
    "a variable that decides what runs": (
        "hydra:\n  job:\n    env_set: {LD_PRELOAD: ./evil.so, WMH_PACKAGES: evil}\n",
        "hydra.job.env_set.LD_PRELOAD: this variable decides which code runs, so it is no matter of a config",
    ),
    "another package": ("packages: [evil]\nknobs: {_target_: evil.Made}\n", "knobs._target_=evil.Made: only"),
    "a function of ours": (
        f"fit_sub: {{_target_: {OWN}.storage.durable_files.write}}\n",
        f"of this program, only the functions of {OWN}.stages are subcommands",
    ),
    "our command line": (
        f"fit_sub: {{_target_: {OWN}.cli.main}}\n",
        f"fit_sub._target_={OWN}.cli.main: of this program, only",
    ),
    "our program": (f"knobs: {{_target_: {OWN}.__main__.main}}\n", "only classes of options may be named here"),
    "a part of a stage": (f"fit_sub: {{_target_: {OWN}.stages.template._show}}\n", "it is not defined in"),
    "a function that a stage imports": (
        f"fit_sub: {{_target_: {OWN}.stages.template.cast}}\n",
        f"fit_sub._target_={OWN}.stages.template.cast",
    ),
    "a class of ours": (
        f"knobs: {{_target_: {OWN}.serving.repository.repository.Repository, path: .}}\n",
        "of this program, only classes of options may be named here",
    ),
    "a class of ours for something else": (
        f"knobs: {{_target_: {OWN}.ml.datasets.csv_file.CsvFile, path: x}}\n",
        "knobs._target_: CsvFile is no Knobs",
    ),
    "a result for an option": (
        f"knobs: {{_target_: {OWN}.ml.artifacts.TrainedModel, path: x}}\n",
        "of this program, only classes of options may be named here",
    ),
    "a function that a module borrowed": (
        "fit_sub: {_target_: lenient.borrowed}\n",
        "it is not defined in lenient (from",
    ),
    "Python's, by way of a module": ("fit_sub: {_target_: lenient.rmtree}\n", "it is not defined in lenient"),
    "a module of a module": ("fit_sub: {_target_: lenient.shutil.rmtree}\n", "cannot import lenient.shutil"),
    "a function without annotations": (
        "fit_sub: {_target_: lenient.wipe}\n",
        "cannot be a subcommand: its parameter 'path' has no annotation",
    ),
    "a function that does not say what it returns": (
        "fit_sub: {_target_: lenient.silent}\n",
        "cannot be a subcommand: what it returns has no annotation",
    ),
    "a function that returns something else": (
        "fit_sub: {_target_: lenient.text}\n",
        "it returns str, and a subcommand an artifact or nothing",
    ),
    "a function that returns this or that": ("fit_sub: {_target_: lenient.either}\n", "a subcommand an artifact or no"),
    "a function without a name": ("fit_sub: {_target_: lenient.lazy}\n", "lenient.lazy: cannot be a subcommand"),
    "a class without annotations": (
        "knobs: {_target_: lenient.Loose, path: x}\n",
        "the parameter 'path' of its __init__ has no annotation",
    ),
}


@pytest.mark.parametrize(("content", "message"), EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_option_file_names_no_code_that_is_not_allowed(content: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "conf", {"experiment/mine.yaml": GLOBAL + content})
    assert message in "\n".join(wrong("c=fit", "+experiment=mine", dirs=[folder]).values())
    done = inside(*DIR, "c=fit", "+experiment=mine", "--config-dir", folder)
    assert done.code == ExitCode.BAD_INPUT, done.err
    assert steps_run() == {}


@pytest.mark.parametrize("of", ["an argument of a launcher", "another package", "our command line", "a class of ours"])
def test_help_calls_no_code_that_is_not_allowed(of: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "conf", {"experiment/mine.yaml": GLOBAL + EXPERIMENTS[of][0]})
    assert inside(*DIR, "c=fit", "+experiment=mine", "--config-dir", folder, "--help").code in (0, 2)


@pytest.mark.integration
def test_a_class_of_another_library_is_made_where_an_option_asks_for_a_subclass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain class of a package that is allowed is an option, if it is annotated."""
    write(tmp_path / "py", {"library.py": LIBRARY, "asks.py": ASKS})
    folder = write(tmp_path / "conf", ASKING)
    words = ("c=learn", "+learn/maker=wide", "--config-dir", folder)
    monkeypatch.setenv(PACKAGES, "asks library")
    done = inside(*words)
    assert (done.code, done.out) == (0, "Ridge(2) Ridge(3) bob 3 14 **********\n"), done.err
    assert "estimator.alpa: there is no such key" in inside(*words, "+estimator.alpa=1").err
    assert "login.tries=x: expected a whole number" in inside(*words, "login.tries=x").err
    for wrong_class in ("Splitter", "Nothing"):
        assert inside(*words, f"estimator._target_=library.{wrong_class}").code == ExitCode.BAD_INPUT
    refused = inside(*words, "estimator._target_=library.Splitter").err
    assert "estimator._target_=library.Splitter: Splitter is no Estimator" in refused
    bare = inside(*words, "login._target_=library.Ridge").err
    assert "login._target_=library.Ridge: the parameter 'alpha' of its __init__ has no annotation" in bare
    monkeypatch.setenv(PACKAGES, "asks")
    assert (
        "estimator._target_=library.Ridge: only when_ml_pipeline_meets_hydra, asks may be named" in inside(*words).err
    )
    forget("asks")
    forget("library")


def test_a_sweep_of_an_option_file_allows_no_package(tmp_path: Path) -> None:
    sweep = GLOBAL + "hydra:\n  sweeper:\n    params: {packages: '[evil]', knobs.rounds: '1,2'}\n"
    folder = write(tmp_path / "conf", {"experiment/mine.yaml": sweep})
    found = wrong("c=fit", "+experiment=mine", "+knobs._target_=evil.Made", multirun=True, dirs=[folder])
    assert "only the command line allows packages" in found["hydra.sweeper.params.packages"]
    assert "only when_ml_pipeline_meets_hydra, small, lenient may be named" in found["knobs._target_"]


def test_a_launcher_gets_no_code_that_an_interpolation_brings(tmp_path: Path) -> None:
    content = GLOBAL + "evil: {_target_: evil.call}\ndefaults:\n  - override /hydra/launcher: basic\n"
    folder = write(tmp_path / "conf", {"experiment/mine.yaml": content})
    found = wrong("c=fit", "+experiment=mine", "+hydra.launcher.x=${evil}", dirs=[folder])
    assert "names no code" in "\n".join(found.values())


def test_a_package_on_the_search_path_is_read_and_not_imported() -> None:
    words = ["c=fit", "fit/knobs=far", "hydra.searchpath=[pkg://evil.conf]"]
    prepared = prepare(words, config_dirs=[CONF])
    assert prepared.plan.steps[-1].call.arguments["knobs"].rate == 0.5
    assert not [name for name in sys.modules if name.partition(".")[0] == "evil"]


@pytest.mark.parametrize("entry", ["structured://evil", "structured://evil.conf"])
def test_options_made_by_code_are_refused(entry: str) -> None:
    with pytest.raises(BadInput, match="its options are made by code, which would be imported") as caught:
        prepare(["c=fit", f"hydra.searchpath=['{entry}']"], config_dirs=[CONF])
    assert caught.value.problems[0].key == "hydra.searchpath"
    with pytest.raises(BadInput, match="--config-dir"):
        prepare(["c=fit"], config_dirs=[CONF, entry])


@pytest.mark.parametrize("query", ["SELECT 1) AS q; LOAD 'evil'; SELECT * FROM (SELECT 1", "DROP TABLE cars; SELECT 1"])
def test_a_query_is_one_statement(query: str) -> None:
    words = ["preprocessing/dataset=table", "preprocessing/connection=duckdb", "connection.path=x"]
    found = wrong("c=preprocessing", *words, f'dataset.query="{query}"', "preprocessing/schema=cars")
    assert "query: expected one SELECT, without ';' inside" in "\n".join(found.values())


def _repeated(line: str, count: int) -> str:
    return "".join(line.format(n=n, before=n - 1) for n in range(1, count))


BOMBS = {
    "aliases": (
        "a0: &a0 [x, x, x]\n" + _repeated("a{n}: &a{n} [*a{before}, *a{before}, *a{before}]\n", 30),
        "its file cannot be read: it has more than 30000 values",
    ),
    "an alias of itself": ("a: &a [*a]\n", "its alias *a is inside of what it repeats"),
    "three million keys": ("key: 1\n" * 3_000_000, "and an option file at most 1000000"),
    "many short keys": (_repeated("k{n}: 1\n", 40_000), "it has more than 30000 values"),
    "depth": ("a: " + "[" * 400 + "]" * 400, "it is nested too deeply"),
    "great depth": ("a: " + "[" * 100_000, "exceeded maximum nesting depth"),
    "texts that double": (
        "a0: x\n" + _repeated("a{n}: ${{knobs.a{before}}}${{knobs.a{before}}}\n", 40),
        "its interpolations lead to more than 5000 others",
    ),
    "groups that double": (
        "a0: {x: 1}\n" + _repeated("a{n}: {{x: '${{knobs.a{before}}}', y: '${{knobs.a{before}}}'}}\n", 40),
        "its interpolations lead to more than 5000 others",
    ),
    "a chain": (
        "a0: x\n" + _repeated("a{n}: ${{knobs.a{before}}}\n", 3000),
        "its interpolations lead to more than 5000 others",
    ),
}


@pytest.mark.parametrize(("content", "message"), BOMBS.values(), ids=BOMBS)
def test_a_file_that_grows_ends_in_a_message(content: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "conf", {"fit/knobs/bomb.yaml": "# @package knobs\n# d\n" + content})
    started = time.monotonic()
    assert message in "\n".join(wrong("c=fit", "fit/knobs=bomb", dirs=[folder]).values())
    assert inside("--help", "--config-dir", folder).code == 0
    assert time.monotonic() - started < 30


RERUN_BOMBS = {name: bomb for name, bomb in BOMBS.items() if name not in ("many short keys", "great depth")}


@pytest.mark.parametrize(("content", "message"), RERUN_BOMBS.values(), ids=RERUN_BOMBS)
def test_a_config_that_is_rerun_has_the_same_limits(content: str, message: str) -> None:
    if "${" in content:
        content = "c: {name: fit}\nknobs:\n  " + content.replace("\n", "\n  ")
    Path("logged.yaml").write_text(content)
    started = time.monotonic()
    done = inside("runs", "rerun", "logged.yaml")
    assert (done.code, message in done.err) == (ExitCode.BAD_INPUT, True), done.err
    assert time.monotonic() - started < 10


def test_what_is_no_file_is_not_rerun() -> None:
    os.mkfifo("logged.yaml")
    assert "it is not a regular file" in inside("runs", "rerun", "logged.yaml").err


def test_defaults_lists_that_fan_out_end_in_a_message(tmp_path: Path) -> None:
    files = {
        f"fan/f{depth}_{n}.yaml": GLOBAL
        + "defaults:\n"
        + "".join(f"  - /fan/f{depth + 1}_{k}@p{depth}{n}{k}\n" for k in range(10))
        for depth in range(8)
        for n in range(10)
    }
    folder = write(tmp_path / "conf", files | {f"fan/f8_{n}.yaml": GLOBAL + "x: 1\n" for n in range(10)})
    started = time.monotonic()
    found = wrong("c=fit", "+fan=f0_0", dirs=[folder])
    assert "the defaults lists lead to more than 2000 files" in found["defaults"]
    assert time.monotonic() - started < 30


def test_what_is_no_file_is_no_option(tmp_path: Path) -> None:
    folder = Path(write(tmp_path / "conf", {"fit/knobs/good.yaml": KNOBS}))
    os.mkfifo(folder / "fit" / "knobs" / "waits.yaml")
    (folder / "fit" / "knobs" / "zeros.yaml").symlink_to("/dev/zero")
    started = time.monotonic()
    found = wrong("c=fit", "fit/knobs=waits,zeros", dirs=[str(folder)], multirun=True)
    assert "fit/knobs=waits: there is no such option" in found["fit/knobs"]
    assert "fit/knobs=zeros: there is no such option" in found["fit/knobs"]
    words = (*DIR, "--config-dir", str(folder))
    assert inside(*words, "c=fit", "fit/knobs=good").code == 0
    assert inside(*words, "c=fit", "fit/knobs=good").code == 0
    done = inside("--help", *words)
    assert (done.code, "waits" in done.out, "good" in done.out) == (0, False, True)
    assert time.monotonic() - started < 30


def test_a_plugin_that_does_not_import_is_named_and_left_out(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = "raise ValueError('mutable default for field optim is not allowed')\n"
    write(tmp_path / "site", {"hydra_plugins/hydra_evolving_sweeper/__init__.py": plugin})
    dist = {
        "METADATA": "Name: hydra-evolving-sweeper\nVersion: 1\n",
        "RECORD": "hydra_plugins/hydra_evolving_sweeper/__init__.py,,\n",
    }
    write(tmp_path / "site" / "hydra_evolving_sweeper-1.dist-info", dist)
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}:{tmp_path / 'site'}")
    for _ in range(2):  # composed, and from the cache
        done = cli(*DIR, "c=fit", "force=[fit]")
        assert done.code == 0, done.err
        assert (
            "Note: the Hydra plugin hydra-evolving-sweeper is left out, since importing "
            "hydra_plugins.hydra_evolving_sweeper fails (ValueError: mutable default for field optim is not allowed). "
            "Update it, or pip uninstall hydra-evolving-sweeper"
        ) in done.err.splitlines()
        assert "Warning" not in done.err
