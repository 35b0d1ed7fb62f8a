"""The Kubernetes objects by which KServe serves a version with our own model server.

https://kserve.github.io/website/docs/reference/crd-api has the fields of an InferenceService.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from when_ml_pipeline_meets_hydra.deploy.clusters.kserve_bundles import below
from when_ml_pipeline_meets_hydra.serving.formats.versions import Version

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.deploy.clusters.kserve import Kserve

Manifest = dict[str, Any]

GROUP, API_VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
OWNER = "when-ml-pipeline-meets-hydra"
VERSION, DIGEST = f"{OWNER}/version", f"{OWNER}/digest"
PORT = 8080
# KServe mounts the storage read-only, and a repository is written to: a copy is served. Clients may only predict.
COMMAND = """\
set -e
mkdir -p /tmp/models
cp -r /mnt/models/. /tmp/models
printf '%s\\n' "$SERVE_PW" \\
  | wmh cluster user add "$SERVE_ID" --role predict --replace --repository /tmp/models
unset SERVE_PW
exec wmh serve --repository /tmp/models --host 0.0.0.0 --port 8080
"""


def render(
    cluster: Kserve, model: str, version: Version, show: Callable[[SecretStr], str] = SecretStr.get_secret_value
) -> tuple[Manifest, ...]:
    """The objects that serve a version, in the order of applying; ``str`` masks secrets."""
    server = _object(cluster, model, "v1", "Secret", f"{model}-server")
    objects = [server | _secret({"id": cluster.id, "pw": show(cluster.pw)})]
    account = cluster.service_account
    if cluster.access_key is not None and cluster.secret_key is not None:
        name = f"{model}-storage"
        keys = {"AWS_ACCESS_KEY_ID": show(cluster.access_key), "AWS_SECRET_ACCESS_KEY": show(cluster.secret_key)}
        secret = _object(cluster, model, "v1", "Secret", name) | _secret(keys)
        secret["metadata"]["annotations"] = _where(cluster)
        objects += [secret, _object(cluster, model, "v1", "ServiceAccount", name) | {"secrets": [{"name": name}]}]
        account = account or name
    service = _object(cluster, model, f"{GROUP}/{API_VERSION}", "InferenceService", model)
    service["metadata"]["annotations"] = {VERSION: str(version.number), DIGEST: version.digest}
    predictor = {"minReplicas": cluster.replicas, "containers": [_container(cluster, model, version)]}
    service["spec"] = {"predictor": predictor | ({"serviceAccountName": account} if account else {})}
    return (*objects, service)


def _container(cluster: Kserve, model: str, version: Version) -> Manifest:
    amounts = {"cpu": cluster.cpu, "memory": cluster.memory}
    health = {"httpGet": {"path": "/v2/health/ready", "port": PORT, "scheme": "HTTP"}}
    return {
        "name": "kserve-container",  # by which KServe knows where the model belongs
        "image": cluster.image,
        "command": ["sh", "-c"],
        "args": [COMMAND],
        "ports": [{"name": "http1", "containerPort": PORT, "protocol": "TCP"}],
        "env": [
            {"name": "STORAGE_URI", "value": below(cluster.storage_uri or cluster.storage, model, version)},
            _from_secret("SERVE_ID", model, "id"),
            _from_secret("SERVE_PW", model, "pw"),
        ],
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5},
        "resources": {"requests": amounts, "limits": dict(amounts)},  # a copy: YAML would write a reference
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _from_secret(variable: str, model: str, key: str) -> Manifest:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": f"{model}-server", "key": key}}}


def _object(cluster: Kserve, model: str, api_version: str, kind: str, name: str) -> Manifest:
    labels = {"app.kubernetes.io/managed-by": OWNER, "app.kubernetes.io/name": model}
    metadata = {"name": name, "namespace": cluster.namespace, "labels": labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _secret(values: Mapping[str, str]) -> Manifest:
    return {"type": "Opaque", "stringData": dict(values)}


def _where(cluster: Kserve) -> Mapping[str, str]:
    annotations = {f"{GROUP}/s3-region": cluster.region or ""}
    if cluster.endpoint:
        parts = urlsplit(cluster.endpoint)
        secure = "1" if parts.scheme == "https" else "0"
        annotations |= {f"{GROUP}/s3-endpoint": parts.netloc, f"{GROUP}/s3-usehttps": secure}
    return {key: value for key, value in annotations.items() if value}
