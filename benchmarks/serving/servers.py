"""The servers to compare: installation, start command, requests and responses."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

from one_model import NAME, NUMBERS, TEXT

Rows = Sequence[Mapping[str, Any]]
ID, PASSWORD = "benchmark", "a-password-of-the-benchmark"
TOKEN = "Basic " + base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()
WORKERS = len(os.sched_getaffinity(0))

PLAIN = """
    import joblib
    import pandas as pd
    from fastapi import FastAPI
    from pydantic import BaseModel

    app, model = FastAPI(), joblib.load("model.joblib")

    class Rows(BaseModel):
        rows: list[dict[str, float | str | None]]

    @app.post("/predict")
    def predict(body: Rows) -> dict[str, list[float]]:
        return {"predictions": model.predict(pd.DataFrame(body.rows)).tolist()}
"""
BENTO = """
    import bentoml
    import joblib
    import pandas as pd

    @bentoml.service(workers=%d)
    class Model:
        def __init__(self) -> None:
            self.model = joblib.load("model.joblib")

        @bentoml.api
        def predict(self, rows: list[dict]) -> list[float]:
            return self.model.predict(pd.DataFrame(rows)).tolist()
"""
MLFLOW = """
    import joblib, mlflow
    mlflow.sklearn.save_model(joblib.load("model.joblib"), "mlflow-model", serialization_format="cloudpickle")
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server to compare.

    Attributes:
        name: its name in tables.
        packages: packages of its own environment; none: it runs in ours.
        files: name → content of the files in its directory.
        before: Python code to run once in its environment.
        command: port → start command; the first word is a program of its environment.
        path: path of its predictions.
        body: rows → request body.
        predictions: response body → predictions.
        headers: additional headers of a request.
        variables: additional environment variables.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    path: str
    body: Callable[[Rows], Any] = lambda rows: {"rows": rows}
    predictions: Callable[[Any], Sequence[float]] = lambda content: content["predictions"]
    packages: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


def _as_tensors(rows: Rows) -> Any:
    def tensor(name: str, datatype: str) -> dict[str, Any]:
        # MLServer's codec for pandas has no missing numbers in JSON.
        data = [row[name] if row[name] is not None else 0.0 for row in rows]
        return {"name": name, "datatype": datatype, "shape": [len(rows), 1], "data": data}

    inputs = [tensor(name, "FP64") for name in NUMBERS] + [tensor(TEXT, "BYTES")]
    inputs[-1]["parameters"] = {"content_type": "str"}
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


def _mlserver(workers: int) -> Server:
    settings = {"name": NAME, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "model.joblib"}}
    common = {"debug": False, "parallel_workers": workers, "host": "127.0.0.1", "metrics_endpoint": None}
    return Server(
        name=f"MLServer, parallel_workers={workers}",
        packages=("mlserver", "mlserver-sklearn", "pandas", "uvloop<0.22"),  # its workers fail with later ones
        files={"model-settings.json": json.dumps(settings), "settings.json": json.dumps(common)},
        command=lambda port: ("mlserver", "start", "."),
        path=f"/v2/models/{NAME}/infer",
        body=_as_tensors,
        predictions=lambda content: content["outputs"][0]["data"],
    )


OURS = Server(
    name=f"this server, --workers {WORKERS}",
    command=lambda port: (
        *("when_ml_pipeline_meets_hydra", "serve", "--repository", "../models"),
        *("--port", str(port), "--id", ID, "--workers", str(WORKERS)),
    ),
    path=f"/v2/models/{NAME}/predict",
    headers={"Authorization": TOKEN},
    variables={"WMH_SERVE_PW": PASSWORD},
)
OTHERS = (
    Server(
        name=f"mlflow models serve, --workers {WORKERS}",
        packages=("mlflow", "pandas"),
        before=MLFLOW,
        command=lambda port: (
            *("mlflow", "models", "serve", "-m", "mlflow-model", "--env-manager", "local"),
            *("-p", str(port), "--workers", str(WORKERS)),
        ),
        path="/invocations",
        body=lambda rows: {"dataframe_records": rows},
    ),
    _mlserver(0),
    _mlserver(WORKERS),
    Server(
        name=f"BentoML, workers={WORKERS}",
        packages=("bentoml", "pandas"),
        files={"service.py": dedent(BENTO % WORKERS)},
        command=lambda port: ("bentoml", "serve", "service:Model", "--host", "127.0.0.1", "-p", str(port)),
        path="/predict",
        predictions=lambda content: content,
        variables={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Server(
        name=f"plain FastAPI handler, --workers {WORKERS}",
        files={"plain.py": dedent(PLAIN)},
        command=lambda port: (
            "uvicorn",
            "plain:app",
            "--port",
            str(port),
            "--workers",
            str(WORKERS),
            "--no-access-log",
        ),
        path="/predict",
    ),
)


def environment(server: Server, below: Path) -> Path:
    """Return the directory of programs of the server's environment; creates it if needed."""
    if not server.packages:
        return Path(sys.executable).parent
    import sklearn

    folder = below / server.packages[0]
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        packages = [*server.packages, f"scikit-learn=={sklearn.__version__}"]
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "installed").touch()
    return folder / "bin"


@contextmanager
def running(server: Server, programs: Path, folder: Path, port: int, row: Rows) -> Iterator[tuple[str, int]]:
    """Start a server in ``folder``, and yield its URL and process id once it is ready."""
    folder.mkdir()
    (folder / "model.joblib").symlink_to(folder.parent / "model.joblib")
    for name, content in server.files.items():
        (folder / name).write_text(content)
    if "settings.json" in server.files:  # MLServer reads its port from there
        settings = json.loads((folder / "settings.json").read_text())
        ports = {"http_port": port, "grpc_port": port + 50}
        (folder / "settings.json").write_text(json.dumps(settings | ports))
    path = f"{programs}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "HOME": str(folder), **server.variables}
    if server.before:
        subprocess.run([programs / "python", "-c", dedent(server.before)], cwd=folder, env=variables, check=True)
    first, *words = server.command(port)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [programs / first, *words], cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}{server.path}"
        _wait(server, url, row, process, folder / "log")
        yield url, process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def predict(server: Server, url: str, rows: Rows) -> Sequence[float]:
    """Return the predictions for rows."""
    headers = {"Content-Type": "application/json", **server.headers}
    request = urllib.request.Request(url, json.dumps(server.body(rows)).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return [float(value) for value in server.predictions(json.load(response))]


def cpu_seconds(process: int) -> float:
    """Return user and system time so far of a process and all its descendants."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        number = int(file.parent.name)
        parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {process}
    while more := {number for number, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[number] for number in family & set(ticks)) / os.sysconf("SC_CLK_TCK")


def _wait(server: Server, url: str, row: Rows, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            predict(server, url, row)
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"{server.name} did not start:\n{log.read_text()[-3000:]}")
