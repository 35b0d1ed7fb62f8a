"""KServe on Kubernetes: an InferenceService that runs our own model server on bundles in a storage.

A ConfigMap beside it holds the versions and the history; what the InferenceService says is active, is.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.clusters import kserve_manifests as manifests
from when_ml_pipeline_meets_hydra.deploy.clusters.addresses import given_password, server_url, user_id
from when_ml_pipeline_meets_hydra.deploy.clusters.extra import library
from when_ml_pipeline_meets_hydra.deploy.clusters.http import Http
from when_ml_pipeline_meets_hydra.deploy.clusters.kserve_bundles import Bundles
from when_ml_pipeline_meets_hydra.deploy.clusters.kubernetes_api import Conflict, Kubernetes
from when_ml_pipeline_meets_hydra.deploy.clusters.replay import none_active, previous, version_before, version_of
from when_ml_pipeline_meets_hydra.errors import Refused, StepFailed
from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, Row
from when_ml_pipeline_meets_hydra.serving.formats.manifest import BundleRefused, read_manifest
from when_ml_pipeline_meets_hydra.serving.formats.versions import Action, Event, Status, Version

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

ATTEMPTS = 5  # to record an event while other clients write as well
POLL_SECONDS = 2.0
NAME = r"^[a-z]$|^[a-z][-a-z0-9]{0,38}[a-z0-9]$"
VERSION, EVENT = "version.", "event."
_versions = TypeAdapter(Version)
_events = TypeAdapter(Event)
Secret = Annotated[SecretStr, BeforeValidator(given_password)]
Password = Annotated[Secret, Field(min_length=8)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi)?$")]


@frozen
class Kserve:
    """KServe in a namespace of a Kubernetes cluster."""

    dry_run: Annotated[bool, Field(description="Only show what would be applied; needs no cluster")] = False
    name: Annotated[str, Field(min_length=1, validate_default=True, description="Name of the cluster in messages")] = (
        "kserve"
    )
    context: Annotated[
        str | None, Field(description="Context of the kubeconfig; null: the current one, or that of this pod")
    ] = None
    namespace: Annotated[str, Field(pattern=NAME, description="Namespace of the objects")] = "default"
    image: Annotated[str, Field(min_length=1, description="Container image in which this package is installed")]
    storage: Annotated[str, Field(min_length=1, description="Where bundles are kept: s3://…, gs://…, or a folder")]
    storage_uri: Annotated[
        str | None, Field(description="URI by which the pods reach it: pvc://CLAIM/FOLDER …; null: the same")
    ] = None
    service_account: Annotated[
        str | None, Field(description="ServiceAccount of the pods; null: one with the keys below, if there are any")
    ] = None
    access_key: Annotated[Secret | None, Field(description="Access key of the storage; null: from the environment")] = (
        None
    )
    secret_key: Annotated[Secret | None, Field(description="Secret key of the access key")] = None
    endpoint: Annotated[
        Annotated[str, AfterValidator(server_url)] | None, Field(description="Address of an S3 that is not Amazon's")
    ] = None
    region: Annotated[str | None, Field(description="Region of the storage")] = None
    id: Annotated[str, AfterValidator(user_id), Field(description="Id of the client of the served model")] = "pipeline"
    pw: Annotated[Password, Field(description="The password of that id")]
    url: Annotated[
        Annotated[str, AfterValidator(server_url)] | None,
        Field(description="Address of the service; null: the one in its status"),
    ] = None
    replicas: Annotated[int, Field(ge=0, le=1000, description="Least number of pods")] = 1
    cpu: Annotated[Quantity, Field(description="Processors of a pod")] = "1"
    memory: Annotated[Quantity, Field(description="Memory of a pod")] = "1Gi"
    ready: Annotated[float, Field(gt=0, le=86400, description="Seconds in which a version has to become ready")] = 300
    timeout: Annotated[float, Field(gt=0, le=3600, description="Seconds to wait for a response")] = 60

    @field_validator("name")
    @classmethod
    def _say_so(cls, name: str, info: ValidationInfo) -> str:
        return f"{name} (dry run: nothing is applied)" if info.data.get("dry_run") else name

    @model_validator(mode="after")
    def _storage_of_pods(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key belong together")
        if "://" not in (self.storage_uri or self.storage):
            raise ValueError("pods do not see a folder of this machine: storage_uri has to say how they reach it")
        return self

    @property
    def place(self) -> str:
        """Which cluster this is, whatever its name."""
        return f"{self.context} {self.namespace}"

    def push(self, model: str, bundle: Path, *, run: str | None = None) -> int:
        """Upload the bundle to the storage, if it loads and passes its smoke test."""
        from when_ml_pipeline_meets_hydra.serving.engine import scorer

        manifest = scorer.check(bundle).manifest
        _, digest = read_manifest(bundle)
        found = Version(number=1, digest=digest, source=manifest.source, model=manifest.model, metrics=manifest.metrics)
        if self.dry_run:
            self._kept[_named(model)] = (found, bundle)
            return 1
        for version in self.status(model).versions:
            if version.digest == digest and self._bundles.is_whole(model, version):
                return version.number

        def stored(versions: Sequence[Version]) -> Version:
            numbered = replace(found, number=max((version.number for version in versions), default=0) + 1)
            self._bundles.put(model, bundle, numbered, self.id)
            return numbered

        return self._note(model, Action.PUSH, run, stored).number

    def activate(self, model: str, version: int, *, run: str | None = None) -> Status:
        """Apply the objects for ``version`` and wait until it is ready; on failure apply the previous ones again."""
        if self.dry_run:
            return self._shown(model)
        before = self.status(model)
        return before if before.active == version else self._switch(before, version, Action.ACTIVATE, run)

    def rollback(self, model: str, *, run: str | None = None) -> Status:
        """Apply the objects for the version that was active before."""
        before = self.status(model)
        return self._switch(before, version_before(before), Action.ROLLBACK, run)

    def undeploy(self, model: str, *, run: str | None = None) -> Status:
        """Delete the InferenceService; the versions stay."""
        before = self.status(model)
        if before.active is not None:
            gone = version_of(before, before.active)
            self._kubernetes.delete_service(_named(model))
            self._note(model, Action.UNDEPLOY, run, lambda _: gone)
        elif not before.previous:
            raise none_active(model)
        return self.status(model)

    def status(self, model: str) -> Status:
        """The state in the ConfigMap and the InferenceService."""
        if self.dry_run:
            return Status(model=model)
        content, _ = self._kubernetes.notes(_notes(model))
        service = self._kubernetes.service(_named(model))
        history = tuple(_events.validate_json(content[key]) for key in sorted(content) if key.startswith(EVENT))
        active = _version_of(service)
        return Status(
            model=model,
            active=active,
            previous=previous(history, active),
            versions=_versions_in(content),
            history=history,
        )

    def predict(self, model: str, rows: Sequence[Row], version: int | None = None) -> Predictions:
        """Predict with the active version by the service; download any other version and predict here."""
        from when_ml_pipeline_meets_hydra.serving.engine import scorer

        if self.dry_run and model in self._kept:
            return scorer.load(self._kept[model][1]).predict(rows)
        found = self.status(model)
        if version is None and found.active is None:
            raise none_active(model)
        if version in (None, found.active):
            return self._service(model).predict(model, rows)
        stored = version_of(found, version)
        with self._bundles.downloaded(model, stored) as folder:
            return scorer.load(folder).predict(rows)

    @cached_property
    def _kept(self) -> dict[str, tuple[Version, Path]]:
        """The bundles that a dry run has pushed."""
        return {}

    @property
    def _kubernetes(self) -> Kubernetes:
        return Kubernetes(context=self.context, namespace=self.namespace, timeout=self.timeout)

    def _service(self, model: str) -> Http:
        url = self.url or ((self._kubernetes.service(model) or {}).get("status") or {}).get("url")
        if not url:
            raise StepFailed(f"{model} has no address yet; kubectl get inferenceservice {model} -n {self.namespace}")
        return Http(name=self.name, url=url, id=self.id, pw=self.pw, timeout=self.timeout)

    def _shown(self, model: str) -> Status:
        import yaml

        version, _ = self._kept[model]
        objects = manifests.render(self, model, version, show=str)
        print(yaml.safe_dump_all(objects, sort_keys=False, width=1000), end="")
        return Status(model=model, active=1, versions=(version,))

    def _switch(self, before: Status, number: int, action: Action, run: str | None) -> Status:
        version = version_of(before, number)
        if not self._bundles.is_whole(before.model, version):
            raise BundleRefused(f"version {number} is damaged in {self.storage}")
        objects = manifests.render(self, before.model, version)
        for made in objects:
            self._kubernetes.apply(made, dry_run=True)
        try:
            for made in objects:
                self._kubernetes.apply(made)
            self._wait(before.model, number)
        except BaseException:  # also Ctrl-C
            self._put_back(before)
            raise
        self._note(before.model, action, run, lambda _: version)
        return self.status(before.model)

    def _put_back(self, before: Status) -> None:
        served = before.version(before.active)
        if served is None:
            self._kubernetes.delete_service(before.model)
        else:
            for made in manifests.render(self, before.model, served):
                self._kubernetes.apply(made)

    def _wait(self, model: str, number: int) -> None:
        until = time.monotonic() + self.ready
        reported = "nothing"
        while time.monotonic() < until:
            service = self._kubernetes.service(model) or {}
            status = service.get("status") or {}
            ready: Mapping[str, str] = next((c for c in status.get("conditions", ()) if c.get("type") == "Ready"), {})
            is_seen = status.get("observedGeneration") == service.get("metadata", {}).get("generation")
            if is_seen and ready.get("status") == "True":
                return
            reported = ready.get("message") or ready.get("reason") or reported
            time.sleep(min(POLL_SECONDS, self.ready / 10))
        limit = f"cluster.ready={self.ready:g} s"
        raise StepFailed(f"version {number} is not ready within {limit}; KServe reports: {reported}")

    @property
    def _bundles(self) -> Bundles:
        return Bundles(self.storage, self._filesystem())

    def _filesystem(self) -> FileSystem | None:
        if not self.storage.startswith("s3://"):
            return None
        options: dict[str, Any] = {"region": self.region, "allow_delayed_open": True}
        if self.endpoint is not None:
            options["scheme"], _, options["endpoint_override"] = self.endpoint.partition("://")
            # Few other servers understand Amazon's newest checksums.
            os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        if self.access_key is not None and self.secret_key is not None:
            options["access_key"] = self.access_key.get_secret_value()
            options["secret_key"] = self.secret_key.get_secret_value()
        s3 = library("pyarrow.fs", needed_by=self.storage).S3FileSystem
        return s3(**{key: value for key, value in options.items() if value is not None})

    def _note(
        self, model: str, action: Action, run: str | None, about: Callable[[Sequence[Version]], Version]
    ) -> Version:
        """Record a version and an event; again if another client wrote in between."""
        for attempt in range(ATTEMPTS):
            content, state = self._kubernetes.notes(_notes(model))
            version = about(_versions_in(content))
            event = Event(when=datetime.now(UTC), who=self.id, action=action, version=version.number, run=run)
            key = f"{EVENT}{event.when:%Y%m%dT%H%M%S.%f}"
            noted = {f"{VERSION}{version.number}": _versions.dump_json(version), key: _events.dump_json(event)}
            new = {name: text.decode() for name, text in noted.items()}
            try:
                self._kubernetes.write_notes(_notes(model), {**content, **new}, state)
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return version
        raise AssertionError("unreachable")


def _named(model: str) -> str:
    if not re.fullmatch(NAME, model):
        message = f"'{model}' cannot be the name of a Kubernetes object: small letters, digits and '-', at most 40"
        raise Refused("model_name", message)
    return model


def _notes(model: str) -> str:
    return f"{_named(model)}-versions"


def _versions_in(content: Mapping[str, str]) -> tuple[Version, ...]:
    found = [_versions.validate_json(text) for key, text in content.items() if key.startswith(VERSION)]
    return tuple(sorted(found, key=lambda version: version.number))


def _version_of(service: Mapping[str, Any] | None) -> int | None:
    number = ((service or {}).get("metadata", {}).get("annotations") or {}).get(manifests.VERSION, "")
    return int(number) if number.isdecimal() else None
