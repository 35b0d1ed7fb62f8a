"""A sweep in a real MLflow server with passwords, W&B offline and Aim: their clients find what the record says."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from mlflow_server import PASSWORD, MlflowServer
from small_pipeline import inside
from wandb_files import read
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.tracking.trackers.interface import flattened

pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.integration("mlflow", "flask_wtf", "wandb", "aim")]
KEY = "0123456789abcdef0123456789abcdef01234567"  # of an account of W&B
SWEEP = (
    *("c=modeling", "modeling/model=linear", "modeling/validation=kfold", "validation.k=3", "--multirun"),
    *("m_param.alpha=0.01,0.1,1.0", "p_param.scaling=standard,none"),
    *("wandb.mode=offline", "wandb.project=cars", "wandb.tags=[a,b]", "aim.repo=aim", "aim.experiment=cars"),
    *("mlflow.experiment_name=cars", "mlflow.tags={team: x}"),
    *("wandb.timeout=300", "aim.timeout=300"),
)
AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@b.c")
ID = "when_ml_pipeline_meets_hydra.id"


@dataclass(frozen=True)
class Sweep:
    """A sweep whose MLflow server was down, sent later; and everything again to each tracker."""

    folder: Path
    record: Record
    server: MlflowServer
    said: tuple[str, ...]
    codes: tuple[int, ...]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, mlflow: MlflowServer) -> Iterator[Sweep]:
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in (["init", "-q"], [*AUTHOR, "commit", "-q", "--allow-empty", "-m", "first"]):
            subprocess.run(["git", *words], check=True)
        patch.setenv("WMH_HOME", str(folder / "home"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("WANDB_API_KEY", KEY)
        for name, value in mlflow.environment.items():
            patch.setenv(name, value)
        down = inside(*SWEEP, "mlflow.tracking_uri=http://127.0.0.1:9")
        (record,) = map(Record, (folder / "home" / "runs").iterdir())
        later = ("runs", "sync", record.id, "--to", "mlflow", f"mlflow.tracking_uri={mlflow.url}")
        sent = [inside(*words) for words in (later, later, (*later[:4], "aim"), (*later[:4], "wandb"))]
        said = tuple(out + err for _, out, err in (down, *sent))
        yield Sweep(folder, record, mlflow, said, tuple(code for code, _, _ in (down, *sent)))


@dataclass(frozen=True)
class Expected:
    """What the record says of one combination."""

    config: dict[str, Any]
    metrics: dict[str, float]
    folds: dict[str, list[tuple[int, float]]]
    files: dict[str, bytes]


def combinations(record: Record) -> list[Expected]:
    configs = dict(record.configs())
    return [_combination(record, job["number"], configs[job["number"]]) for job in record.jobs()]


def _combination(record: Record, job: int, config: dict[str, Any]) -> Expected:
    metrics: dict[str, float] = {}
    folds: dict[str, list[tuple[int, float]]] = {}
    files: dict[str, bytes] = {}
    for step in record.steps:
        if job not in step["jobs"]:
            continue
        for name, value in (step["metrics"] or {}).items():
            if step["element"] is None:
                metrics[f"{step['stage']}.{name}"] = value
            else:
                number = int(step["element"].removeprefix("fold ").partition("/")[0])
                folds.setdefault(f"{step['stage']}.fold.{name}", []).append((number, value))
        if step["stage"] == "modeling" and step["element"] is None:
            place = record.folder.parents[1] / "store" / step["key"][:2] / step["key"] / "files"
            files = {f"modeling/{f.relative_to(place)}": f.read_bytes() for f in place.rglob("*") if f.is_file()}
    return Expected(config, metrics, {name: sorted(points) for name, points in folds.items()}, files)


def test_the_exit_code_is_that_of_the_run_and_a_failure_is_one_warning(sweep: Sweep) -> None:
    assert sweep.codes == (0,) * 5
    assert sweep.said[0].count("Warning") == 1
    assert "Warning: mlflow has not got this run" in sweep.said[0]
    assert f"wmh runs sync {sweep.record.id} --to mlflow" in sweep.said[0]
    assert f"mlflow: {sweep.server.url}/#/experiments/" in sweep.said[1]
    assert "Warning" not in "".join(sweep.said[1:])


def test_what_is_expected_is_not_nothing(sweep: Sweep) -> None:
    found = combinations(sweep.record)
    assert len(found) == 6
    assert all(len(c.folds["modeling.fold.r2"]) == 3 and c.files and len(c.metrics) == 8 for c in found)
    assert len({json.dumps(c.config) for c in found}) == 6


def test_mlflow_has_what_the_records_say_once(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in sweep.server.environment.items():
        monkeypatch.setenv(name, value)
    from mlflow import MlflowClient

    client = MlflowClient(sweep.server.url)
    experiment = client.get_experiment_by_name("cars").experiment_id
    runs = {run.data.tags[ID]: run for run in client.search_runs([experiment], max_results=100)}
    assert len(client.search_runs([experiment], max_results=100)) == len(runs) == 7
    *children, parent = (runs[name] for name in sorted(runs))
    assert parent.data.tags["mlflow.runName"] == sweep.record.id
    for run, expected in zip(children, combinations(sweep.record), strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.info.status, run.data.tags["team"]) == ("FINISHED", "x")
        assert run.data.tags["mlflow.source.name"].startswith("wmh c=modeling modeling/model=linear")
        assert run.data.params == {name: value[:6000] for name, value in flattened(expected.config)}
        assert run.data.metrics.keys() == expected.metrics.keys() | expected.folds.keys()
        assert expected.metrics.items() <= run.data.metrics.items()
        assert {name: points[-1][1] for name, points in expected.folds.items()}.items() <= run.data.metrics.items()
        history = client.get_metric_history(run.info.run_id, "modeling.fold.r2")
        assert [(metric.step, metric.value) for metric in history] == expected.folds["modeling.fold.r2"]
        listed = {f.path for f in client.list_artifacts(run.info.run_id)}
        assert listed == {"config.json", "run.json", "modeling"}
    folder = Path(client.download_artifacts(children[0].info.run_id, "", str(tmp_path)))
    (expected, *_) = combinations(sweep.record)
    assert json.loads((folder / "config.json").read_text()) == expected.config
    assert json.loads((folder / "run.json").read_text())["git"] == sweep.record.head["git"]
    assert {name: (folder / name).read_bytes() for name in expected.files} == expected.files


def test_wandb_has_what_the_records_say_once(sweep: Sweep) -> None:
    files = list((sweep.folder / "wandb").glob("offline-run-*/run-*.wandb"))
    found = {run.id: run for run in map(read, files)}
    assert len(found) == len(files) == 7
    *children, parent = (found[name] for name in sorted(found))
    assert parent.job_type == "sweep"
    for run, expected in zip(children, combinations(sweep.record), strict=True):
        assert (run.group, run.project, run.tags, run.exit_code) == (sweep.record.id, "cars", ("a", "b"), 0)
        assert {key: run.config[key] for key in expected.config} == expected.config
        assert run.config["run"]["command"].startswith("wmh c=modeling")
        assert run.config["run"].get("git") == sweep.record.head["git"]
        assert {name: run.summary[name] for name in expected.metrics} == expected.metrics
        for name, points in expected.folds.items():
            assert sorted((row["step"], row[name]) for row in run.history if name in row) == points
        digests = {f"modeling/{name}": digest for name, digest in run.artifacts["modeling"].items()}
        assert digests == {name: b64encode(md5(content).digest()).decode() for name, content in expected.files.items()}


def test_aim_has_what_the_records_say_once(sweep: Sweep) -> None:
    from aim import Repo

    repo = Repo.from_path(str(sweep.folder / "aim"))
    assert len(repo.list_all_runs()) == 7
    query = f"run.record.run == '{sweep.record.id}' and not run.record.is_parent"
    runs = {item.run.get(("record", "id")): item.run for item in repo.query_runs(query, report_mode=0).iter_runs()}
    for (_, run), expected in zip(sorted(runs.items()), combinations(sweep.record), strict=True):
        assert run.experiment == "cars"
        assert run.get("config") == expected.config
        series = {metric.name: metric.data.items_list() for metric in run.metrics()}
        assert series.keys() == expected.metrics.keys() | expected.folds.keys()
        for name, value in expected.metrics.items():
            assert [float(v) for v in series[name][1][0]] == [value]
        for name, points in expected.folds.items():
            steps, (values, *_) = series[name]
            assert sorted(zip(map(int, steps), map(float, values), strict=True)) == points
        found = {name: Path(file.uri.removeprefix("file://")).read_bytes() for name, file in run.artifacts.items()}
        assert found == expected.files


def test_no_secret_is_in_any_file(sweep: Sweep) -> None:
    files = [f for place in (sweep.folder, sweep.server.artifacts.parent) for f in place.rglob("*") if f.is_file()]
    assert len(files) > 100
    for file in files:
        content = file.read_bytes()
        assert KEY.encode() not in content, file
        assert PASSWORD.encode() not in content, file
