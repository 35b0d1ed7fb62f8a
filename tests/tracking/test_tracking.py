"""What is sent to trackers and when, without any of their libraries: a tracker of the tests' own gets it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from small_pipeline import CONF, DIR, EXAMPLES, as_killed, inside, install, small
from when_ml_pipeline_meets_hydra import pipeline
from when_ml_pipeline_meets_hydra.binding import trackers
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.searching.search import search
from when_ml_pipeline_meets_hydra.tracking import processes, send
from when_ml_pipeline_meets_hydra.tracking.tracked_runs import TrackedRecord
from when_ml_pipeline_meets_hydra.tracking.trackers.interface import Points, TrackedRun, flattened
from when_ml_pipeline_meets_hydra.tracking.trackers.mlflow import Options as Mlflow

NOWHERE = "mlflow.tracking_uri=http://127.0.0.1:9"
SECRET = "a-secret-of-the-tracker"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.fixture
def is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for counts as installed; the process that needs it finds out."""
    monkeypatch.setattr(trackers, "is_installed", lambda _: True)


@dataclass
class Notebook:
    """A tracker that writes down what it gets; it refuses the first ``refusals`` connections."""

    artifacts: Sequence[str] = ("fit",)
    timeout: float = 60
    url: str = "a notebook"
    refusals: ClassVar[int] = 0
    sent: ClassVar[list[TrackedRun]] = []
    known: dict[str, str] = field(default_factory=dict)

    def connect(self, known: dict[str, str]) -> Notebook:
        if Notebook.refusals:
            Notebook.refusals -= 1
            raise ConnectionError(f"refused {SECRET}\nand more of it")
        self.known = known
        return self

    def send(self, run: TrackedRun) -> None:
        self.known[run.id] = f"page {len(self.sent)}"
        self.sent.append(run)

    def close(self) -> None:
        pass


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> type[Notebook]:
    monkeypatch.setattr(send, "options_of", lambda name: Notebook)
    monkeypatch.setattr(send, "_PAUSE", 0.01)
    monkeypatch.setattr(send, "_RETRY", 0.01)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(Notebook, "sent", [])
    monkeypatch.setattr(Notebook, "refusals", 0)
    return Notebook


def sent_to(record: Record, settings: str | None = "{}") -> int:
    (record.folder / processes.FOLDER).mkdir(exist_ok=True)
    return send.main([str(record.folder), "mlflow", *([settings] if settings else [])])


def test_a_sweep_is_a_parent_and_a_run_per_combination_sent_once(notebook: type[Notebook]) -> None:
    done = small("c=gather,fit", "knobs.rate=0.1,0.2", multirun=True)
    assert sent_to(done.record) == 0
    parent, *combinations = notebook.sent
    assert [run.is_parent for run in notebook.sent] == [True, False, False]
    assert {run.parent for run in combinations} == {parent.id}
    assert parent.facts["command"] == f"wmh c=gather,fit knobs.rate=0.1,0.2 --multirun --config-dir {CONF}"
    assert parent.facts["combinations"] == 2
    fits = [step for step in done.record.steps if step["stage"] == "fit"]
    configs = dict(done.record.configs())
    for run, step in zip(combinations, fits, strict=True):
        assert run.metrics == {f"fit.{name}": value for name, value in step["metrics"].items()}
        assert run.config == configs[max(step["jobs"])]
        assert dict(flattened(run.config))["knobs.rate"] == str(run.config["knobs"]["rate"])
        assert [(name, file.name) for name, file in run.all_files()] == [("fit/curve.txt", "curve.txt")]
        assert run.status == "done"
        assert run.ended is not None
        assert any(o.startswith("knobs.rate=") for o in run.facts["overrides"])
    assert processes.result(done.record.folder, "mlflow") == "mlflow: a notebook"

    again = list(notebook.sent)
    notebook.sent.clear()
    assert sent_to(done.record) == 0
    assert notebook.sent == again  # the ids are the same, so that trackers recognize them
    pages = json.loads((done.record.folder / processes.FOLDER / "mlflow.json").read_bytes())
    assert set(pages) == {run.id for run in again}


def test_scores_of_elements_and_partial_scores_are_rows(tmp_path: Path) -> None:
    done = small("c=fit")
    line = json.loads((done.record.folder / "steps.jsonl").read_text().splitlines()[-1])
    more = [
        {**line, "element": "fold 2/3", "metrics": {"r2": 0.5}, "partial_scores": {"r2": [[1, 0.1], [4, None]]}},
        {**line, "element": "north", "metrics": {"r2": 0.25}},
        {**line, "metrics": {"r2": 0.75}, "partial_scores": {"r2": [[1, 0.2]], "mae": [[1, 3.0]]}},
    ]
    steps = as_killed(done.record)
    steps.write_text("".join(f"{json.dumps(entry)}\n" for entry in more))
    (run,) = TrackedRecord(Record(done.record.folder), ("fit",)).runs()
    assert [(row.step, dict(row.values)) for row in run.rows] == [
        (2, {"fit.fold.r2": 0.5}),
        (1, {"fit.fold 2.partial.r2": 0.1}),
        (4, {"fit.fold 2.partial.r2": pytest.approx(float("nan"), nan_ok=True)}),
        (0, {"fit.north.r2": 0.25}),
        (1, {"fit.partial.r2": 0.2, "fit.partial.mae": 3.0}),
    ]
    assert run.metrics == {"fit.r2": 0.75}
    assert run.name == done.record.id
    assert run.parent is None


