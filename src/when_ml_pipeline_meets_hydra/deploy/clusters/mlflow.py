"""The model registry of an MLflow server: the active version is the one that an alias names.

Events are tags of the versions that they are about. The alias is what counts: a change is done once it has moved.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.clusters import mlmodel
from when_ml_pipeline_meets_hydra.deploy.clusters.addresses import given_password, server_url, user_id
from when_ml_pipeline_meets_hydra.deploy.clusters.mlflow_registry import Missing, Registered, Registry
from when_ml_pipeline_meets_hydra.deploy.clusters.replay import none_active, previous, version_before, version_of
from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, Row
from when_ml_pipeline_meets_hydra.serving.formats.manifest import (
    FILES,
    MANIFEST,
    BundleRefused,
    Manifest,
    read_manifest,
    verified,
)
from when_ml_pipeline_meets_hydra.serving.formats.versions import Action, Event, Status, Version

TAG = "when_ml_pipeline_meets_hydra."
EVENT = f"{TAG}event."
DIGEST, SOURCE, MODEL, METRICS = f"{TAG}digest", f"{TAG}source", f"{TAG}model", f"{TAG}metrics"
_events = TypeAdapter(Event)
_metrics = TypeAdapter(dict[str, float])


@frozen
class Mlflow:
    """The registry of an MLflow server, version 3 or later."""

    name: Annotated[str, Field(min_length=1, description="Name of the cluster in messages")] = "mlflow"
    url: Annotated[str, AfterValidator(server_url), Field(description="Address of the MLflow server")]
    id: Annotated[
        Annotated[str, AfterValidator(user_id)] | None, Field(description="Who we are there; null: nobody asks")
    ] = None
    pw: Annotated[
        Annotated[SecretStr, BeforeValidator(given_password)] | None, Field(description="The password of that id")
    ] = None
    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", description="Alias of the version that is active")] = (
        "champion"
    )
    experiment: Annotated[str, Field(min_length=1, description="Experiment that the logged models belong to")] = (
        "deployments"
    )
    timeout: Annotated[float, Field(gt=0, le=3600, description="Seconds to wait for a response")] = 60

    @model_validator(mode="after")
    def _id_and_password(self) -> Self:
        if (self.id is None) != (self.pw is None):
            raise ValueError("an id needs a password, and a password an id")
        return self

    @property
    def place(self) -> str:
        """Which cluster this is, whatever its name."""
        return f"{self.url} {self.alias}"

    def push(self, model: str, bundle: Path, *, run: str | None = None) -> int:
        """Register the bundle as a model of the ONNX flavor, if it loads and passes its smoke test."""
        from when_ml_pipeline_meets_hydra.serving.engine import scorer

        manifest = scorer.check(bundle).manifest
        _, digest = read_manifest(bundle)
        for version in self._registry.versions(model):
            if version.ready and version.tags.get(DIGEST) == digest and self._is_whole(model, version.number):
                return version.number
        return self._register(model, bundle, manifest, {DIGEST: digest, **_tag(self._event(Action.PUSH, 0, run))})

    def activate(self, model: str, version: int, *, run: str | None = None) -> Status:
        """Set the alias to ``version``."""
        before = self.status(model)
        if before.active == version:
            return before
        return self._move(before, version, Action.ACTIVATE, run)

    def rollback(self, model: str, *, run: str | None = None) -> Status:
        """Set the alias to the previously active version."""
        before = self.status(model)
        return self._move(before, version_before(before), Action.ROLLBACK, run)

    def undeploy(self, model: str, *, run: str | None = None) -> Status:
        """Delete the alias; the versions stay."""
        before = self.status(model)
        if before.active is None and not before.previous:
            raise none_active(model)
        if before.active is None:
            return before
        self._registry.delete_alias(model, self.alias)
        return self._noted(before, None, self._event(Action.UNDEPLOY, before.active, run))

    def status(self, model: str) -> Status:
        """The versions, the active one and the history in the registry."""
        active = self.active(model)
        found = sorted(self._registry.versions(model), key=lambda version: version.number)
        history = sorted((event for version in found for event in _history(version)), key=lambda event: event.when)
        return Status(
            model=model,
            active=active,
            previous=previous(history, active),
            versions=tuple(map(_version, found)),
            history=tuple(history),
        )

    def predict(self, model: str, rows: Sequence[Row], version: int | None = None) -> Predictions:
        """Download a version and predict here."""
        from when_ml_pipeline_meets_hydra.serving.engine import scorer

        number = self.active(model) if version is None else version
        if number is None:
            raise none_active(model)
        with self.downloaded(model, number) as folder:
            return scorer.load(folder).predict(rows)

    def active(self, model: str) -> int | None:
        """The version that the alias names; None if there is none."""
        try:
            return self._registry.aliases(model).get(self.alias)
        except Missing:
            return None

    @contextmanager
    def downloaded(self, model: str, version: int) -> Iterator[Path]:
        """The bundle of a version, in a temporary directory.

        Raises:
            Missing: there is no such version, or it is no bundle.
        """
        with tempfile.TemporaryDirectory(prefix="bundle-") as name:
            try:
                self._registry.download(model, version, (MANIFEST, *FILES), Path(name))
            except Missing:
                raise Missing("model_name", f"'{model}' has no version {version} that is a bundle") from None
            yield Path(name)

    @property
    def _registry(self) -> Registry:
        return Registry(url=self.url, id=self.id, pw=self.pw, timeout=self.timeout)

    def _is_whole(self, model: str, version: int) -> bool:
        try:
            with self.downloaded(model, version) as folder:
                verified(folder)
        except (BundleRefused, Missing):
            return False
        return True

    def _register(self, model: str, bundle: Path, manifest: Manifest, tags: Mapping[str, str]) -> int:
        registry = self._registry
        params = {"dataset": manifest.dataset, "task": manifest.task.value, "model": manifest.model}
        logged = registry.log_model(self.experiment, model, manifest.model, params)
        with tempfile.TemporaryDirectory(prefix="mlmodel-") as name:
            beside = Path(name)
            mlmodel.write(beside, manifest, logged.id)
            registry.upload(logged, (*(bundle / file for file in (MANIFEST, *FILES)), *sorted(beside.iterdir())))
        registry.finish(logged)
        metrics = " ".join(f"{name}={value:.4g}" for name, value in manifest.metrics.items())
        about = {SOURCE: manifest.source, MODEL: manifest.model, METRICS: json.dumps(dict(manifest.metrics))}
        # The last step makes the version: an interrupted push leaves none.
        return registry.create_version(model, logged, f"{manifest.model} {metrics}", {**tags, **about})

    def _move(self, before: Status, version: int, action: Action, run: str | None) -> Status:
        found = version_of(before, version)
        if found.problem:
            raise BundleRefused(f"version {version} {found.problem}")
        self._registry.set_alias(before.model, self.alias, version)
        return self._noted(before, version, self._event(action, version, run))

    def _event(self, action: Action, version: int, run: str | None) -> Event:
        return Event(when=datetime.now(UTC), who=self.id or "anonymous", action=action, version=version, run=run)

    def _noted(self, before: Status, active: int | None, event: Event) -> Status:
        for key, value in _tag(event).items():
            self._registry.tag(before.model, event.version, key, value)
        history = (*before.history, event)
        return replace(before, active=active, previous=previous(history, active), history=history)


def _tag(event: Event) -> Mapping[str, str]:
    key = f"{EVENT}{event.when:%Y-%m-%dT%H:%M:%S.%f}Z"
    return {key: _events.dump_json(event, exclude={"version"}).decode()}  # the tag belongs to the version


def _history(version: Registered) -> Iterator[Event]:
    for key, value in version.tags.items():
        if key.startswith(EVENT):
            try:
                yield _events.validate_python({**json.loads(value), "version": version.number})
            except (ValueError, TypeError):
                continue  # written by another client


def _version(found: Registered) -> Version:
    tags, problem = found.tags, None
    if not found.ready:
        problem = "is not complete"
    elif DIGEST not in tags:
        problem = "was not pushed by this program"
    return Version(
        number=found.number,
        digest=tags.get(DIGEST, ""),
        source=tags.get(SOURCE, ""),
        model=tags.get(MODEL, ""),
        metrics=_parsed(tags.get(METRICS, "{}")),
        problem=problem,
    )


def _parsed(metrics: str) -> Mapping[str, float]:
    try:
        return _metrics.validate_json(metrics)
    except ValidationError:
        return {}
