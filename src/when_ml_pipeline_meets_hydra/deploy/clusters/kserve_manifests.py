"""The Kubernetes objects by which KServe serves a version: our own model server, with what lies in the storage.

https://kserve.github.io/website/docs/reference/crd-api has the fields of an InferenceService.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

Manifest = dict[str, Any]

GROUP, API_VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
OWNER = "when-ml-pipeline-meets-hydra"
VERSION, DIGEST = f"{OWNER}/version", f"{OWNER}/digest"
PORT = 8080
PASSWORD = "SERVE_PW"
MASK = "**********"
# What KServe mounts cannot be written to, and a repository is: so a copy of it is served. Clients may only ask.
COMMAND = """\
set -e
mkdir -p /tmp/models
cp -r /mnt/models/. /tmp/models
printf '%s\\n' "$SERVE_PW" \\
  | when_ml_pipeline_meets_hydra cluster user add "$SERVE_ID" --role predict --replace --repository /tmp/models
unset SERVE_PW
exec when_ml_pipeline_meets_hydra serve --repository /tmp/models --host 0.0.0.0 --port 8080
"""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Keys of an object store that speaks S3."""

    access_key: str
    secret_key: str
    endpoint: str | None
    region: str | None


@dataclass(frozen=True, kw_only=True)
class Service:
    """All that the objects of a served version say.

    Attributes:
        model: name of the model, and of the InferenceService.
        version: number of the version.
        digest: content digest of its bundle.
        namespace: namespace of the objects.
        image: container image that has this package.
        storage_uri: where the repository with the bundle lies, as the pods reach it.
        service_account: ServiceAccount of the pods; None: that of ``access``, or the namespace's default.
        access: keys of the storage, for which a Secret and a ServiceAccount are made.
        id: who may ask the model.
        pw: their password.
        replicas: least number of pods.
        cpu: how many processors a pod gets, as Kubernetes writes it.
        memory: how much memory a pod gets, as Kubernetes writes it.
    """

    model: str
    version: int
    digest: str
    namespace: str
    image: str
    storage_uri: str
    service_account: str | None
    access: Access | None
    id: str
    pw: str
    replicas: int
    cpu: str
    memory: str


def masked(service: Service) -> Service:
    """The same without secrets, for showing."""
    access = service.access and replace(service.access, access_key=MASK, secret_key=MASK)
    return replace(service, pw=MASK, access=access)


def render(service: Service) -> tuple[Manifest, ...]:
    """The objects, in the order in which they have to be applied."""
    objects = [
        _object(service, "v1", "Secret", f"{service.model}-server") | _secret({"id": service.id, "pw": service.pw})
    ]
    if service.access is not None:
        name = storage_name(service.model)
        secret = _object(service, "v1", "Secret", name) | _secret(_keys(service.access))
        secret["metadata"]["annotations"] = _where(service.access)
        account = _object(service, "v1", "ServiceAccount", name) | {"secrets": [{"name": name}]}
        objects += [secret, account]
    return (*objects, _inference_service(service))


def storage_name(model: str) -> str:
    """Name of the Secret and the ServiceAccount with the keys of the storage."""
    return f"{model}-storage"


def _inference_service(service: Service) -> Manifest:
    made = _object(service, f"{GROUP}/{API_VERSION}", "InferenceService", service.model)
    made["metadata"]["annotations"] = {VERSION: str(service.version), DIGEST: service.digest}
    account = service.service_account or (storage_name(service.model) if service.access else None)
    predictor = {"minReplicas": service.replicas, "containers": [_container(service)]}
    return made | {"spec": {"predictor": predictor | ({"serviceAccountName": account} if account else {})}}


def _container(service: Service) -> Manifest:
    amounts = {"cpu": service.cpu, "memory": service.memory}
    health = {"httpGet": {"path": "/v2/health/ready", "port": PORT, "scheme": "HTTP"}}
    return {
        "name": "kserve-container",  # by which KServe knows where the model belongs
        "image": service.image,
        "command": ["sh", "-c"],
        "args": [COMMAND],
        "ports": [{"name": "http1", "containerPort": PORT, "protocol": "TCP"}],
        "env": [
            {"name": "STORAGE_URI", "value": service.storage_uri},
            _from_secret("SERVE_ID", service, "id"),
            _from_secret(PASSWORD, service, "pw"),
        ],
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5},
        "resources": {"requests": amounts, "limits": dict(amounts)},  # a copy: YAML would write a reference
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _from_secret(variable: str, service: Service, key: str) -> Manifest:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": f"{service.model}-server", "key": key}}}


def _object(service: Service, api_version: str, kind: str, name: str) -> Manifest:
    labels = {"app.kubernetes.io/managed-by": OWNER, "app.kubernetes.io/name": service.model}
    metadata = {"name": name, "namespace": service.namespace, "labels": labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _secret(values: Mapping[str, str]) -> Manifest:
    return {"type": "Opaque", "stringData": dict(values)}


def _keys(access: Access) -> Mapping[str, str]:
    return {"AWS_ACCESS_KEY_ID": access.access_key, "AWS_SECRET_ACCESS_KEY": access.secret_key}


def _where(access: Access) -> Mapping[str, str]:
    said = {f"{GROUP}/s3-region": access.region or ""}
    if access.endpoint:
        parts = urlsplit(access.endpoint)
        said |= {f"{GROUP}/s3-endpoint": parts.netloc, f"{GROUP}/s3-usehttps": "1" if parts.scheme == "https" else "0"}
    return {key: value for key, value in said.items() if value}
