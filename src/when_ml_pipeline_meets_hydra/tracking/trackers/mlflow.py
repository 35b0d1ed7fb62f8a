"""MLflow: a run per combination, below a parent for a sweep; parameters, metrics with steps, artifacts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.tracking.trackers.addresses import mlflow_address
from when_ml_pipeline_meets_hydra.tracking.trackers.interface import STAGES, Points, Row, TrackedRun, flattened

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.entities import Run as MlflowRun

ID = "when_ml_pipeline_meets_hydra.id"
_SENT = "when_ml_pipeline_meets_hydra.sent"  # the digest of a run of which everything is there
_EXPERIMENT = "when_ml_pipeline_meets_hydra"
_MOST = {"params": 100, "tags": 100, "metrics": 500}  # of one request
_LONGEST_VALUE, _LONGEST_NAME, _LONGEST_TAG = 6000, 250, 5000  # characters
_STATUS = {"failed": "FAILED", "interrupted": "KILLED", "killed": "KILLED", "running": "RUNNING"}


@frozen
class Options:
    """Where runs are sent. User and password are MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."""

    tracking_uri: Annotated[str, AfterValidator(mlflow_address)] | None = None
    experiment_name: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    run_name: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)] | None = None
    tags: dict[str, str | int | float | bool] | None = None
    artifacts: tuple[str, ...] = STAGES
    timeout: Annotated[float, Field(gt=0, le=86_400)] = 120

    def connect(self, known: dict[str, str]) -> MlflowConnection:
        """Open a connection; the experiment is created if there is none."""
        return MlflowConnection(self, known)


class MlflowConnection:
    """A client of a server or of a database."""

    def __init__(self, options: Options, known: dict[str, str]) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # of a server that is down; not minutes
        from mlflow import MlflowClient

        self._options, self._known = options, known
        self._client: MlflowClient = MlflowClient(options.tracking_uri)
        name = options.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._sent: dict[str, _Sent] = {}

    @property
    def url(self) -> str | None:
        """The page of the experiment."""
        place = self._options.tracking_uri
        return f"{place}/#/experiments/{self._experiment}" if place and place.startswith("http") else place

    def send(self, run: TrackedRun) -> None:
        """Log what is new of a run."""
        tags = self._tags(run)
        if run.ended is None:
            (self._sent.get(run.id) or self._open(run)).log(run, tags)
            return
        tags[_SENT] = _digest(run, tags)
        sent = self._sent.get(run.id) or self._open(run)
        if sent.tags.get(_SENT) == tags[_SENT]:
            return
        self._send_files(sent, run)
        status = _STATUS.get(run.status, "FINISHED")
        self._client.set_terminated(sent.run_id, status, end_time=int(run.ended * 1000))
        sent.log(run, tags)

    def _send_files(self, sent: _Sent, run: TrackedRun) -> None:
        for name, file in sent.new_files(run):
            self._client.log_artifact(sent.run_id, str(file), name.rpartition("/")[0] or None)
        if run.config:
            self._client.log_text(sent.run_id, _as_json(run.config), "config.json")
        self._client.log_text(sent.run_id, _as_json(run.facts), "run.json")

    def close(self) -> None:
        """Nothing is left to be sent."""

    def _open(self, run: TrackedRun) -> _Sent:
        """Find the run that has the id, or create it."""
        found = self._client.search_runs([self._experiment], f"tags.`{ID}` = '{run.id}'", max_results=1)
        if found:
            self._sent[run.id] = _Sent(self._client, found[0], self._points(found[0]))
        else:
            start, name = int(run.started * 1000), self._options.run_name or run.name
            created = self._client.create_run(self._experiment, start_time=start, tags={ID: run.id}, run_name=name)
            self._sent[run.id] = _Sent(self._client, created, ())
        self._known[run.id] = self._sent[run.id].run_id
        return self._sent[run.id]

    def _points(self, run: MlflowRun) -> Iterator[tuple[str, int]]:
        """Yield name and step of each value that a run has."""
        for name in run.data.metrics:
            yield from ((metric.key, metric.step) for metric in self._client.get_metric_history(run.info.run_id, name))

    def _tags(self, run: TrackedRun) -> dict[str, str]:
        git = run.facts.get("git") or {}
        parent = self._known.get(run.parent) if run.parent else None
        tags = {
            "when_ml_pipeline_meets_hydra.run": run.run,
            "when_ml_pipeline_meets_hydra.status": run.status,
            "mlflow.source.name": run.facts.get("command"),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": git.get("commit"),
            "mlflow.parentRunId": parent,
            "mlflow.runName": self._options.run_name or run.name,
            **{name: value for name, value in run.facts.items() if isinstance(value, str | int | float)},
            **(self._options.tags or {}),
        }
        return {_name(n): str(v)[:_LONGEST_TAG] for n, v in tags.items() if v is not None}


class _Sent:
    """What a run in MLflow has already."""

    def __init__(self, client: MlflowClient, run: MlflowRun, points: Iterable[tuple[str, int]]) -> None:
        self.run_id: str = run.info.run_id
        self._client, self._known_points = client, points
        self._params: set[str] = set(run.data.params)
        self.tags: dict[str, str] = dict(run.data.tags)
        self._files: set[str] = set()

    def log(self, run: TrackedRun, tags: Mapping[str, str]) -> None:
        """Log the parameters, metrics and tags that are new."""
        from mlflow.entities import Param, RunTag

        params = {_name(name): value[:_LONGEST_VALUE] for name, value in flattened(run.config)}
        new_params = [Param(name, value) for name, value in params.items() if name not in self._params]
        new_tags = [RunTag(name, value) for name, value in tags.items() if self.tags.get(name) != value]
        metrics = [*self._new_points(run)]
        for batch in _batches(params=new_params, tags=new_tags, metrics=metrics):
            self._client.log_batch(self.run_id, **batch)
        self._params |= params.keys()
        self.tags |= tags

    @cached_property
    def _points(self) -> Points:
        """The points that it has; they are read when there is something to send."""
        return Points(self._known_points)

    def _new_points(self, run: TrackedRun) -> Iterator[Metric]:
        from mlflow.entities import Metric

        when = int((run.ended or run.started) * 1000)
        rows = (*run.rows, Row(0, run.metrics))
        named = (Row(step, {_name(name): value for name, value in values.items()}) for step, values in rows)
        for step, values in self._points.new(named):
            yield from (Metric(key, value, when, step) for key, value in values.items())

    def new_files(self, run: TrackedRun) -> list[tuple[str, Any]]:
        """Return the files that this process has not sent; files of the same name are replaced there."""
        new = [(name, file) for name, file in run.all_files() if name not in self._files]
        self._files |= {name for name, _ in new}
        return new


def _batches(
    *, params: Sequence[Param], tags: Sequence[RunTag], metrics: Sequence[Metric]
) -> Iterator[dict[str, list[Any]]]:
    """Yield what one request may have of each at most."""
    left = {"params": iter(params), "tags": iter(tags), "metrics": iter(metrics)}
    while any((batch := {kind: list(islice(rest, _MOST[kind])) for kind, rest in left.items()}).values()):
        yield batch


def _digest(run: TrackedRun, tags: Mapping[str, str]) -> str:
    """Return a digest of all that is sent of a run that has ended."""
    content = [tags, run.config, run.metrics, run.rows, run.facts, run.status]
    digest = hashlib.sha256(_as_json(content).encode())
    for name, file in run.all_files():
        with file.open("rb") as stream:
            digest.update(f"{name} {hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def _name(name: str) -> str:
    """Return a name in the characters that MLflow takes: ``ü`` becomes ``u``, others ``_``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() if not name.isascii() else name
    return re.sub(r"[^\w\-. :/]", "_", plain)[:_LONGEST_NAME] or "_"


def _as_json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)
