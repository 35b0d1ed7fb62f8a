"""``runs rerun``: the recorded configs are run again, whatever has become of the option files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Cli
from old_pipeline import copy_of_small
from small_pipeline import DIR, inside, install, small, steps_run
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.pipeline import run
from when_ml_pipeline_meets_hydra.records.lookup import find_record
from when_ml_pipeline_meets_hydra.records.record import Record


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the small pipeline's option files, to be changed."""
    return copy_of_small(monkeypatch, tmp_path) / "conf"


def last(home: Path) -> Record:
    return find_record(home, "last")


def edit(conf: Path, name: str, old: str, new: str) -> None:
    file = conf / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


KNOBS = "fit/knobs/gentle.yaml"


def test_it_computes_nothing_twice(own_home: Path) -> None:
    first = small("c=gather,fit", "knobs.rounds=3", multirun=True)
    code, out, err = inside("runs", "rerun", first.record.id)
    assert code == 0, err
    assert "Launching 2 jobs locally" in out
    assert "2 stored" in err
    assert f"All 2 metrics are those of run {first.record.id}" in err
    assert steps_run() == {"gather": 1, "fit": 1}
    assert last(own_home).head["repeats"] == first.record.id
    assert [j["overrides"] for j in last(own_home).jobs()] == [j["overrides"] for j in first.record.jobs()]
    assert "repeats: " in inside("runs", "show", "last").out


def test_option_files_that_changed_change_nothing(conf: Path, own_home: Path) -> None:
    first = run(["c=fit"], config_dirs=[conf])
    edit(conf, KNOBS, "rate: 0.5", "rate: 0.7")
    edit(conf, "gather/source/few.yaml", "[1, 2, 3]", "[1, 2, 300]")
    shutil.rmtree(own_home / "store")
    code, _, err = inside("runs", "rerun", "last")
    assert code == 0, err
    assert last(own_home).metrics == first.metrics
    assert "metrics are those of run" in err
    shutil.rmtree(conf / "fit")  # nor need they be there
    again = inside("runs", "rerun", "last")
    assert again.code == 0, again.err
    assert last(own_home).metrics == first.metrics


def test_as_written_composes_anew_and_lists_what_differs(conf: Path, own_home: Path) -> None:
    first = run(["c=gather,fit"], config_dirs=[conf], multirun=True)
    edit(conf, KNOBS, "rate: 0.5", "rate: 0.7")
    code, _, err = inside("runs", "rerun", first.record.id, "--as-written")
    assert code == 0
    assert "Composed anew: knobs.rate 0.5 → 0.7" in err.splitlines()
    assert "1 of 2 metrics are not those of run" in err
    assert "fit.height of job 1 3 → 4.2" in err
    assert "What changed since: knobs.rate 0.5 → 0.7" in err
    assert "repeats" not in last(own_home).head


def test_it_says_why_metrics_differ(conf: Path, own_home: Path, tmp_path: Path, cli: Cli) -> None:
    numbers = tmp_path / "numbers.txt"
    numbers.write_text("1\n2\n")
    first = cli("c=fit", "gather/source=file", f"source.path={numbers}", "--config-dir", str(conf))
    assert first.code == 0, first.err
    numbers.write_text("1\n20\n")
    steps = conf.parent / "small" / "steps.py"
    steps.write_text(steps.read_text().replace("gather.total * knobs.rate}", "gather.total * knobs.rate * 2}", 1))
    head = last(own_home).folder / "run.json"
    older = json.loads(head.read_text().replace('"polars": "', '"polars": "0.'))
    head.write_text(json.dumps({name: value for name, value in older.items() if name != "sha256"}))
    again = cli("runs", "rerun", "last")
    assert again.code == 0, again.err
    assert "1 of 2 metrics are not those of run" in again.err
    (why,) = [line for line in again.err.splitlines() if line.startswith("What changed since: ")]
    for reason in ("the code of fit run", "the code of gather run", "the data of source", "polars 0."):
        assert reason in why


