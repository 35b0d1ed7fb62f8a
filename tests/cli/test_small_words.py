"""Words that mean something else than they seem to: numbers that are names, paths, narrow terminals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conftest import PROGRAM, Cli
from small_pipeline import DIR, inside, install, small_plan, write
from when_ml_pipeline_meets_hydra.composing import override_grammar
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode
from when_ml_pipeline_meets_hydra.pipeline import prepare, run

CSV = ("c=preprocessing", "preprocessing/dataset=csv", "dataset.path=d.csv")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    rows = "".join(f"{i % 7},{i % 5},{i % 7 * 2.5}\n" for i in range(40))
    Path("d.csv").write_text(f"1,02,3\n{rows}")


def dataset(*overrides: str, dirs: Sequence[str] = ()) -> Any:
    return prepare([*CSV, *overrides], config_dirs=dirs).plan.steps[0].call.arguments["dataset"]


def param(*overrides: str, stage: str = "modeling") -> Any:
    return prepare([f"c={stage}", *overrides]).plan.steps[-1].call.arguments["m_param"]


def refused(*overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        prepare(overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", ["1", "0.10", "1e3", "true"])
def test_an_option_may_be_named_like_a_number(name: str, tmp_path: Path) -> None:
    other = "# @package knobs\n# Other\nrate: 0.5\nrounds: 2\n"
    conf = write(
        tmp_path / "mine", {f"fit/knobs/{name}.yaml": other, f"experiment/{name}.yaml": "# @package _global_\n"}
    )
    code, _, err = inside("plan", *DIR, "--config-dir", conf, "c=fit", f"fit/knobs={name}")
    assert (code, err) == (0, ""), err
    swept = inside("plan", *DIR, "--config-dir", conf, "c=fit", f"fit/knobs={name},gentle", "--multirun")
    assert swept.out.count("fit run") == 2


def test_a_range_of_options_and_one_in_a_defaults_list(tmp_path: Path) -> None:
    files = {f"fit/knobs/{n}.yaml": f"# @package knobs\n# {n}\nrate: 0.{n}\nrounds: 2\n" for n in (1, 2)}
    chosen = {"experiment/one.yaml": "# @package _global_\n# One\ndefaults:\n  - override /fit/knobs: 1\n"}
    conf = write(tmp_path / "mine", {**files, **chosen})
    found = inside("plan", *DIR, "--config-dir", conf, "c=fit", "fit/knobs=range(1,3)", "--multirun")
    assert found.out.count("fit run") == 2, found.err


@pytest.mark.parametrize(
    ("words", "target", "name"),
    [
        (("dataset.target=3",), "3", "d"),
        (("dataset.target=3", "dataset.name=2024"), "3", "2024"),
        (("dataset.target=02", "dataset.name=1e3"), "02", "1e3"),
        (("dataset.target='3'", "dataset.name=true"), "3", "true"),
    ],
)
def test_a_text_that_looks_like_a_number_is_a_text(words: Sequence[str], target: str, name: str) -> None:
    found = dataset(*words)
    assert (found.target, found.name) == (target, name)


def test_in_a_sweep_it_is_the_text_that_was_written() -> None:
    def written(values: str) -> list[str]:
        calls = prepare(["c=deployment", f"model_name={values}"], multirun=True).bound.calls
        names = [call.arguments["model_name"] for _, call in calls]
        assert [job.overrides[-1] for job, _ in calls] == [f"model_name={name}" for name in names]
        return names

    for values in ("1e2,true", "choice(1e2,true)", "tag(a,choice(1e2,true))"):
        assert written(values) == ["1e2", "true"], values
    assert written("2024,1_0,0x1,NaN,null.") == ["2024", "1_0", "0x1", "NaN", "null."]
    assert written("sort(1e1,2,reverse=true)") == ["1e1", "2"]


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("k='1,2',[1e2,True],{a: 1e1},null", ["'1,2'", "[1e2,True]", "{a: 1e1}", "null"]),
        ("k=a b,${oc.env:A,b},x\\,y", ["a b", "${oc.env:A,b}", "x\\,y"]),
        ("k=int(1.5,2.5)", ["1", "2"]),
        ("k=sort(1e2,100.0,1)", ["1", "100.0", "1e2"]),
    ],
)
def test_each_value_of_a_sweep_keeps_its_text(line: str, texts: list[str]) -> None:
    assert [str(o.input_line) for o in override_grammar.elements(override_grammar.parse(line))] == [
        f"k={text}" for text in texts
    ]


def test_in_a_file_and_by_reference_it_is_the_text_that_was_written(tmp_path: Path) -> None:
    text = "# @package dataset\n# Mine\n_target_: {}\nname: 0x10\npath: d.csv\ntarget: 02\n"
    kind = type(dataset("dataset.target=3"))
    conf = write(
        tmp_path / "mine", {"preprocessing/dataset/mine.yaml": text.format(f"{kind.__module__}.{kind.__name__}")}
    )
    found = prepare(["c=deployment", "preprocessing/dataset=mine"], config_dirs=[conf]).plan.steps
    assert found[0].call.arguments["dataset"].target == "02"
    assert found[-1].call.arguments["model_name"] == "0x10"


def test_a_variable_is_read_as_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TREES": "7", "RATE": "1e-1", "SHOW": "False", "WRONG": "7x", "NAME": "5"}.items():
        monkeypatch.setenv(name, value)
    found = param("m_param.n_estimators=${oc.env:TREES}", "m_param.learning_rate=${oc.env:RATE}")
    assert (found.n_estimators, found.learning_rate) == (7, 0.1)
    assert param("m_param.n_estimators=${m_param.seed}", "m_param.seed=${oc.env:NONE,3}").n_estimators == 3
    assert prepare(["c=preprocessing", "show_secrets=${oc.env:SHOW}"]).bound.settings.show_secrets is False
    assert dataset("dataset.target='3'", "dataset.name=${oc.env:NAME}").name == "5"
    assert "m_param.n_estimators=7x: expected a whole number" in refused(
        "c=modeling", "m_param.n_estimators=${oc.env:WRONG}"
    )
    assert "expected a whole number" in refused("c=modeling", "m_param.n_estimators='7'"), "a text in quotes is none"


def test_the_numbers_of_a_range_are_those_that_one_would_write() -> None:
    swept = small_plan("c=fit", "knobs.rate=range(0.1,0.5,0.1)", multirun=True).plan
    rates = [step.call.arguments["knobs"].rate for step in swept.steps if step.call.stage == "fit"]
    assert rates == [0.1, 0.2, 0.3, 0.4]
    assert len(small_plan("c=fit", "knobs.rate=range(0.1,0.8,0.1)", multirun=True).bound.calls) == 7, "not 0.8"


@pytest.mark.parametrize(
    "words",
    [
        ("c=preprocessing", "home=s3://bucket/x"),
        (*CSV, "dataset.target='3'", "dataset.path=gs://bucket/d.csv"),
        ("c=deployment", "cluster.path=hdfs://there"),
        ("c=prediction", "prediction/rows=csv", "new_rows.path=https://there/d.csv"),
    ],
)
def test_a_path_with_a_scheme_is_refused(words: Sequence[str]) -> None:
    text = refused(*words)
    assert "is not supported here: expected the path of a file or folder of this machine" in text
    assert not list(Path().glob("*:"))


def test_schemes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        "hydra.run.dir=s3://x: s3:// is not supported" in inside(*CSV, "dataset.target='3'", "hydra.run.dir=s3://x").err
    )
    monkeypatch.setenv("WMH_HOME", "s3://bucket")
    listed = inside("runs", "list")
    assert (listed.code, "$WMH_HOME=s3://bucket: s3:// is not supported" in listed.err) == (2, True)


def test_the_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.move("d.csv", tmp_path / "there.csv")
    found = prepare([*CSV, "dataset.path=~/there.csv", "dataset.target='3'", "home=~/pipeline"])
    assert found.home == tmp_path / "pipeline"
    assert found.plan.steps[0].call.arguments["dataset"].path == tmp_path / "there.csv"


def test_relative_paths_survive_another_working_folder() -> None:
    done = run([*CSV, "dataset.target='3'", "hydra.job.chdir=true"])
    assert done.exit_code == ExitCode.DONE
    swept = run([*CSV, "dataset.target='3'", "split.seed=1,2", "hydra.job.chdir=true"], multirun=True)
    assert swept.exit_code == ExitCode.DONE


def test_a_byte_order_mark_in_an_option_file(tmp_path: Path) -> None:
    conf = write(
        tmp_path / "mine", {"fit/knobs/mine.yaml": "\ufeff# @package knobs\n# Saved by Notepad\nrate: 0.5\nrounds: 2\n"}
    )
    found = inside("plan", *DIR, "--config-dir", conf, "c=fit", "fit/knobs=mine")
    assert (found.code, found.err) == (0, "")
    assert "Saved by Notepad" in inside("--help", "--config-dir", conf).out


def test_a_terminal_without_unicode(cli: Cli) -> None:
    narrow = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert cli("--help", env=narrow).code == 0
    assert cli("--help", env={"LC_ALL": "C", "PYTHONUTF8": "0"}).code == 0
    wrong = cli("c=modeling", "m_param.learning_rate=7", env=narrow)
    assert wrong.code == ExitCode.BAD_INPUT
    assert "expected a number, 0 < x < 1" in wrong.err
    lines = cli(*CSV, "dataset.target='3'", "dataset.name='ü'", "--json", env=narrow).out.splitlines()
    assert any("ü" in str(json.loads(line)) for line in lines)


def test_a_deleted_working_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"cd {gone} && rmdir {gone} && {PROGRAM} plan c=modeling"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == ExitCode.BAD_INPUT
    assert "the folder in which the program was started does not exist any more" in done.stderr


def test_a_file_of_variables_serves_configs_and_passwords_and_nothing_else(tmp_path: Path) -> None:
    dotenv = Path(".env")
    dotenv.write_text(
        f"# mine\nRATE=0.5\nWMH_HOME={tmp_path}/other\nWMH_PACKAGES=other\nPYTHONPATH=/x\nLD_PRELOAD=/x\nPATH=/x\n"
    )
    words = (*DIR, "c=fit", "knobs.rate=${oc.env:RATE}")
    first = inside(*words)
    assert first.err.splitlines()[0] == "Note: .env was read for RATE"
    assert "fit run: done" in first.err
    assert not (tmp_path / "other").exists()
    again = inside(*words)
    assert again.err.count("Note: .env was read for RATE") == 1
    assert "fit run: stored" in again.err
    dotenv.write_text("RATE=0.25\n")
    assert "knobs.rate 0.5 → 0.25" in inside(*words).err, "a cached run compares it"
    real = inside(*words, env={"RATE": "0.5"})
    assert "Note" not in real.err, "the real environment wins"
    assert "fit run: stored" in real.err
    for name in ("WMH_CONFIG_STORE", "PYTHONHOME", "LD_LIBRARY_PATH", "LD_PRELOAD"):
        dotenv.write_text(f"{name}=0.5\n")
        read = inside("plan", *DIR, "c=fit", f"knobs.rate=${{oc.env:{name}}}")
        assert f"knobs.rate: the environment variable {name} is not set" in read.err
    assert "RATE" not in os.environ
    dotenv.write_text("RATE=0.5\nnot a line\n")
    assert ".env: line 2 cannot be read: expected NAME=value" in inside(*words).err
    dotenv.unlink()
    assert "the environment variable RATE is not set" in inside(*words).err


def test_a_password_may_stand_there() -> None:
    Path(".env").write_text('WMH_CLUSTER_PW="only for # this test"\n')
    words = ("c=deployment", "deployment/cluster=http", "cluster.url=http://127.0.0.1:9")
    cluster = prepare(words).plan.steps[-1].call.arguments["cluster"]
    assert cluster.pw.get_secret_value() == "only for # this test"


def test_a_first_word_that_is_no_command() -> None:
    assert "modeling: there is no such command\n      It is a stage: write c=modeling" in inside("modeling").err
    assert "Did you mean 'plan'?" in inside("plam", "c=modeling").err
    code, _, err = inside("frobnicate")
    assert code == ExitCode.BAD_INPUT
    assert "frobnicate: there is no such command\n      Allowed: c=analysis, c=deployment" in err


def test_errors_list_the_options_and_the_keys_and_say_who_has_a_key() -> None:
    text = refused("c=modeling", "modeling/model=gradient_boostin")
    assert "Did you mean 'gradient_boosting'" in text
    assert "Allowed: catboost, cnn, cnn_small, ensemble, estimator, extra_trees, fcn, gradient_boosting, " in text
    assert "hist_gradient_boosting, knn, lightgbm, linear" in text
    text = refused("c=modeling", "modeling/model=cnn", "model.hidden_dim=5")
    assert "Did you mean 'model.hidden_dims'? Allowed: model.activation, model.channels," in text
    assert "(modeling/model=cnn); model.hidden_dim is a key of modeling/model=fcn" in text
    owners = "new_rows.path is a key of prediction/rows=csv and prediction/rows=data_set and prediction/rows=parquet"
    words = ("c=prediction", "prediction/rows=csv,held_out", "new_rows.path=x.csv", "--multirun")
    assert f"in job 1\n      {owners}" in inside(*words).err
    assert "stored_model.run is a key of prediction/model=run" in refused("c=prediction", "stored_model.run=last")
    assert "Did you mean 'new_rows.path'?" in refused("c=prediction", "prediction/rows=csv", "new_rows.pth=x")


def test_what_is_deleted_or_added_by_mistake_is_explained() -> None:
    text = refused("c=modeling", "~modeling/param")
    assert "modeling/param: a choice is needed: modeling reads m_param (from the override ~modeling/param)" in text
    assert "Leave out ~modeling/param: the default is modeling/param=medium" in text
    assert "modeling/model: Could not delete" in refused("c=modeling", "~modeling/model=linear")
    text = refused("c=modeling", "hydra.callbacks={mine: {_target_: os.getcwd}}")
    assert "hydra.callbacks.mine: there is no such key. Add it: +hydra.callbacks.mine={_target_: …}" in text
    assert "a package that packages=[…] allows" in text
    text = refused("c=modeling", "objective.metric=zzz")
    assert "roc_auc. For a metric of your own, add objective.direction" in text
    marks = ("preprocessing/dataset=csv", "dataset.path=d.csv", "dataset.target=a", "dataset.decimal=,")
    text = refused("c=preprocessing", *marks, "dataset.thousands=,")
    assert "(from the override dataset.decimal=, and the override dataset.thousands=,)" in text


def test_foo_prints_what_it_receives_whatever_the_cluster_is() -> None:
    code, out, err = inside("c=deployment", "c/deployment_sub=foo")
    assert code == 0, err
    assert '"name": "local"' in out


def test_help_of_a_choice_shows_what_it_receives_and_the_config() -> None:
    code, out, err = inside("modeling/model=cnn", "m_param.seed=3", "--help")
    assert (code, err) == (0, "")
    assert out.startswith("modeling/model=cnn: A convolutional network")
    assert "  model.kernel_size=5   a whole number, 1 ≤ x ≤ 64\n" in out
    config = out.partition("\nConfig\n")[2]
    assert "  kernel_size: 5\n" in config
    assert "  seed: 3\n" in config
    assert "objective.metric" not in out.replace("${objective.metric}", "")


def test_help_shows_null_as_null() -> None:
    out = inside("c=exptests", "exptests/gates=standard", "gates.tests.baseline.metric=null", "--help").out
    assert "gates.tests.baseline.metric=null" in out


def test_a_note_follows_interpolations(tmp_path: Path) -> None:
    extra = "# @package _global_\n# Mine\nshared: {rate: 0.1, other: 1}\nknobs: {rate: '${shared.rate}'}\n"
    conf = ("--config-dir", write(tmp_path / "mine", {"experiment/mine.yaml": extra}))
    used = inside(*DIR, *conf, "c=fit", "+experiment=mine", "shared.rate=0.3")
    assert used.code == 0, used.err
    assert "changes nothing here" not in used.err
    unused = inside(*DIR, *conf, "c=gather", "+experiment=mine", "shared.rate=0.3")
    assert "Note: shared.rate=0.3 changes nothing here" in unused.err


def test_keys_of_option_files_that_nothing_reads_are_named(tmp_path: Path) -> None:
    """A misspelt key beside those of the program, and a header with another package than the group's."""
    files = {
        "experiment/typed.yaml": "# @package _global_\nknops:\n  rate: 0.1\ncluster: {name: x}\n",
        "modeling/param/mine.yaml": "# @package m_parm\ndefaults: [small, _self_]\nn_estimators: 5\n",
    }
    conf = ("--config-dir", write(tmp_path / "mine", files))
    typed = inside("plan", *DIR, *conf, "c=fit", "+experiment=typed")
    place = f"{tmp_path}/mine/experiment/typed.yaml, line 2"
    assert typed.err == f"Note: knops ({place}) changes nothing here, no step of this run receives it\n"
    for _ in range(2):  # composed, and replayed
        assert "Note: m_parm (" in inside("plan", *conf, "c=modeling", "modeling/param=mine").err


