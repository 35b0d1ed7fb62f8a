"""KServe: what is rendered fits its schema, is applied by the official client, and serves."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from pydantic import SecretStr, TypeAdapter, ValidationError

from cluster_life import ROWS, killed_at, live, prices, regressions
from kserve_schema import schema
from kubernetes_server import Kubernetes, kubernetes
from small_pipeline import inside
from when_ml_pipeline_meets_hydra.deploy.clusters.kserve import Kserve
from when_ml_pipeline_meets_hydra.deploy.clusters.kserve_bundles import Bundles
from when_ml_pipeline_meets_hydra.deploy.clusters.kserve_manifests import render
from when_ml_pipeline_meets_hydra.deploy.clusters.kubernetes_api import Kubernetes as Api
from when_ml_pipeline_meets_hydra.errors import PipelineError, Refused, StepFailed
from when_ml_pipeline_meets_hydra.serving.formats.versions import Version

pytestmark = pytest.mark.xdist_group("kserve")
KUBERNETES = pytest.mark.integration("kubernetes")
PASSWORD = "s3cret-of-the-service"
IMAGE = "registry.example.org/models:1"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("claim")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, storage: Path) -> Iterator[tuple[Kubernetes, Path]]:
    folder = tmp_path_factory.mktemp("kubernetes")
    with kubernetes(folder, {"models": storage}) as (state, kubeconfig), pytest.MonkeyPatch.context() as patch:
        # Read from KUBECONFIG when the client is imported.
        patch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        yield state, kubeconfig


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return regressions(tmp_path_factory.mktemp("bundles"))


def kserve(storage: Path, /, **options: Any) -> Kserve:
    values: dict[str, Any] = {"image": IMAGE, "storage": str(storage), "storage_uri": "pvc://models", "ready": 60}
    return Kserve(pw=SecretStr(PASSWORD), **{**values, **options})


@pytest.mark.slow
@KUBERNETES
def test_life_of_a_model(api: tuple[Kubernetes, Path], storage: Path, bundles: list[Path]) -> None:
    state, _ = api
    live(kserve(storage), bundles)
    changed = [asked for asked in state.asked if asked.startswith("PATCH") and "/things?" in asked]
    assert "dryRun=All" in changed[0], "the API is asked first whether it would"
    service = state.objects["inferenceservices", "things"]
    assert service["metadata"]["annotations"]["when-ml-pipeline-meets-hydra/version"] == "1"
    assert PASSWORD not in json.dumps(service)
    url = service["status"]["url"]
    rollback = f"{url}/v2/repository/models/things/rollback"
    may_not = httpx.post(rollback, auth=("pipeline", PASSWORD), timeout=60)
    assert may_not.status_code == 403, "who may ask the model may not change it"


@KUBERNETES
def test_a_version_that_does_not_become_ready_is_taken_back(
    api: tuple[Kubernetes, Path], storage: Path, bundles: list[Path]
) -> None:
    good = kserve(storage)
    good.activate("steady", good.push("steady", bundles[0]))
    bad = kserve(storage, image="registry.example.org/broken:1", ready=1)
    with pytest.raises(StepFailed, match=r"not ready within cluster\.ready=1 s; KServe reports: cannot pull"):
        bad.activate("steady", bad.push("steady", bundles[1]))
    first = kserve(storage, image="registry.example.org/broken:1", ready=1)
    with pytest.raises(StepFailed, match="not ready"):
        first.activate("fresh", first.push("fresh", bundles[1]))
    assert good.status("fresh").active is None
    assert [event.action.value for event in good.status("steady").history] == ["push", "activate", "push"]
    assert (
        api[0]
        .objects["inferenceservices", "steady"]["spec"]["predictor"]["containers"][0]["env"][0]["value"]
        .endswith(f"/1-{good.status('steady').versions[0].digest[:12]}")
    )


@KUBERNETES
def test_whatever_is_interrupted_what_was_active_stays(
    api: tuple[Kubernetes, Path], storage: Path, bundles: list[Path]
) -> None:
    cluster = kserve(storage)
    cluster.activate("killed", cluster.push("killed", bundles[0]))
    for where, step in ((Bundles, "put"), (Api, "write_notes")):
        with killed_at(where, step):
            cluster.push("killed", bundles[1])
        found = cluster.status("killed")
        assert (found.active, len(found.versions)) == (1, 1)
    assert cluster.push("killed", bundles[1]) == 2
    with killed_at(Kserve, "_wait"):
        cluster.activate("killed", 2)
    assert cluster.status("killed").active == 1
    with killed_at(Api, "write_notes"):  # it is applied and ready, and nobody wrote it down
        cluster.activate("killed", 2)
    found = cluster.status("killed")
    assert (found.active, found.previous) == (2, (1,))
    assert cluster.predict("killed", ROWS).values == prices(2.0)


@KUBERNETES
def test_what_cannot_be_is_refused(api: tuple[Kubernetes, Path], storage: Path, bundles: list[Path]) -> None:
    cluster = kserve(storage)
    for ask in (
        lambda: cluster.activate("nothing", 1),
        lambda: cluster.rollback("nothing"),
        lambda: cluster.undeploy("nothing"),
        lambda: cluster.predict("nothing", ROWS),
        lambda: cluster.predict("nothing", ROWS, 3),
        lambda: cluster.push("Nothing_1", bundles[0]),
    ):
        with pytest.raises(Refused, match=r"(?i)'nothing") as raised:
            ask()
        assert raised.value.key == "model_name"
    with pytest.raises(Refused, match="does not accept the credentials") as raised:
        kserve(storage, context="stranger").status("things")
    assert "wr0ng-token" not in str(raised.value)
    with pytest.raises(StepFailed, match=r"The Kubernetes API at http://127\.0\.0\.1:1 cannot be reached"):
        kserve(storage, context="gone").status("things")
    with pytest.raises(PipelineError, match="no Kubernetes cluster is known"):
        kserve(storage, context="unheard-of").status("things")


@KUBERNETES
def test_a_damaged_version_is_not_activated(api: tuple[Kubernetes, Path], storage: Path, bundles: list[Path]) -> None:
    cluster = kserve(storage)
    assert cluster.push("damaged", bundles[0]) == 1
    (model,) = (storage / "damaged").rglob("model.onnx")
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(Refused, match="version 1 is damaged"):
        cluster.activate("damaged", 1)
    assert cluster.push("damaged", bundles[0]) == 2


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """An S3 that checks signatures, with the bucket ``ours``."""
    (folder / "ours").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["rclone", "serve", "s3", "--auth-key", "AKIA-ours,s3cret-of-s3", "--addr", f"127.0.0.1:{port}"]
    process = subprocess.Popen([*words, str(folder)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=120)


@pytest.mark.integration("rclone")
@KUBERNETES
def test_bundles_lie_in_s3(api: tuple[Kubernetes, Path], bundles: list[Path], tmp_path: Path) -> None:
    with s3(tmp_path / "s3") as endpoint:
        options = {"storage": "s3://ours/models", "storage_uri": None, "endpoint": endpoint, "region": "us-east-1"}
        keys = {"access_key": SecretStr("AKIA-ours"), "secret_key": SecretStr("s3cret-of-s3")}
        cluster = kserve(tmp_path, **options, **keys)
        assert cluster.push("stored", bundles[0]) == cluster.push("stored", bundles[0]) == 1
        assert cluster.predict("stored", ROWS, 1).values == prices(1.0)
        (version,) = cluster.status("stored").versions
        lies = tmp_path / "s3" / "ours" / "models" / "stored" / f"1-{version.digest[:12]}" / "stored" / "versions" / "1"
        assert (lies / "model.onnx").read_bytes() == (bundles[0] / "model.onnx").read_bytes()
        wrong = kserve(tmp_path, **options, **{**keys, "secret_key": SecretStr("wr0ng-key")})
        with pytest.raises(StepFailed, match=r"s3://ours/models/stored/.* cannot be read or written") as raised:
            wrong.predict("stored", ROWS, 1)
        assert "wr0ng-key" not in str(raised.value)


@KUBERNETES
def test_somebody_else_writes_the_notes_meanwhile(
    api: tuple[Kubernetes, Path], storage: Path, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, other = kserve(storage), kserve(storage)
    put = Bundles.put

    def slow(self: Bundles, *words: Any) -> None:
        put(self, *words)
        monkeypatch.setattr(Bundles, "put", put)
        other.push("shared", bundles[1])

    monkeypatch.setattr(Bundles, "put", slow)
    assert cluster.push("shared", bundles[0]) == 2
    found = cluster.status("shared").versions
    assert [version.number for version in found] == [1, 2]
    assert cluster.predict("shared", ROWS, 2).values == prices(1.0)
    assert cluster.predict("shared", ROWS, 1).values == prices(2.0)


def test_a_dry_run_needs_no_cluster_and_shows_no_secret() -> None:
    words = ["c=deployment", "deployment/cluster=kserve", "cluster.dry_run=true", "modeling/param=small"]
    words += [
        "model_name=mpg",
        "cluster.namespace=models",
        f"cluster.image={IMAGE}",
        "cluster.storage=s3://models/ours",
    ]
    keys = {"AWS_ACCESS_KEY_ID": "AKIA-ours", "AWS_SECRET_ACCESS_KEY": "s3cret-of-s3", "AWS_REGION": "eu-west-1"}
    keys |= {"WMH_CLUSTER_PW": PASSWORD, "KUBECONFIG": "nowhere"}
    code, out, err = inside(*words, env=keys)
    assert code == 0, out + err
    assert not any(secret in out + err for secret in (PASSWORD, "AKIA-ours", "s3cret-of-s3"))
    assert "mpg version 1 is active on kserve (dry run: nothing is applied)" in out
    text = out[out.index("apiVersion: ") : out.index("mpg version 1 ")]
    server, keys_of_storage, account, service = yaml.safe_load_all(text)
    assert server["stringData"] == {"id": "pipeline", "pw": "**********"}
    assert keys_of_storage["metadata"]["annotations"] == {"serving.kserve.io/s3-region": "eu-west-1"}
    assert account["secrets"] == [{"name": keys_of_storage["metadata"]["name"]}]
    assert {made["metadata"]["namespace"] for made in (server, keys_of_storage, account, service)} == {"models"}
    assert service["spec"]["predictor"]["serviceAccountName"] == account["metadata"]["name"]
    jsonschema.validate(service, schema())


@KUBERNETES
def test_kubernetes_own_types_take_what_is_rendered() -> None:
    """Types of the official client, made from Kubernetes' own description: what they do not know is lost on the way."""
    from kubernetes import client

    cluster = kserve(
        Path("ours"),
        storage_uri="s3://ours/models",
        access_key=SecretStr("a"),
        secret_key=SecretStr("b"),
        endpoint="https://s3.example.org",
        region="eu-west-1",
        replicas=2,
        cpu="500m",
    )
    *plain, made = render(cluster, "mpg", Version(number=3, digest="0" * 64, source="", model="linear", metrics={}))
    (container,) = made["spec"]["predictor"]["containers"]
    for name, body in [*((f"V1{body['kind']}", body) for body in plain), ("V1Container", container)]:
        understood = getattr(client, name).from_dict(body)
        assert client.ApiClient().sanitize_for_serialization(understood) == body  # type: ignore[no-untyped-call, unused-ignore]
    jsonschema.validate(made, schema())


