"""The servers to compare: installation, start command, requests and responses."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
# The graph that ours serves, for three servers: what a request of rows becomes, and its predictions.
GRAPH = f"""
    from functools import cache

    import numpy as np
    import onnxruntime

    NUMBERS, TEXT = {NUMBERS!r}, {TEXT!r}

    @cache
    def session():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])

    def predictions(rows):
        feeds = {{name: np.array([[row[name]] for row in rows], dtype=np.float64) for name in NUMBERS}}
        feeds[TEXT] = np.array([[row[TEXT]] for row in rows], dtype=object)
        return session().run(["prediction"], feeds)[0].reshape(-1).tolist()
"""
THIN = """
    from fastapi import FastAPI
    from graph import predictions
    from pydantic import BaseModel

    app = FastAPI()

    class Rows(BaseModel):
        rows: list[dict[str, float | str | None]]

    @app.post("/predict")
    async def predict(body: Rows) -> dict[str, list[float]]:
        return {"predictions": predictions(body.rows)}
"""
LITSERVE = """
    import sys

    import litserve
    from graph import predictions

    class Api(litserve.LitAPI):
        def setup(self, device):
            pass

        def decode_request(self, request):
            return request["rows"]

        def predict(self, rows):
            return predictions(rows)

        def encode_response(self, output):
            return {"predictions": output}

    if __name__ == "__main__":
        server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=%d)
        options = {"num_api_servers": %d, "log_level": "warning", "generate_client_file": False}
        server.run(host="127.0.0.1", port=int(sys.argv[1]), **options)
"""
KSERVE = """
    import sys

    import kserve
    import uvicorn
    from graph import predictions
    from kserve.protocol.rest.multiprocess.server import RESTServerProcess

    # Workers that import for longer than 5 s are killed otherwise.
    RESTServerProcess.is_alive.__defaults__ = (60,)
    original = uvicorn.Config.__init__

    def on_loopback(self, app, **options):  # the SDK itself listens on all interfaces
        original(self, app, **{**options, "host": "127.0.0.1"})

    uvicorn.Config.__init__ = on_loopback

    class Model(kserve.Model):
        def __init__(self):
            super().__init__("mpg")
            self.ready = True

        def predict(self, payload, headers=None):
            return {"predictions": predictions(payload["instances"])}

    if __name__ == "__main__":
        options = {"enable_grpc": False, "enable_latency_logging": False}
        kserve.ModelServer(http_port=int(sys.argv[1]), workers=%d, **options).start([Model()])
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
GRAPH_FILE = {"graph.py": dedent(GRAPH)}
OTHERS = (
    Server(
        name=f"thin FastAPI + onnxruntime, --workers {WORKERS}",
        packages=("fastapi", "uvicorn[standard]", "onnxruntime", "numpy"),
        files={**GRAPH_FILE, "thin.py": dedent(THIN)},
        command=lambda port: (
            *("uvicorn", "thin:app", "--port", str(port)),
            *("--workers", str(WORKERS), "--no-access-log"),
        ),
        path="/predict",
    ),
    Server(
        name=f"LitServe, workers_per_device={WORKERS}",
        packages=("litserve", "onnxruntime", "numpy"),
        files={**GRAPH_FILE, "served.py": dedent(LITSERVE % (WORKERS, WORKERS))},
        command=lambda port: ("python", "served.py", str(port)),
        path="/predict",
    ),
    Server(
        name=f"KServe's SDK, workers={WORKERS}",
        packages=("kserve", "onnxruntime", "numpy"),
        files={**GRAPH_FILE, "served.py": dedent(KSERVE % WORKERS)},
        command=lambda port: ("python", "served.py", str(port)),
        path="/v1/models/mpg:predict",
        body=lambda rows: {"instances": rows},
    ),
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
    folder = below / server.packages[0]
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        packages = [*server.packages]
        if "graph.py" not in server.files:  # it unpickles the pipeline
            packages.append(f"scikit-learn=={importlib.metadata.version('scikit-learn')}")
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "installed").touch()
    return folder / "bin"


@contextmanager
def running(server: Server, programs: Path, folder: Path, port: int, row: Rows) -> Iterator[tuple[str, int]]:
    """Start a server in ``folder``, and yield its URL and process id once it is ready."""
    folder.mkdir()
    for name in ("model.joblib", "model.onnx"):
        (folder / name).symlink_to(folder.parent / name)
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
        with suppress(ProcessLookupError):  # what it has left
            os.killpg(process.pid, signal.SIGKILL)


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
