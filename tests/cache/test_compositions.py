"""A command that was composed before is not composed again; whatever it was composed from is noticed."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import HOME
from old_pipeline import (
    Ended,
    add_an_option,
    command,
    copy_of_small,
    edit_an_option,
    edit_the_code,
    set_a_variable,
    wait_until_old,
)
from small_pipeline import CONF, install, small_plan, steps_run, write
from when_ml_pipeline_meets_hydra.cache import compositions, fingerprint
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.composing.tree import MOST_ENTRIES
from when_ml_pipeline_meets_hydra.pipeline import prepare
from when_ml_pipeline_meets_hydra.records.lookup import read_records

PHRASE = "open-sesame-123"
HYDRA = {"hydra", "omegaconf"}


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The pipeline that is run; its secret is in an environment variable."""
    monkeypatch.setenv("SMALL_PHRASE", PHRASE)
    return copy_of_small(monkeypatch, tmp_path)


def run(conf: Path, *words: str, code: int = 0) -> Ended:
    """Run a command with an empty store and no cached run."""
    shutil.rmtree(os.environ[HOME], ignore_errors=True)
    done = command(*words, "--config-dir", str(conf / "conf"))
    assert done.code == code, done.err
    return done


def is_cached(done: Ended) -> bool:
    """Whether a command was run without being composed."""
    assert "pydantic" in done.loaded, "it was not even run"
    return not done.loaded & HYDRA


def kept() -> list[Path]:
    return sorted(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.json"))


def written() -> dict[str, str]:
    """Everything that a run wrote into its record, without what differs each time."""
    (record,) = read_records(Path(os.environ[HOME]))
    found = {
        str(file.relative_to(record.folder)): file.read_text().replace(record.id, "RUN")
        for file in sorted(record.folder.rglob("*"))
        if file.is_file()
    }
    head = json.loads(found.pop("run.json"))
    differs = {"seconds", "started", "process", "digests", "sha256"}
    found["run.json"] = json.dumps({k: v for k, v in head.items() if k not in differs})
    return {name: re.sub(r'"seconds": [\d.]+', "", text) for name, text in found.items()}


def lines(done: Ended) -> Iterator[str]:
    """What a command printed, without the id of its run and the time that it took."""
    for line in [*done.out.splitlines(), *done.err.splitlines()]:
        yield re.sub(r"\d{8}-\d{6}-\d{4}|^\[.*?\]|( in)? [\d.]+ m?s\b", "", line)


def test_a_cached_command_runs_as_one_that_is_composed(conf: Path) -> None:
    words = ("c=gather,fit", "knobs.rounds=2,3", "--multirun", "hydra.job.name=${oc.env:WHO,nobody}")
    wait_until_old(conf)
    composed = run(conf, *words)
    first = written()
    again = run(conf, *words)
    assert (is_cached(composed), is_cached(again)) == (False, True)
    assert steps_run() == {"gather": 2, "fit": 4}
    assert sorted(first) == sorted(record := written())
    assert [name for name in first if first[name] != record[name]] == []
    assert {name.rpartition("/")[2] for name in first} > {"config.yaml", "hydra.yaml", "overrides.yaml", "jobs.jsonl"}
    assert list(lines(composed)) == list(lines(again))


def test_a_plan_is_enough_and_code_may_change(conf: Path) -> None:
    """Code is read each time; only what the words come to stays."""
    words = ("c=fit", "knobs.rounds=2", "fit/knobs=glob(gen*)", "--multirun")
    wait_until_old(conf)
    assert "hydra" in command("plan", *words, "--config-dir", str(conf / "conf")).loaded
    assert is_cached(run(conf, *words))
    edit_the_code(conf)
    assert is_cached(run(conf, *words))
    options = conf / "small" / "options.py"
    text = options.read_text()
    options.write_text(text.replace("rounds: Annotated[int, Field(ge=1", "rounds: Annotated[int, Field(ge=55"))
    refused = run(conf, *words, code=2)
    assert "knobs.rounds" in refused.err
    kept()[0].unlink()
    assert run(conf, *words, code=2).err == refused.err


def test_a_cached_config_is_shown_without_hydra() -> None:
    words = ("c=modeling", "modeling/model=random_forest", "--cfg", "job")
    first, again = command(*words), command(*words)
    assert first.out == again.out
    assert (is_cached(first), is_cached(again)) == (False, True)
    words = ("c=modeling", "modeling/model=random_forest", "--cfg", "all")
    assert command(*words).out.endswith(first.out)


def test_the_programs_own_examples_of_passwords_are_no_secrets(conf: Path) -> None:
    code = "from typing import Any\n\n\ndef deployment(cluster: Any) -> None:\n    print(cluster['id'])\n"
    option = "# @package deployment_sub\n_target_: small.own.deployment\n"
    write(conf, {"small/own.py": code, "own/c/deployment_sub/own.yaml": option})
    words = ("c=deployment", "c/deployment_sub=own", "deployment/cluster=cluster_1", "--config-dir", str(conf / "own"))
    wait_until_old(conf)
    first, again = command(*words), command(*words)
    assert (first.code, again.code, first.out) == (0, 0, again.out)
    assert (is_cached(first), is_cached(again)) == (False, True)


def test_a_secret_of_the_environment_is_read_again(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = ("+keys.api_key=${oc.env:SMALL_PHRASE,none}", "+api_key=${oc.env:SMALL_PHRASE}")
    words = ("c=ship", *more, "target.mode=leak", "show_secrets=true")
    wait_until_old(conf)
    first = run(conf, *words)
    (file,) = kept()
    assert PHRASE not in file.read_text()
    again = run(conf, *words)
    assert (is_cached(again), PHRASE in again.out) == (True, True)
    assert list(lines(again)) == list(lines(first))
    monkeypatch.setenv("SMALL_PHRASE", "another-phrase")
    other = run(conf, *words)
    assert (is_cached(other), PHRASE in other.out, "another-phrase" in other.out) == (False, False, True)


# In this process, a little later than it is, so that what a test has just written is old enough to be trusted.


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compositions, "time", SimpleNamespace(time=lambda: time.time() + 2))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, later: None) -> None:
    """The pipeline where it lies."""
    monkeypatch.setenv("SMALL_PHRASE", PHRASE)
    install(monkeypatch)


