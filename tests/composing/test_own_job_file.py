"""A job file of a user's own in place of the primary config: what its stages receive is at ``ops.<stage>.config``."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest

from small_pipeline import inside, write
from when_ml_pipeline_meets_hydra import Run, prepare, run
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode
from when_ml_pipeline_meets_hydra.records.lookup import read_records
from when_ml_pipeline_meets_hydra.records.record import Record

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "job_file"
FOLDER, NAME = "configs/jobs/job_train/job_train_cls", "job_train_cls_binary"
JOB = f"{FOLDER}/{NAME}.yaml"
FLAGS = ("--config-dir", FOLDER, "--config-name", NAME)
STAGES = ["experiment", "train", "prediction", "analysis", "exptests"]
AS_PUBLISHED = "43bac84c4368d57683d398e5b3f5ae793e312617aa872c59f470891af8589e2f"
EPOCHS = "ops.train.config.train_params.epochs"
SECRET = "hemlock-and-rue"


def numbers(folder: Path) -> None:
    """Images of two pixels, whose classes lie apart, in three parts."""
    draw = random.Random(0)
    lines = ["number,part,pixel_0,pixel_1"]
    for n in range(300):
        number = draw.randrange(10)
        lines.append(f"{number},{('train', 'validation', 'test')[n % 3]},{16 * (number in (0, 6, 8))},{n % 5}")
    folder.mkdir(parents=True)
    (folder / "numbers.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds ``configs/`` and ``data/``."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    numbers(folder / "data" / "numbers_cropped_split")
    return folder


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in the folder, with the package of its stages allowed, and with one store for all tests."""
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setenv("WMH_PACKAGES", "numbers_job")
    monkeypatch.setenv("WMH_HOME", str(project / "home"))
    monkeypatch.setenv("MINIO_SECRET", SECRET)


@pytest.fixture
def done(project: Path, in_project: None) -> Run:
    """A run of the job; only the first one computes anything."""
    return run([], config_dirs=[JOB])


def test_the_job_file_is_as_published() -> None:
    assert hashlib.sha256((EXAMPLE / JOB).read_bytes()).hexdigest() == AS_PUBLISHED


def test_the_graph_has_the_edges_of_the_files_and_no_others() -> None:
    lines = inside("graph", *FLAGS, "--format", "mermaid").out.splitlines()
    names = {m[1]: m[2].rpartition("/")[2] for line in lines if (m := re.fullmatch(r'  (n\d+)\["(.*)"\]', line))}
    edges = [(line.split()[0], line.split()[-1]) for line in lines if "-->" in line]
    assert len(edges) == len(set(edges)) == 16
    found: dict[str, set[str]] = {}
    for one, other in edges:
        found.setdefault(names[one], set()).add(names[other])
    assert found == {
        "job_train_cls_binary": {
            *("op_experiment_default", "op_train_cls_binary", "op_prediction_cls", "op_analysis_cls_binary"),
            *("exptests_default", "exp_locations"),
        },
        "op_train_cls_binary": {"op_train_base", "dataset_cls_test"},
        "op_train_base": {"callbacks_base", "trainparams_default", "exp_initializer_default"},
        "op_prediction_cls": {
            *("dataset_cls_test", "prediction_handler_vector", "datasets_generic_default", "op_prediction_base"),
        },
        "exp_locations": {"credentials_minio"},
    }


