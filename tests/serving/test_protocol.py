"""Conformance: NVIDIA's client of the protocol, and property tests of the OpenAPI document."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.http.auth import BasicAuth
from tritonclient.utils import InferenceServerException

import tiny_models as tiny
from model_server import ID, PASSWORD, Server, running
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.evaluation import PredictionIntervals
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.app import create_app
from when_ml_pipeline_meets_hydra.serving.http import users
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

# One worker starts the servers once.
pytestmark = pytest.mark.xdist_group("serving_protocol")
AUTH = {"Authorization": "Basic " + base64.b64encode(f"{ID}:{PASSWORD}".encode()).decode()}
PRICES = [tiny.price(row) for row in tiny.ROWS]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two versions of ``things`` and one of ``kinds``."""
    root = tmp_path_factory.mktemp("protocol")
    data = tiny.prepared(root / "data")
    classes = tiny.prepared(root / "classes", task=Task.CLASSIFICATION)
    repository = Repository(root / "models")
    for name, prepared, trained in [
        ("things", data, tiny.regression(root / "m-2")),
        ("things", data, tiny.regression(root / "m-3", slope=3.0)),
        ("kinds", classes, tiny.classification(root / "m-c")),
    ]:
        folder = root / f"{name}-{trained.path.name}"
        folder.mkdir()
        bundling.build(prepared, trained, folder)
        repository.activate(name, repository.add(name, folder, ID), ID)
    repository.rollback("things", ID)
    found = PredictionIntervals(path=root, coverage=0.9, distance=1.5, rows=30, metrics={})
    (root / "ranges").mkdir()
    bundling.build(data, tiny.regression(root / "m-r"), root / "ranges", found)
    repository.activate("ranges", repository.add("ranges", root / "ranges", ID), ID)
    return repository.root


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(models, tmp_path_factory.mktemp("log") / "log") as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[InferenceServerClient]:
    """NVIDIA's client of the protocol."""
    with InferenceServerClient(f"127.0.0.1:{server.port}") as found:
        found.register_plugin(BasicAuth(ID, PASSWORD))
        yield found


def inputs(*, binary: bool) -> list[InferInput]:
    """All rows, by column."""
    days = [row["built"].day - 1 if isinstance(row["built"], date) else math.nan for row in tiny.ROWS]
    seats = [math.nan if row["seats"] is None else row["seats"] for row in tiny.ROWS]
    columns: dict[str, tuple[str, np.ndarray[Any, Any]]] = {
        "weight": ("FP64", np.array([row["weight"] for row in tiny.ROWS])),
        "seats": ("FP64", np.array(seats)),
        "maker": ("BYTES", np.array([row["maker"] or "" for row in tiny.ROWS], dtype=object)),
        "sold": ("BOOL", np.array([row["sold"] is True for row in tiny.ROWS])),
        "built": ("FP32", np.array(days, dtype=np.float32)),
    }
    made = []
    for name, (datatype, values) in columns.items():
        tensor = InferInput(name, [len(values), 1], datatype)
        tensor.set_data_from_numpy(values.reshape(-1, 1), binary_data=binary)
        made.append(tensor)
    return made