@pytest.mark.parametrize("kind", [".hydra/config.yaml", "resolved"])
def test_a_logged_config_is_enough(conf: Path, own_home: Path, tmp_path: Path, kind: str) -> None:
    first = run(["c=fit", "knobs.rounds=7", "knobs.rate=${oc.decode:'0.25'}"], config_dirs=[conf])
    file, metrics = tmp_path / "logged.yaml", first.metrics
    if kind == "resolved":
        file.write_text(inside("runs", "show", "last", "--job", "0").out)
    else:
        shutil.copy(first.record.folder / kind, file)
    shutil.rmtree(own_home)
    shutil.rmtree(conf)
    code, _, err = inside("runs", "rerun", str(file))
    assert code == 0, err
    assert last(own_home).metrics == metrics
    assert last(own_home).head["repeats"] == str(file)
    assert "has no overrides" in inside("runs", "rerun", "last", "--as-written").err
    assert inside("runs", "rerun", "last").code == 0
    assert inside("runs", "rerun", str(file), "knobs.rate=0.5").code == 0
    assert last(own_home).metrics["fit.height"] == 2 * metrics["fit.height"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "its file cannot be read"),
        ("- a\n", "is not the config of a job: it has no c.name"),
        ("c: fit\n", "is not the config of a job: it has no c.name"),
        ("c: {name: fit}\nc: {name: gather}\n", "found duplicate key c"),
        ("c: {name: fit}\n", "c: 'fit' is no stage that can run"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_none_is_refused(content: str | None, message: str, tmp_path: Path, own_home: Path) -> None:
    file = tmp_path / "logged.yaml"
    if content is not None:
        file.write_text(content)
    code, _, err = inside("runs", "rerun", str(file))
    assert (code, message in err) == (ExitCode.BAD_INPUT, True), err
    assert not own_home.exists()


def test_files_of_a_run_that_are_no_config_of_a_job_name_what_is(own_home: Path) -> None:
    folder = small("c=gather,fit", "knobs.rounds=3,4", multirun=True).record.folder
    whole = f"or repeat the whole run: runs rerun {folder.name}"
    for name, message, remedy in (
        ("multirun.yaml", "is the config that the jobs of a sweep share", "Give .hydra/config.yaml of a job"),
        ("1/.hydra/hydra.yaml", "it has no c.name", f"Give {folder}/1/.hydra/config.yaml, "),
        ("1/.hydra/overrides.yaml", "it has no c.name", f"Give {folder}/1/.hydra/config.yaml, "),
        ("run.json", "it has no c.name", "Give .hydra/config.yaml of a job"),
    ):
        code, _, err = inside("runs", "rerun", str(folder / name))
        assert (code, message in err, remedy in err, whole in err) == (ExitCode.BAD_INPUT, True, True, True), err
    assert len(list((own_home / "runs").iterdir())) == 1
    one = own_home / "one.yaml"
    one.write_text(inside(*DIR, "c=fit", "knobs.rounds=7", "--multirun", "--cfg", "all").out)
    assert inside("runs", "rerun", str(one)).code == 0
    assert last(own_home).config(0)["knobs"]["rounds"] == 7


def test_code_of_others_in_a_file_is_allowed_on_the_command_line_only(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "logged.yaml"
    done = run(["c=fit"], config_dirs=[conf])
    file.write_text(
        (done.record.folder / ".hydra" / "config.yaml").read_text().replace("packages: []", "packages: [small]")
    )
    monkeypatch.delenv("WMH_PACKAGES")
    code, _, err = inside("runs", "rerun", str(file))
    assert code == ExitCode.BAD_INPUT
    assert "add packages=[small]" in err
    assert inside("runs", "rerun", str(file), "packages=[small]").code == 0


def test_values_may_be_set_and_options_not(own_home: Path) -> None:
    small("c=fit", "knobs.rounds=3")
    code, _, err = inside("runs", "rerun", "last", "knobs.rounds=4")
    assert code == 0
    assert "knobs.rounds 3 → 4" in err
    assert next(last(own_home).jobs())["overrides"] == ["c=fit", "knobs.rounds=4"]
    for words, message in {
        ("fit/knobs=gentle",): "an option cannot be chosen in a config that is composed already",
        ("knobs.roundz=4",): "Did you mean 'knobs.rounds'",
        ("knobs.rounds=4,5",): "a rerun takes one value",
        ("knobs.rounds=many",): "the override knobs.rounds=many",
        ("knobs.rounds=[",): "this does not follow Hydra's grammar",
    }.items():
        code, _, err = inside("runs", "rerun", "last", *words)
        assert (code, message in err) == (ExitCode.BAD_INPUT, True), err


def test_it_asks_for_the_secrets_that_no_record_keeps() -> None:
    first = small("c=ship", "target.login.phrase=sesame")
    code, _, err = inside("runs", "rerun", first.record.id)
    assert code == ExitCode.BAD_INPUT
    assert "target.login.phrase: a secret, which no record keeps" in err
    assert inside("runs", "rerun", first.record.id, "target.login.phrase=sesame").code == 0
    small("c=fit", "target.login.phrase=sesame")
    assert inside("runs", "rerun", "last").code == 0, "a secret that no step reads is not needed"


def test_a_secret_of_the_environment_is_read_there_again(own_home: Path) -> None:
    secret = {"SMALL_PHRASE": "correct horse"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*secret.popitem())
        small("c=ship")
        assert inside("runs", "rerun", "last").code == 0
        assert inside("runs", "rerun", "last").code == 0, "and of a rerun's rerun"
    code, _, err = inside("runs", "rerun", "last")
    assert (code, "the environment variable SMALL_PHRASE is not set" in err) == (ExitCode.BAD_INPUT, True)
    assert not [f for f in own_home.rglob("*") if f.is_file() and b"correct horse" in f.read_bytes()]


def test_a_run_without_metrics_says_so() -> None:
    first = small("c=gather")
    found = inside("runs", "rerun", "last").err
    assert "metrics are those" not in found
    assert ("No metric to compare with run" in found) == (not first.metrics), found


def test_a_failed_run_goes_on() -> None:
    small("c=fit", "knobs.strict=true")
    assert inside("runs", "rerun", "last").code == ExitCode.STEP_FAILED
    assert inside("runs", "rerun", "last", "knobs.strict=false").code == 0
    assert steps_run() == {"gather": 1, "fit": 3}