def test_the_stages_run_in_order_and_receive_their_own_config(done: Run) -> None:
    assert done.exit_code == ExitCode.DONE
    assert [outcome.step.call.stage for outcome in done.outcomes] == STAGES
    assert done.record.id.endswith("-CLB")
    assert done.metrics["analysis.test_accuracy"] == 1.0
    received = {o.step.call.stage: set(o.step.call.arguments) for o in done.outcomes}
    assert received["experiment"] == {"name", "location"}
    assert received["train"] == {"dataset", "train_params", "callbacks", "exp_initializer"}
    assert received["exptests"] == {"tests"}
    assert done.artifact("experiment").name == "CLB-SampleClsBinary"  # type: ignore[attr-defined]
    inputs = [(outcome.step.inputs["arguments"]) for outcome in done.outcomes]
    assert "globals" not in json.dumps(inputs)
    assert (done.artifact("train").path / "history.csv").is_file(), "a plain class was a callback"
    config = (done.record.folder / ".hydra" / "config.yaml").read_text()
    assert "${oc.env:DATA_URI,./data}/numbers_cropped_split" in config
    assert "preprocessing_sub" not in config, "only its own stages are in its config"


def test_a_second_time_everything_is_stored(done: Run) -> None:
    again = inside(*FLAGS)
    assert again.code == 0
    assert [line.split(":")[0] for line in again.err.splitlines() if "stored (nothing changed)" in line] == [
        *("experiment start", "train fit", "prediction predict", "analysis measure", "exptests test"),
    ]
    shown = inside("runs", "show", "last").out
    assert f"--config-dir {FOLDER} --config-name {NAME}" in shown
    repeated = inside("runs", "rerun", "last")
    assert (repeated.code, repeated.err.count("stored (nothing changed)")) == (0, 5)
    part = inside("runs", "rerun", "last", "--job", "0", "c=train")
    assert (part.code, part.err.count("stored (nothing changed)")) == (0, 2)
    logged = inside("runs", "rerun", str(done.record.folder / ".hydra" / "config.yaml"))
    assert (logged.code, logged.err.count("stored (nothing changed)")) == (0, 5)


def _artifacts(home: Path, record: Record) -> dict[str, bytes]:
    """The files of all steps of a run."""
    folders = {step["stage"]: home / "store" / step["key"][:2] / step["key"] / "files" for step in record.steps}
    found = ((stage, file) for stage, folder in folders.items() for file in sorted(folder.rglob("*")))
    return {f"{stage}/{file.relative_to(folders[stage])}": file.read_bytes() for stage, file in found if file.is_file()}


@pytest.mark.integration("dagster")
def test_its_stages_are_ops_of_a_job_of_dagster(done: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg

    home = project / "home of dagster"
    monkeypatch.setenv("WMH_HOME", str(home))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    ran = inside(*FLAGS, "hydra/launcher=dagster")
    assert ran.code == 0, ran.err
    *_, record = read_records(home)
    assert "train/history.csv" in _artifacts(home, record)
    assert _artifacts(home, record) == _artifacts(project / "home", done.record)
    refused = inside(*FLAGS, "hydra/launcher=dagster", "ops.exptests.config.tests.accuracy.limit=1.1")
    assert refused.code == ExitCode.REFUSED
    assert "ops.exptests.config.tests: 1 of 3 tests failed (accuracy: test_accuracy is 1.000, below 1.1)" in refused.err

    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        runs = [found.dagster_run.run_id for found in instance.get_run_records()]
        after, before = ([e.dagster_event for e in instance.all_logs(run) if e.dagster_event] for run in runs)
    assert before[-1].event_type.name == "RUN_SUCCESS"
    ended = [event.step_key for event in before if event.event_type_value == "STEP_SUCCESS"]
    assert [key.partition("_")[0] for key in ended] == STAGES
    assert after[-1].event_type.name == "RUN_FAILURE"
    (failed,) = (event for event in after if event.event_type_value == "STEP_FAILURE")
    assert "1 of 3 tests failed" in str(failed.step_failure_data)
    assert not [file for file in home.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]


def test_no_file_of_a_run_has_a_secret_of_its_globals(done: Run, project: Path) -> None:
    assert SECRET not in inside(*FLAGS, "--cfg", "job", "--resolve").out
    files = [file for file in (project / "home").rglob("*") if file.is_file()]
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]