def test_a_search_is_a_parent_and_a_run_per_trial(notebook: type[Notebook]) -> None:
    words = ("c=put", "+value=interval(1.0,5.0)", "hydra/sweeper=random", "hydra.sweeper.n_trials=3")
    done = search((*words, "+place=shelf", "+data=one", "objective.metric=error"), config_dirs=[str(EXAMPLES / "race")])
    assert sent_to(done.record) == 0
    parent, *trials = notebook.sent
    assert (parent.is_parent, parent.name[:7], parent.facts["study"]["trials"]) == (True, "random-", 3)
    found = {run.facts.get("trial"): run for run in trials}
    for trial in done.record.trials:
        run = found[trial.name]
        assert run.config["value"] == trial.values["value"]
        assert trial.score in run.metrics.values()
        assert (run.parent, run.name) == (parent.id, f"{done.record.id} trial {trial.name}")


def test_partial_scores_are_rows_while_a_model_is_trained(is_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(record: Path, _: str) -> subprocess.Popen[bytes]:
        (record / processes.FOLDER).mkdir()
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(processes, "start", started)
    words = ("c=audition", "+talent=2", "+manner='goes on'", "+turns=[1,2]", NOWHERE)
    done = pipeline.run(words, config_dirs=[str(EXAMPLES / "drill")])
    (whole,) = TrackedRecord(Record(done.record.folder), ()).runs()
    as_killed(done.record).write_bytes(b"")  # as before the first step has ended
    (early,) = TrackedRecord(Record(done.record.folder), ()).runs()
    points = {(name, row.step): value for row in early.rows for name, value in row.values.items()}
    assert points["practise.2.partial.error", 5] == 0.2
    assert len(points) == 2 * 2 * 5
    assert not early.metrics
    late = {(name, row.step): value for row in whole.rows for name, value in row.values.items()}
    assert points.items() <= late.items()
    assert {name for row in Points(points).new(whole.rows) for name in row.values} == {
        "practise.1.score",
        "practise.2.score",
    }


def test_a_record_is_followed_while_it_grows(notebook: type[Notebook], monkeypatch: pytest.MonkeyPatch) -> None:
    done = small("c=fit")
    file = done.record.folder / "run.json"
    ended, steps = file.read_bytes(), (done.record.folder / "steps.jsonl").read_bytes()
    as_killed(done.record)
    head = json.loads(file.read_bytes())
    file.write_text(json.dumps({**head, "process": {**head["process"], "pid": os.getpid()}}))  # it is running
    (done.record.folder / "steps.jsonl").write_bytes(b"")
    notebook.refusals = 1
    looks = iter([(file, file.read_bytes()), (done.record.folder / "steps.jsonl", steps)])

    def wait(*_: object) -> None:
        place, content = next(looks, (file, ended))
        place.write_bytes(content)

    monkeypatch.setattr(send._Sending, "_wait", wait)
    assert sent_to(done.record) == 0
    assert [run.status for run in notebook.sent] == ["running", "done"]
    assert [bool(run.metrics) for run in notebook.sent] == [False, True]


def test_a_failure_is_one_sentence_without_secrets(notebook: type[Notebook], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    done = small("c=fit")
    notebook.refusals = 1
    assert sent_to(done.record) == 1
    message = processes.result(done.record.folder, "mlflow")
    assert message.startswith("Warning: mlflow has not got this run (ConnectionError: refused ")
    assert message.endswith(f"Send it later: wmh runs sync {done.record.id} --to mlflow")
    assert SECRET not in message
    assert "and more" not in message
    assert sent_to(done.record) == 0  # later


def test_an_unreachable_tracker_is_a_warning_and_a_cached_run_is_reported_too(
    is_installed: None, own_home: Path
) -> None:
    words = (*DIR, "c=fit", NOWHERE, "mlflow.timeout=30")
    time.sleep(1)  # what a cached run depends on is older than the run
    for note in ("fit run: done", "fit run: stored"):
        code, _, err = inside(*words)
        assert code == 0
        assert "Left running" not in err
        assert note in err
        assert err.count("Warning: mlflow has not got this run (") == 1
        assert "Send it later: wmh runs sync" in err
    assert len(list((own_home / "runs").iterdir())) == 2


def test_a_tracker_that_hangs_is_given_up(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = small("c=fit")
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(processes, "start", lambda *_: subprocess.Popen(sleeper, start_new_session=True))
    monkeypatch.setattr(processes, "_MORE", 0.0)
    notes: list[str] = []
    began = time.monotonic()
    processes.TrackerProcesses(done.record.folder, {"aim": 0.2, "wandb": 0.3}).wait(notes.append)
    assert time.monotonic() - began < 5
    assert [note.partition(" (")[2].partition(")")[0] for note in notes] == ["it did not end in time"] * 2


WRONG = {
    "wandb.mode=sometimes": "wandb.mode=sometimes: expected one of disabled, offline, online",
    "wandb.id=a/b": "wandb.id=a/b",
    "wandb.api_key=abc": "wandb.api_key",
    "wandb.projct=cars": "Did you mean 'wandb.project'?",
    "mlflow.tracking_uri=./mlruns": "expected the URL of a server, http://127.0.0.1:5000, or a database, sqlite:///mlflow.db",
    "mlflow.tracking_uri=http://me:pw12345@127.0.0.1": "must not hold a user or a password; give them by",
    "mlflow.tracking_uri=http://": "expected a URL like http://127.0.0.1:5000",
    "mlflow.timeout=0": "mlflow.timeout=0",
    "aim.repo=s3://bucket": "expected a folder, or the address of a server: aim://127.0.0.1:53800",
    "aim.artifacts=[nothing] aim.repo=x": "aim.artifacts=nothing: expected a list of stages (",
}


@pytest.mark.usefixtures("is_installed")
@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_setting_ends_the_command_before_anything_runs(words: str, own_home: Path) -> None:
    code, _, err = inside(*DIR, "c=fit", *words.split())
    assert code == 2
    assert WRONG[words] in err
    assert "pw12345" not in err
    assert not (own_home / "runs").exists()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "is_installed", lambda _: False)
    code, _, err = inside("plan", *DIR, "c=fit", "aim.repo=x", "wandb.mode=offline")
    assert code == 2
    assert "wandb.mode: wandb is not installed" in err
    assert "pip install 'when_ml_pipeline_meets_hydra[aim]'" in err


def test_settings_change_no_key_and_a_sweep_has_one_tracker(is_installed: None) -> None:
    _, plain, _ = inside("plan", *DIR, "c=fit", "--json")
    _, on, _ = inside("plan", *DIR, "c=fit", "--json", NOWHERE, "mlflow.experiment_name=x", "wandb.tags=[a]")
    assert [step["key"] for step in json.loads(plain)["steps"]] == [step["key"] for step in json.loads(on)["steps"]]
    code, _, err = inside("plan", *DIR, "c=fit", "wandb.mode=offline,online", "--multirun")
    assert code == 2
    assert "wandb: has to be the same for all jobs of a run" in err


def test_a_tracker_that_is_off_is_not_imported() -> None:
    code = (
        "import sys\nfrom when_ml_pipeline_meets_hydra.cli import main\n"
        f"assert main({[*DIR, 'c=fit']}) == 0\n"
        "print([m for m in sys.modules if 'track' in m or m in ('mlflow', 'wandb', 'aim')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "['when_ml_pipeline_meets_hydra.binding.trackers']"


def test_the_defaults_are_those_of_the_config() -> None:
    from when_ml_pipeline_meets_hydra.pipeline import prepare

    ((job, _),) = prepare(["c=preprocessing"]).bound.calls
    page = (Path(__file__).parents[2] / "docs" / "reference" / "trackers.md").read_text(encoding="utf-8")
    for name in trackers.SWITCHES:
        options = trackers.options_of(name)()
        assert re.findall(rf"^\| `{name}\.(\w+)`", page, re.MULTILINE) == [*job.config[name]] == [*vars(options)]
        assert {key: getattr(options, key) for key in job.config[name]} == {
            key: tuple(value) if isinstance(value, list) else value for key, value in job.config[name].items()
        }
        assert not trackers.is_on(name, job.config[name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "mlflw"), "Did you mean 'mlflow'?"),
        (("--to", "mlflow"), "mlflow.tracking_uri: the run does not say where it is to be sent"),
        (("--to", "mlflow", "wandb.mode=offline"), "wandb.mode: expected a setting of mlflow"),
        (("--to", "aim", "aim.repo=[x"), "aim.repo=[x: is no value in Hydra's grammar"),
        (("--to", "aim", "aim.repo=x", "aim.artifacts=[all]"), "aim.artifacts=all: expected a list of stages"),
    ],
)
def test_a_wrong_sync_is_refused(words: tuple[str, ...], message: str, is_installed: None) -> None:
    small("c=gather")
    code, _, err = inside("runs", "sync", "last", *words)
    assert code == 2
    assert message in err


def test_a_run_is_sent_later(is_installed: None) -> None:
    run = small("c=gather").record.id
    code, out, err = inside("runs", "sync", run, "--to", "mlflow", NOWHERE)
    assert code == 1
    assert not out
    assert "Warning: mlflow has not got this run (" in err


def test_names_are_what_mlflow_takes() -> None:
    from when_ml_pipeline_meets_hydra.tracking.trackers.mlflow import _name

    assert _name("modeling.größe m²/fold 1") == "modeling.große m2/fold 1".replace("ß", "")
    assert _name("@a$[0]") == "_a__0_"
    assert Mlflow(tracking_uri="http://127.0.0.1:5000/").tracking_uri == "http://127.0.0.1:5000"