def test_health_and_metadata(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("things")
    assert client.is_model_ready("things", "2")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_repository"]
    metadata = client.get_model_metadata("kinds")
    assert [(output["name"], output["datatype"]) for output in metadata["outputs"]] == [
        ("label", "BYTES"),
        ("probabilities", "FP32"),
    ]
    with pytest.raises(InferenceServerException, match="no version of 'nothing' is active"):
        client.get_model_metadata("nothing")


@pytest.mark.parametrize("out", [True, False])
@pytest.mark.parametrize("version", ["", "2"])
def test_tensors_as_bytes(client: InferenceServerClient, out: bool, version: str) -> None:
    wanted = [InferRequestedOutput("prediction", binary_data=out)]
    answer = client.infer("things", inputs(binary=True), model_version=version, outputs=wanted, request_id="7")
    slope = 3.0 if version == "2" else 2.0
    np.testing.assert_allclose(
        answer.as_numpy("prediction").reshape(-1), [tiny.price(r, slope) for r in tiny.ROWS], 1e-6
    )
    assert answer.get_response()["id"] == "7"
    assert ("data" in answer.get_output("prediction")) is not out


def test_strings_as_bytes(client: InferenceServerClient, server: Server) -> None:
    answer = client.infer("kinds", inputs(binary=True))
    labels = [value.decode() for value in answer.as_numpy("label").reshape(-1)]
    rows = [tiny.json_row(row) for row in tiny.ROWS]
    assert labels == server.call("POST", "/v2/models/kinds/predict", {"rows": rows})[1]["predictions"]
    assert answer.as_numpy("probabilities").shape == (30, 3)


def test_tensors_as_json(client: InferenceServerClient) -> None:
    numbers = [tensor for tensor in inputs(binary=False) if tensor.name() in {"weight", "maker", "sold"}]
    others = [tensor for tensor in inputs(binary=True) if tensor.name() in {"seats", "built"}]  # NaN is no JSON
    answer = client.infer("things", [*numbers, *others])
    np.testing.assert_allclose(answer.as_numpy("prediction").reshape(-1), PRICES, 1e-6)


def test_intervals_are_answered_where_they_are_asked_for(client: InferenceServerClient, server: Server) -> None:
    rows = {"rows": [tiny.json_row(row) for row in tiny.ROWS[:2]]}
    path = "/v2/models/ranges/predict"
    plain = server.call("POST", path, rows)[1]
    assert set(plain) == {"model_name", "model_version", "predictions"}
    asked = server.call("POST", path, {**rows, "interval": True})[1]
    assert asked["coverage"] == 0.9
    assert asked["intervals"] == [[p - 1.5, p + 1.5] for p in plain["predictions"]]
    assert {k: v for k, v in asked.items() if k in plain} == plain
    for binary in (True, False):
        wanted = {"parameters": {"interval": True}} if binary else {}
        named = None if binary else [InferRequestedOutput(n, binary_data=binary) for n in ("lower", "upper")]
        answer = client.infer("ranges", inputs(binary=True), outputs=named, **wanted)
        np.testing.assert_allclose(answer.as_numpy("upper").reshape(-1), np.array(PRICES) + 1.5, 1e-6)
        np.testing.assert_allclose(answer.as_numpy("lower").reshape(-1), np.array(PRICES) - 1.5, 1e-6)
        assert (answer.as_numpy("prediction") is None) is not binary
    assert client.infer("ranges", inputs(binary=True)).as_numpy("lower") is None, "not unless it is asked for"
    assert client.get_model_metadata("ranges")["parameters"] == {"interval": {"coverage": 0.9}}
    status, refused = server.call("POST", "/v2/models/things/predict", {**rows, "interval": True})
    assert (status, "the model has no intervals" in refused["error"]) == (422, True)
    with pytest.raises(InferenceServerException, match=r"parameters\.interval: the model has no intervals"):
        client.infer("things", inputs(binary=True), parameters={"interval": True})


def test_repository_index_load_unload(client: InferenceServerClient) -> None:
    def states() -> list[tuple[str, str, str]]:
        return [(e["name"], e["version"], e["state"]) for e in client.get_model_repository_index()]

    before = [
        ("kinds", "1", "READY"),
        ("ranges", "1", "READY"),
        ("things", "1", "READY"),
        ("things", "2", "UNAVAILABLE"),
    ]
    assert states() == before
    client.load_model("things")
    assert states() == before
    client.unload_model("things")
    assert not client.is_model_ready("things")
    assert client.is_server_ready()
    assert states() == [*before[:2], ("things", "1", "UNAVAILABLE"), before[3]]
    client.load_model("things")
    assert states() == before
    for refused in ("load_model", "unload_model"):
        with pytest.raises(InferenceServerException, match="nothing"):
            getattr(client, refused)("nothing")
    with pytest.raises(InferenceServerException, match="parameters"):
        client.load_model("things", config='{"max_batch_size": 3}')
    assert not any(name.startswith("nothing") for name, _, _ in states())


def framed(json: bytes, tail: bytes, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    return json + tail, {"Inference-Header-Content-Length": str(len(json)) if length is None else length}


@pytest.mark.parametrize(
    ("tensor", "tail", "length", "status", "message"),
    [
        ('"datatype":"FP64","shape":[2],"parameters":{"binary_data_size":16}', bytes(8), None, 422, "8 bytes for 2"),
        ('"datatype":"FP64","shape":[1],"parameters":{"binary_data_size":8}', bytes(9), None, 422, "9 bytes follow"),
        ('"datatype":"FP64","shape":[1],"parameters":{"binary_data_size":-8}', b"", None, 422, "greater than or equal"),
        ('"datatype":"FP64","shape":[1],"parameters":{"binary_data_size":"8"}', bytes(8), None, 422, "valid integer"),
        ('"datatype":"FP64","shape":[1],"data":[1],"parameters":{"binary_data_size":8}', bytes(8), None, 422, "either"),
        ('"datatype":"FP64","shape":[1]', b"", None, 422, "either data or binary_data_size"),
        ('"datatype":"FP99","shape":[1],"parameters":{"binary_data_size":8}', bytes(8), None, 422, "no datatype"),
        ('"datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":8}', b"\xff" * 8, None, 422, "prefixed"),
        ('"datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":4}', bytes(4), None, 422, "1 values for 2"),
        ('"datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":3}', bytes(3), None, 422, "prefixed"),
        (
            '"datatype":"FP64","shape":[99999,1],"parameters":{"binary_data_size":8}',
            bytes(8),
            None,
            422,
            "8 bytes",
        ),
        ('"datatype":"FP64","shape":[],"parameters":{"binary_data_size":8}', bytes(8), None, 422, "[N, 1]"),
        ('"datatype":"FP64","shape":[1],"data":[1]', b"", "x", 400, "Inference-Header-Content-Length"),
        ('"datatype":"FP64","shape":[1],"data":[1]', b"", "-1", 400, "Inference-Header-Content-Length"),
        ('"datatype":"FP64","shape":[1],"data":[1]', b"", "9" * 30, 400, "Inference-Header-Content-Length"),
        ('"datatype":"FP64","shape":[1],"data":[1]', b"", "10", 400, "not JSON"),
    ],
)
def test_bytes_that_do_not_fit(
    server: Server, tensor: str, tail: bytes, length: str | None, status: int, message: str
) -> None:
    body, headers = framed(f'{{"inputs":[{{"name":"weight",{tensor}}}]}}'.encode(), tail, length)
    found, answer = server.call("POST", "/v2/models/things/infer", body, **headers)
    assert (found, message in answer["error"]) == (status, True), answer


def tar(_: Any, value: Any) -> bytes:
    """Bodies that schemathesis sends for an upload."""
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
def api(models: Path) -> Iterator[Any]:
    import schemathesis  # which takes a second

    schemathesis.serializer("application/x-tar")(tar)
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # each request is sent with wrong passwords, too
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "_hasher", lambda: quick)
        patch.setattr(users, "_dummy_hash", lambda: quick.hash("nobody's"))
        sole = {ID: users.new_user(users.Role.DEPLOY, PASSWORD)}
        app = create_app(Settings(root=models, sole=sole, failed_logins=100_000))
        yield schemathesis.openapi.from_asgi("/openapi.json", app, headers=AUTH)


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_route_conforms_to_the_openapi_document(api: Any, mode: str) -> None:
    """Check status codes, types and schemas of responses, rejection of invalid requests, and authentication."""
    from schemathesis import Case, GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    labels = []
    for found in api.get_all_operations():
        operation = found.ok()
        labels.append(operation.label)

        @settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
        def holds(case: Case[Any]) -> None:
            # Rows that are valid as a request need not fit a model's signature.
            case.call_and_validate(headers=AUTH, excluded_checks=[positive_data_acceptance])

        try:
            holds()
        except Unsatisfiable:
            assert mode == "negative"  # there is nothing to get wrong
    assert "POST /v2/models/{model}/infer" in labels
    assert len(labels) >= 20