HYDRA_1_4 = version("hydra-core").startswith("1.4")
FIT = Request(overrides=("c=fit",), config_dirs=(CONF,))


def edit_in_the_search_path(conf: Path) -> None:
    write(conf / "more", {"gather/source/few.yaml": "# @package source\nnumbers: [7]\n"})


def name_another_folder(conf: Path) -> None:
    os.chdir(conf)


def edit_what_a_link_leads_to(conf: Path) -> None:
    file = conf / "elsewhere.yaml"
    file.write_text(file.read_text() + "\n")


def set_what_chooses_an_option(conf: Path) -> None:
    os.environ["WHICH"] = "few"


def change_nothing(conf: Path) -> None:
    pass


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "change",
    [
        change_nothing,
        edit_the_code,
        edit_an_option,
        add_an_option,
        set_a_variable,
        edit_in_the_search_path,
        edit_what_a_link_leads_to,
        name_another_folder,
        # Hydra 1.4 resolves no ${oc.env:X} in a defaults list.
        *([] if HYDRA_1_4 else [set_what_chooses_an_option]),
    ],
    ids=lambda change: change.__name__,
)
def test_whatever_changes_is_noticed(
    conf: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHO", "nobody")
    monkeypatch.setenv("WHICH", "other")
    choice = "other" if HYDRA_1_4 else "${oc.env:WHICH}"
    chooses = f"# @package gather_sub\ndefaults:\n  - /gather/source: {choice}\n_target_: small.steps.gather\n"
    write(conf / "conf", {"c/gather_sub/chosen.yaml": chooses})
    shutil.copyfile(conf / "conf" / "gather" / "source" / "few.yaml", conf / "elsewhere.yaml")
    (conf / "conf" / "gather" / "source" / "other.yaml").symlink_to(conf / "elsewhere.yaml")
    write(conf / "more", {"gather/source/many.yaml": "# @package source\nnumbers: [1, 2]\n"})
    words = ("c=gather,fit,ship", "knobs.rounds=2,3", "target.name=${oc.env:WHO}", "c/gather_sub=chosen")
    request = Request(
        overrides=(*words, f"hydra.searchpath=[{conf / 'more'}]"), multirun=True, config_dirs=(str(conf / "conf"),)
    )
    composed = compositions.compose(request)
    assert compositions.find(request) == composed.without_problems()
    change(conf)
    assert (compositions.find(request) is None) == (change not in (change_nothing, edit_the_code))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "words",
    [
        ("++model_name=${now:%f}",),
        ("hydra.run.dir=elsewhere",),
        ("+extra=nan",),
        ("+extra=shuffle ([1,2,3])",),
        ("+extra.password=hunter2-hunter2",),
        ("+extra.url=http://me:hunter2-hunter2@host",),
        ("+extra.api_key=${oc.env:NO_VARIABLE,hunter2-hunter2}",),
        ("+extra.api_key=${oc.env:PASS_PHRASE}", "+extra.told=${.api_key}"),
        ("+extra.api_key=x${oc.env:PASS_PHRASE}",),
        ("+a_note=${token}", "+token=hunter2-hunter2"),
        ("+extra={password: hunter2-hunter2}", "extra.password=null"),
        ("+extra={token: 'hunter2,hunter2'}", "~extra"),
        ("target.login.phrase=hunter2-hunter2",),
        ("target.login=${other}", "+other={user: me, phrase: '${oc.env:PASS_PHRASE}'}"),
        ("deployment/cluster=cluster_1", "cluster.pw=hunter2-hunter2"),
        ("+extra='${oc.env:${model_name}_x,1}'",),
    ],
    ids=" ".join,
)
def test_what_may_differ_each_time_or_is_secret_is_not_kept(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASS_PHRASE", "hunter2-hunter2")
    small_plan("c=ship", *words)
    assert kept() == []
    small_plan("c=ship")
    assert len(kept()) == 1


@pytest.mark.usefixtures("small")
def test_what_is_wrong_is_not_kept() -> None:
    assert compositions.compose(Request(overrides=("c=fit", "knobs.raunds=2"), config_dirs=(CONF,))).problems
    assert kept() == []


def test_files_that_have_just_changed_are_not_trusted(conf: Path) -> None:
    edit_an_option(conf)
    prepare(["c=fit"], config_dirs=[conf / "conf"])
    assert kept() == []


@pytest.mark.usefixtures("later")
def test_a_folder_with_very_much_in_it_is_not_looked_through(conf: Path) -> None:
    for number in range(MOST_ENTRIES):
        (conf / "conf" / f"{number}.csv").touch()
    prepare(["c=fit"], config_dirs=[conf / "conf"])
    assert kept() == []


def test_option_files_that_lie_in_no_folder_cannot_be_looked_at() -> None:
    assert fingerprint.option_folders(["file:///a", "b"]) == ["/a", "b"]
    with pytest.raises(OSError, match="store://there"):
        fingerprint.option_folders(["file:///a", "store://there"])


@pytest.mark.usefixtures("small")
def test_only_its_owner_reads_what_is_kept() -> None:
    compositions.compose(FIT)
    (file,) = kept()
    assert file.parent.stat().st_mode & 0o077 == 0
    assert (file.parent / "key").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"depends on": {}}'])
