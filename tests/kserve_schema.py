"""The fields of an InferenceService that we use, as KServe 0.20 has them, and none besides: a typing error is refused.

Where ``KSERVE_CRD`` names a file with the whole definition (``kubectl get crd inferenceservices.serving.kserve.io -o
yaml``), that is what counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
QUANTITY = {"type": ["integer", "string"], "pattern": r"^[+-]?[0-9]+(\.[0-9]*)?([KMGTPE]i|[mkMGTPE])?$"}


def _object(needed: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": needed.split(),
    }


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _map(values: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


_SECRET_KEY = _object("key", name=TEXT, key=TEXT, optional={"type": "boolean"})
_ENV = _object("name", name=TEXT, value=TEXT, valueFrom=_object(secretKeyRef=_SECRET_KEY))
_PORT = _object("containerPort", name=TEXT, containerPort=NUMBER, protocol=TEXT)
_GET = _object("port", path=TEXT, port={"type": ["integer", "string"]}, scheme=TEXT)
_CONTAINER = _object(
    "name",
    name=TEXT,
    image=TEXT,
    command=_list(TEXT),
    args=_list(TEXT),
    env=_list(_ENV),
    ports=_list(_PORT),
    readinessProbe=_object(httpGet=_GET, periodSeconds=NUMBER, timeoutSeconds=NUMBER),
    resources=_object(requests=_map(QUANTITY), limits=_map(QUANTITY)),
    securityContext=_object(
        allowPrivilegeEscalation={"type": "boolean"}, capabilities=_object(add=_list(TEXT), drop=_list(TEXT))
    ),
)
_PREDICTOR = _object(minReplicas=NUMBER, serviceAccountName=TEXT, containers=_list(_CONTAINER))
USED = _object(
    "spec",
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata={"type": "object"},
    spec=_object("predictor", predictor=_PREDICTOR),
)


def schema() -> Mapping[str, Any]:
    """The JSON schema that an InferenceService has to fit."""
    file = os.environ.get("KSERVE_CRD")
    if not file:
        return USED
    definition = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    (version,) = (v for v in definition["spec"]["versions"] if v["name"] == "v1beta1")
    found: Mapping[str, Any] = _strict(version["schema"]["openAPIV3Schema"])
    return {**found, "properties": {**found["properties"], "metadata": {"type": "object"}}}


def _strict(node: Any) -> Any:
    """Kubernetes' dialect as JSON Schema: a field that is not named is refused, as with strict field validation."""
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    node = {key: _strict(value) if key in ("items", "additionalProperties") else value for key, value in node.items()}
    if "properties" in node:
        node["properties"] = {key: _strict(value) for key, value in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
    return node