def test_options_in_a_defaults_list_are_read_as_they_are_written(tmp_path: Path) -> None:
    header = "# @package _global_\ndefaults:\n  - override /modeling/param: "
    files = {
        f"modeling/param/{n}.yaml": "# @package m_param\ndefaults: [small, _self_]\n" for n in ("007", "1e3", "on")
    }
    files |= {f"experiment/of_{n}.yaml": f"{header}{n}\n" for n in ("007", "1e3", "on")}
    conf = write(tmp_path / "mine", files)
    for name in ("007", "1e3", "on"):
        found = prepare(["c=modeling", f"+experiment=of_{name}"], config_dirs=[str(conf)])
        assert found.bound.calls[0][0].chosen["modeling/param"] == name


def test_a_description_is_no_part_of_a_key() -> None:
    words = [*CSV, "dataset.target='3'"]
    described = "dataset.columns=[{name: '1', dtype: int, description: %s},{name: '3', dtype: float}]"
    keys = {prepare([*words, described % text]).plan.steps[0].key for text in ("days", "weeks")}
    assert len(keys) == 1


def test_why_compares_with_the_nearest_earlier_result() -> None:
    for rate in ("0.1", "0.2"):
        inside(*DIR, "c=fit", f"knobs.rate={rate}", "knobs.rounds=10" if rate == "0.1" else "knobs.rounds=7")
    assert "(knobs.rate 0.1 → 0.3)" in inside(*DIR, "c=fit", "knobs.rate=0.3", "knobs.rounds=10").err


