"""The part of the Kubernetes API that KServe needs, by the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from when_ml_pipeline_meets_hydra.deploy.clusters.extra import library
from when_ml_pipeline_meets_hydra.deploy.clusters.kserve_manifests import API_VERSION, GROUP, OWNER, PLURAL, Manifest
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused, StepFailed, first_line

APPLY = "application/apply-patch+yaml"


class Conflict(Refused):
    """Another client changed the object meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """The API of a Kubernetes cluster: that of ``context`` in the kubeconfig, or the one that this process runs in."""

    context: str | None
    namespace: str
    timeout: float

    def apply(self, manifest: Manifest, *, dry_run: bool = False) -> None:
        """Create or change an object as in ``manifest`` (server-side apply).

        With ``dry_run`` the API only says whether it would: that is where it compares it with the schema of its kind.
        """
        name = manifest["metadata"]["name"]
        how = {"field_manager": OWNER, "force": True, "field_validation": "Strict", "_content_type": APPLY}
        how |= {"dry_run": "All"} if dry_run else {}
        with self._asking():
            match manifest["kind"]:
                case "Secret":
                    self._core.patch_namespaced_secret(name, self.namespace, manifest, **how, **self._limit)
                case "ServiceAccount":
                    self._core.patch_namespaced_service_account(name, self.namespace, manifest, **how, **self._limit)
                case _:
                    self._custom.patch_namespaced_custom_object(*self._kind, name, manifest, **how, **self._limit)

    def service(self, name: str) -> Manifest | None:
        """An InferenceService with its status; None if there is none."""
        with self._asking(missing_is_fine=True):
            found: Manifest = self._custom.get_namespaced_custom_object(*self._kind, name, **self._limit)
            return found
        return None

    def delete_service(self, name: str) -> None:
        """Delete an InferenceService."""
        with self._asking(missing_is_fine=True):
            self._custom.delete_namespaced_custom_object(*self._kind, name, **self._limit)

    def notes(self, name: str) -> tuple[Mapping[str, str], str | None]:
        """The content of a ConfigMap and its resource version; empty and None if there is none."""
        with self._asking(missing_is_fine=True):
            found = self._core.read_namespaced_config_map(name, self.namespace, **self._limit)
            return found.data or {}, found.metadata.resource_version
        return {}, None

    def write_notes(self, name: str, content: Mapping[str, str], state: str | None) -> None:
        """Replace the content of a ConfigMap, if its resource version is still ``state``.

        Raises:
            Conflict: it is not.
        """
        metadata: dict[str, Any] = {"name": name, "labels": {"app.kubernetes.io/managed-by": OWNER}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(content)}
        with self._asking():
            if state is None:
                self._core.create_namespaced_config_map(self.namespace, body, **self._limit)
            else:
                metadata["resourceVersion"] = state
                self._core.replace_namespaced_config_map(name, self.namespace, body, **self._limit)

    @property
    def _kind(self) -> tuple[str, str, str, str]:
        return GROUP, API_VERSION, self.namespace, PLURAL

    @property
    def _limit(self) -> Mapping[str, float]:
        return {"_request_timeout": self.timeout}

    @cached_property
    def _core(self) -> Any:
        return _library("kubernetes.client").CoreV1Api(self._client)

    @cached_property
    def _custom(self) -> Any:
        return _library("kubernetes.client").CustomObjectsApi(self._client)

    @cached_property
    def _client(self) -> Any:
        config = _library("kubernetes.config")
        settings = _library("kubernetes.client").Configuration()
        try:
            _load(config, self.context, settings)
        except config.ConfigException as problem:
            message = f"no Kubernetes cluster is known: {problem}"
            remedy = "Name one in a kubeconfig ($KUBECONFIG), or look first with cluster.dry_run=true"
            raise BadInput(Problem(key="cluster.context", value=self.context, message=message, remedy=remedy)) from None
        settings.retries = False
        return _library("kubernetes.client").ApiClient(settings)

    @contextmanager
    def _asking(self, *, missing_is_fine: bool = False) -> Iterator[None]:
        client = _library("kubernetes.client")
        errors = _library("urllib3.exceptions")
        try:
            yield
        except client.ApiException as problem:
            if not (missing_is_fine and problem.status == 404):
                raise _refusal(problem, self.namespace) from None
        except errors.HTTPError as problem:
            host = self._client.configuration.host
            raise StepFailed(f"The Kubernetes API at {host} cannot be reached: {first_line(problem)}") from None


def _load(config: Any, context: str | None, settings: Any) -> None:
    try:
        config.load_kube_config(context=context, client_configuration=settings)
    except config.ConfigException:
        if context is not None:
            raise
        config.load_incluster_config(settings)


def _library(name: str) -> Any:
    return library(name, needed_by="KServe")


def _refusal(problem: Any, namespace: str) -> Refused | StepFailed:
    try:
        message = str(json.loads(problem.body)["message"])
    except (ValueError, KeyError, TypeError):
        message = str(problem.reason)
    if problem.status == 401:
        return Refused("cluster.context", "the Kubernetes API does not accept the credentials; log in again")
    if problem.status == 403:
        return Refused("cluster.namespace", f"not permitted in the namespace {namespace}: {message}")
    if problem.status == 404:
        return Refused("cluster", f"not there: {message}; is KServe installed, and the namespace {namespace} made?")
    if problem.status == 409:
        return Conflict("cluster", message)
    return Refused("cluster", message) if problem.status < 500 else StepFailed(f"The Kubernetes API failed: {message}")