def test_the_schema_refuses_what_kserve_would() -> None:
    container = {"name": "kserve-container", "image": IMAGE, "imagee": IMAGE}
    service = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {}}
    service["spec"] = {"predictor": {"minReplicas": "1", "containers": [container]}}
    wrong = {
        ".".join(map(str, e.absolute_path)) for e in jsonschema.Draft202012Validator(schema()).iter_errors(service)
    }
    assert wrong == {"spec.predictor.minReplicas", "spec.predictor.containers.0"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"storage_uri": None}, "pods do not see a folder of this machine"),
        ({"access_key": "x"}, "belong together"),
        ({"namespace": "Models"}, "should match pattern"),
        ({"memory": "much"}, "should match pattern"),
        ({"endpoint": "s3.example.org"}, "expected a URL like"),
        ({"pw": ""}, "there is no password"),
        ({"pw": "short"}, "at least 8"),
    ],
)
def test_options(change: dict[str, Any], said: str) -> None:
    adapter = TypeAdapter(Kserve)
    values = {"image": IMAGE, "storage": "models", "storage_uri": "pvc://models", "pw": "long-enough"}
    assert adapter.validate_json(json.dumps(values), strict=True).namespace == "default"
    with pytest.raises(ValidationError, match=said):
        adapter.validate_json(json.dumps(values | change), strict=True)