def test_what_is_damaged_is_composed_again(content: str) -> None:
    composed = compositions.compose(FIT)
    (file,) = kept()
    file.write_text(content)
    assert compositions.find(FIT) is None
    assert compositions.compose(FIT) == composed
    assert compositions.find(FIT) == composed


@pytest.mark.usefixtures("small")
def test_where_a_part_is_missing_it_is_composed_again() -> None:
    compositions.compose(FIT)
    (file,) = kept()
    content = json.loads(file.read_text())
    for key in content:
        file.write_text(json.dumps({k: v for k, v in content.items() if k != key}))
        assert compositions.find(FIT) is None, key


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("place", ["a-file", "relative", "/proc/no-such-place"])
def test_without_a_place_everything_is_composed(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a-file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("a-file").absolute()) if place == "a-file" else place)
    assert compositions.compose(FIT).jobs
    assert compositions.find(FIT) is None
    assert not Path("relative").exists()


@pytest.mark.usefixtures("small")
def test_the_older_ones_are_taken_away() -> None:
    compositions.compose(FIT)
    (file,) = kept()
    for number in range(compositions.MOST_CACHED):
        (file.parent / f"{number}.json").write_text("{}")
        os.utime(file.parent / f"{number}.json", (number, number))
    compositions.compose(Request(overrides=("c=gather",), config_dirs=(CONF,)))
    assert len(kept()) == compositions.MOST_CACHED + 2 - compositions.MOST_CACHED // 2
    assert compositions.find(FIT)