def test_an_override_that_is_given_twice_is_noted() -> None:
    twice = inside("plan", *DIR, "c=fit", "fit/knobs=gentle", "knobs.rate=0.1", "knobs.rate=0.2")
    assert twice.err == "Note: knobs.rate is given 2 times; the last one counts\n"
    once = inside("plan", *DIR, "c=fit", "knobs.rate=0.2", "knobs.rate=0.2")
    assert once.err == ""


def test_a_value_that_a_file_takes_from_an_override_names_the_override() -> None:
    message = refused("c=preprocessing", "seed=-1")
    assert "split.seed=-1: expected a whole number, 0 ≤ x <" in message
    assert "from the override seed=-1, which config/preprocessing/split/random.yaml, line 5 takes" in message


def test_another_case_is_suggested_before_what_merely_resembles() -> None:
    Path("d.csv").write_text("aa,AAA,Aa\n" + "1,2,3\n" * 40)
    assert "Did you mean 'AAA'?" in refused(*CSV, "dataset.target=aaA")


def test_a_long_flag_with_one_dash() -> None:
    code, _, err = inside("-multirun", "c=fit")
    assert code == ExitCode.BAD_INPUT
    assert "Did you mean --multirun?" in err


def test_a_misspelt_flag_or_a_word_without_a_value_has_its_remedy() -> None:
    assert "Did you mean '--multirun'?" in inside("c=modeling", "--mutlirun").err
    assert "Did you mean '--help'?" in inside("--hlep").err
    assert "See wmh --help" in inside("c=modeling", "--frobnicate").err
    assert "help: there is no such command\n      It is a flag: write --help" in inside("help").err
    err = inside("c=modeling", "m_param.learning_rate").err
    assert "m_param.learning_rate: neither a command nor key=value\n      Write m_param.learning_rate=…" in err
    err = inside("c=modeling", "modeling/param=tiny").err
    assert "Allowed: large, medium, param_1, param_2, small\n" in err, "not those of each model"