def test_a_failed_test_refuses_the_experiment_and_all_that_failed_are_told(done: Run) -> None:
    wrong = ("ops.exptests.config.tests.accuracy.limit=1.1", "ops.exptests.config.tests.model_saved.file_name=a.bin")
    failed = inside(*FLAGS, *wrong)
    assert failed.code == ExitCode.REFUSED
    assert (
        "ops.exptests.config.tests: 2 of 3 tests failed (model_saved: there is no a.bin; "
        "accuracy: test_accuracy is 1.000, below 1.1)"
    ) in failed.err
    assert "passed  area" in failed.out
    assert failed.err.count("stored (nothing changed)") == 4


def test_the_data_and_the_configs_may_lie_elsewhere(
    done: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    shutil.copytree(project / "data" / "numbers_cropped_split", tmp_path / "there" / "numbers_cropped_split")
    with monkeypatch.context() as patch:
        patch.setenv("DATA_URI", str(tmp_path / "there"))
        steps = prepare([], config_dirs=[JOB]).plan.steps
        assert str(steps[1].call.arguments["dataset"].file) == f"{tmp_path}/there/numbers_cropped_split/numbers.csv"
        patch.setenv("DATA_URI", "/nowhere")
        missing = inside("plan", *FLAGS)
        assert (missing.code, missing.out) == (2, "")
        assert (
            "ops.train.config.dataset.file=/nowhere/numbers_cropped_split/numbers.csv: there is no such file\n"
            "      from configs/shared/datasets/dataset_cls_test.yaml, line 3"
        ) in missing.err
    shutil.copytree(project / "configs", tmp_path / "moved")
    moved = ["--config-dir", str(tmp_path / "moved/jobs/job_train/job_train_cls"), "--config-name", f"{NAME}.yaml"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_URI", str(tmp_path / "there"))
    lost = inside("plan", *moved)
    assert lost.code == 2
    assert f"hydra.searchpath=configs: no such folder in {tmp_path}" in lost.err
    assert "Start in the folder that holds configs, or give another one: hydra.searchpath=[DIR]" in lost.err
    found = inside("plan", *moved, "hydra.searchpath=[file://moved]", "c=experiment")
    assert (found.code, found.out.splitlines()[1].split()[-3:]) == (0, ["stored", "nothing", "changed"])


def test_its_keys_are_swept_and_its_options_exchanged(done: Run) -> None:
    swept = prepare([f"{EPOCHS}=40,2,3"], multirun=True, config_dirs=[JOB]).plan
    assert [(s.call.stage, s.reason) for s in swept.to_run if s.call.stage == "train"] == [
        ("train", "train_params.epochs 40 → 2"),
        ("train", "train_params.epochs 40 → 3"),
    ]
    assert sum(s.call.stage == "experiment" for s in swept.steps) == 1
    prefixes = inside("plan", *FLAGS, "c=experiment", "globals.exp_prefix=CLB,REG,null", "--multirun")
    assert (prefixes.code, prefixes.err) == (
        0,
        "Note: globals.exp_prefix is not the same for all jobs (CLB, REG, none): the folder of the record ends with "
        "none of them\n",
    )
    write(Path(FOLDER), {"ops/exptests/none.yaml": "# No test\nmodel_saved: null\n"})
    chosen = prepare(["ops/exptests@ops.exptests.config.tests=none"], config_dirs=[JOB]).plan
    assert [s.call.stage for s in chosen.to_run] == ["exptests"]
    (Path(FOLDER) / "ops/exptests/none.yaml").unlink()
    (Path(FOLDER) / "ops/exptests").rmdir()
    (Path(FOLDER) / "ops").rmdir()
    assert [s.call.stage for s in prepare(["c=train"], config_dirs=[JOB]).plan.steps] == ["experiment", "train"]
    assert [s.call.stage for s in prepare(["force=[train]"], config_dirs=[JOB]).plan.to_run][:1] == ["train"]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            [f"{EPOCHS}=0", "ops.train.config.train_params.learnin_rate=1", "+ops.train.config.epochs=3"],
            [
                f"{EPOCHS}=0: expected a whole number, at least 1",
                f"from the override {EPOCHS}=0",
                "ops.train.config.train_params.learnin_rate: there is no such key",
                "ops.train.config.epochs: train receives no such key",
                "Allowed: callbacks, dataset, exp_initializer, train_params",
            ],
        ),
        (["~ops.train.config.dataset"], ["ops.train.config.dataset"]),
        (
            ["+ops.trian.epochs=1", "+ops.train.epochs=3", "ops.exptests.config=3"],
            [
                "ops.trian.epochs: an op has only a config",
                "ops.train.epochs: an op has only a config",
                "Write it below ops.train.config",
                "ops.exptests.config: expected the keys that the stage receives",
                "A job without the stage: ~ops.exptests",
            ],
        ),
        (["globals.exp_prefix=[1,2]"], ["globals.exp_prefix=[1, 2]: part of a folder's name"]),
        (
            ["globals.exp_prefix=a/b"],
            ["globals.exp_prefix=a/b: part of a folder's name: up to 60 letters, digits, '_', '-' and '.'"],
        ),
        (
            ["+ops.train.config.callbacks.mine={_target_: numbers_job.bad.Mine, a: 1}"],
            ["the parameter 'a' of its __init__ has no annotation"],
        ),
    ],
)
def test_problems_have_the_keys_of_the_job_file(words: list[str], lines: list[str]) -> None:
    Path("numbers_job/bad.py").write_text("class Mine:\n    def __init__(self, a):\n        self.a = a\n")
    refused = inside("plan", *FLAGS, *words)
    assert (refused.code, refused.out) == (2, "")
    for line in lines:
        assert line in refused.err


