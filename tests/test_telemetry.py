"""Nothing leaves the machine, and no file lies elsewhere than docs/reference/files.md says: seen by system calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import model_server
import tiny_models as tiny
from database_servers import SNOWFLAKE, snowflake_server
from needed import need
from system_calls import Trace
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
}
SMALL = ("modeling/param=small", "modeling/model=gradient_boosting")

Traced = Callable[..., set[str]]


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a person who has set nothing; returns the folder in which all they have lies."""
    root = tmp_path / "person"
    for name in ("work", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(root / "work")
    for name in (*SWITCHES, "WMH_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("TMPDIR", str(root / "tmp"))
    return root


@pytest.fixture
def traced(person: Path) -> Traced:
    """Run a command; returns the addresses that it connected to, and the entries that it left or wrote elsewhere."""

    def run(*words: str) -> set[str]:
        trace = Trace(person.parent / "trace.txt", *words)
        process = subprocess.Popen(trace.command, stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return left_behind(person, trace, process.pid)

    return run


def left_behind(person: Path, trace: Trace, process: int) -> set[str]:
    """The connections, the entries of the person's folders but for the current one, and the files written elsewhere."""
    elsewhere = {p for p in trace.written(process, person / "work") if not p.startswith(f"{person}/")}
    files = {str(p.relative_to(person)) for p in person.glob("*/**/*") if p.is_file()}
    parts = {"/".join(f.split("/")[:2]) for f in files if not f.startswith("work/.pipeline/")}
    return trace.connections(process) | elsewhere | parts


CACHES = {".cache/when_ml_pipeline_meets_hydra", ".cache/matplotlib"}


@pytest.mark.slow
@pytest.mark.integration
def test_all_stages_in_worker_processes(traced: Traced) -> None:
    words = ("c=analysis,deployment", *SMALL, "--multirun", "hydra.launcher.n_jobs=2")
    assert traced(*words) == CACHES


@pytest.mark.lightgbm
@pytest.mark.slow
@pytest.mark.integration
def test_lightgbm_reads_duckdb(traced: Traced) -> None:
    need("duckdb")
    table = ("preprocessing/dataset=table", "preprocessing/connection=duckdb", "connection.path=cars.duckdb")
    load = traced("c=preprocessing", "c/preprocessing_sub=load", *table)
    assert load == {".cache/when_ml_pipeline_meets_hydra", "work/cars.duckdb"}
    assert traced("c=modeling", *table, "modeling/model=lightgbm", "modeling/param=small") == load


@pytest.mark.integration("torch", "onnxscript")
def test_networks(traced: Traced) -> None:
    words = ("c=modeling", "modeling/model=single_linear_layer", "m_param.epochs=1")
    assert traced(*words) == {".cache/when_ml_pipeline_meets_hydra"}


@SNOWFLAKE
def test_snowflake(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    with snowflake_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        table = ("preprocessing/dataset=table", "preprocessing/connection=snowflake")
        found = traced("c=preprocessing", "c/preprocessing_sub=load", *table)
    assert {place for place in found if ":" in place} == set()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with an active version, made before the switches are taken away from this process."""
    (bundle := tmp_path / "bundle").mkdir()
    bundling.build(tiny.prepared(tmp_path / "data"), tiny.regression(tmp_path / "m"), bundle)
    repository = Repository(tmp_path / "person" / "work" / "models")
    repository.activate("things", repository.add("things", bundle, model_server.ID), model_server.ID)
    return repository.root


@pytest.mark.integration
def test_a_server_with_workers(models: Path, person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(person.parent / "trace.txt")
    monkeypatch.setattr(model_server, "COMMAND", trace.command)
    with model_server.running(models, person.parent / "log", "--workers", "2") as server:
        rows = [tiny.json_row(row) for row in tiny.ROWS]
        status, _ = server.call("POST", "/v2/models/things/predict", {"rows": rows})
    assert status == 200
    assert left_behind(person, trace, server.process.pid) == {"work/models"}


def switches(**environment: str) -> dict[str, str | None]:
    """The switches of dependencies in a process that has imported the package."""
    code = "import json, os, when_ml_pipeline_meets_hydra; print(json.dumps(dict(os.environ)))"
    variables = {name: value for name, value in os.environ.items() if name not in SWITCHES} | environment
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: found.get(name) for name in SWITCHES}


def test_what_a_user_sets_stays() -> None:
    assert switches() == SWITCHES
    assert switches(ORT_DISABLE_TELEMETRY="0") == {**SWITCHES, "ORT_DISABLE_TELEMETRY": "0"}