def test_a_file_that_is_not_there_or_named_from_further_up_is_told() -> None:
    above = inside("--config-dir", "configs", "--config-name", f"jobs/job_train/job_train_cls/{NAME}")
    assert above.code == 2
    assert (
        f"its default ops/experiment@ops.experiment.config is relative to its own folder, and there is no "
        f"{FOLDER}/ops/experiment\n      from {JOB}, line 4\n      "
        f"Name that folder: --config-dir {FOLDER} --config-name {NAME}"
    ) in above.err
    unknown = inside("--config-dir", FOLDER, "--config-name", "job_train")
    assert f"--config-name=job_train: there is no job_train.yaml in {FOLDER}" in unknown.err
    assert "Did you mean 'job_train_cls_binary'?" in unknown.err
    assert "Add --config-dir with the folder that holds the file" in inside("--config-name", NAME).err
    with pytest.raises(BadInput, match="there is no such file"):
        prepare([], config_dirs=[f"{FOLDER}/other.yaml"])


def test_help_says_what_each_stage_receives() -> None:
    shown = inside(*FLAGS, "--help")
    assert shown.code == 0, shown.err
    heads = [m[1] for line in shown.out.splitlines() if (m := re.match(r"(\w+ \w+): ", line))]
    assert heads == ["experiment start", "train fit", "prediction predict", "analysis measure", "exptests test"]
    assert f"  {EPOCHS}=40   a whole number, at least 1" in shown.out
    assert "ops.train.config.callbacks.early_stopping.patience=5" in shown.out
    assert "receives train's Classifier" in shown.out
    only = inside(*FLAGS, "c=analysis", "--help").out
    assert "analysis measure" in only
    assert "train fit" not in only


def test_the_program_takes_a_job_file_from_a_colleague_only_with_packages_of_ones_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WMH_PACKAGES")
    refused = inside("plan", *FLAGS)
    assert refused.code == 2
    assert "only when_ml_pipeline_meets_hydra may be named here" in refused.err
    assert os.environ["WMH_HOME"]
    assert inside("plan", *FLAGS, "packages=[numbers_job]").code == 0
