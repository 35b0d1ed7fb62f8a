"""Stage deployment: push a trained model to a cluster, at once or gradually; promote, roll back, undeploy, status."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from when_ml_pipeline_meets_hydra.contracts import Claim, Progress, Wanted, agreed, claims, effect
from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster
from when_ml_pipeline_meets_hydra.deploy.strategies.interface import Strategy
from when_ml_pipeline_meets_hydra.errors import PipelineError, Problem, Refused, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.datasets.interface import data_of
from when_ml_pipeline_meets_hydra.ml.evaluation import PredictionIntervals
from when_ml_pipeline_meets_hydra.ml.intervals import are_wanted
from when_ml_pipeline_meets_hydra.serving.formats.examples import Smoke
from when_ml_pipeline_meets_hydra.serving.formats.versions import Event, ModelName, Status


def _possible(cluster: Cluster, strategy: Strategy) -> Iterable[Problem]:
    return strategy.problems(cluster)


def _name_on(cluster: Cluster, model_name: ModelName, dataset: Any) -> Claim:
    """The served name on the cluster; metrics are compared between models of one target of one data set."""
    place = getattr(cluster, "place", cluster.name)
    return Claim(
        place=f"{model_name} on {type(cluster).__name__} {place}",
        text=f"the name '{model_name}' on {cluster.name}",
        among=data_of(dataset),
        remedy="Leave model_name out, then it is that of the data set, or put it in: model_name='…-${dataset.name}'",
    )


@claims(_name_on)
@agreed(_possible)
@effect
def push(
    preprocessing: PreparedData,
    modeling: TrainedModel,
    cluster: Cluster,
    strategy: Strategy,
    model_name: ModelName,
    intervals: Annotated[PredictionIntervals | None, Wanted(are_wanted, or_requested=True)] = None,
    *,
    out: Path,
    progress: Progress,
    run_id: str,
) -> None:
    """Bundle preprocessing and model, upload the bundle, and activate it after a smoke test on the cluster.

    A model whose newest verdict is a refusal (``c=exptests``) is not deployed, whenever that was.

    Raises:
        StepFailed: the bundle does not predict what training predicted, or fails its smoke test on the cluster.
        Refused: by a gate or the cluster. In either case the active version stays active.
    """
    from when_ml_pipeline_meets_hydra.serving import bundling

    before = cluster.status(model_name)
    known = _serving(before, bundling.source_digest(preprocessing, modeling, intervals))
    if known and strategy.is_done(before, known):
        print(_unchanged(cluster, before, known))
        return
    progress(0, 4, "bundling")
    smoke = bundling.build(preprocessing, modeling, out, intervals)
    progress(1, 4, "uploading")
    version = cluster.push(model_name, out, run=run_id)
    progress(2, 4, "smoke test")
    _smoke_test(cluster, model_name, version, smoke, before.active)
    progress(3, 4, "activating")
    after = strategy.begin(cluster, model_name, version, run_id)
    progress(4, 4, "active")
    print(_pushed(cluster, before, after, version, len(smoke.rows)))


def _serving(status: Status, source: str) -> int | None:
    """The number of the version with that source, if it is active or the canary."""
    numbers = (status.active, status.canary.version if status.canary else None)
    versions = (v for n in numbers if (v := status.version(n)) and v.source == source and v.problem is None)
    return next((version.number for version in versions), None)


def _smoke_test(cluster: Cluster, model: str, version: int, smoke: Smoke, serving: int | None) -> None:
    try:
        wrong = smoke.difference(cluster.predict(model, smoke.rows, version))
    except PipelineError as problem:
        wrong = str(problem)
    if wrong:
        still = f"version {serving} goes on serving" if serving else "no version is active"
        raise StepFailed(f"{model} version {version} failed its smoke test on {cluster.name}: {wrong}; {still}")


def _pushed(cluster: Cluster, before: Status, after: Status, version: int, rows: int) -> str:
    passed = f"smoke test passed on {rows} rows"
    if (before.active, before.canary) == (after.active, after.canary):
        return f"{_unchanged(cluster, after, version)}: {passed}"
    if after.active != version:
        return f"{_canary(cluster, after)}: {passed}"
    previous = f" (previous: version {before.active})" if before.active else ""
    return f"{_active(cluster, after)}: {passed}{previous}"


def _unchanged(cluster: Cluster, status: Status, version: int) -> str:
    as_canary = "" if status.active == version else ", as a canary"
    return f"{status.model} version {version} on {cluster.name} is unchanged{as_canary}"


@effect
def promote(cluster: Cluster, model_name: ModelName, *, run_id: str) -> None:
    """Activate the canary at once.

    Raises:
        Refused: there is none, or the cluster refuses.
    """
    before = cluster.status(model_name)
    if before.canary is None:
        raise Refused("model_name", f"'{model_name}' has no canary on {cluster.name}")
    after = cluster.activate(model_name, before.canary.version, run=run_id)
    print(f"{_active(cluster, after)} (previous: version {before.active})")


@effect
def rollback(cluster: Cluster, model_name: ModelName, *, run_id: str) -> None:
    """Withdraw the canary; without one, activate the previously active version again.

    Raises:
        Refused: there is neither, or the cluster refuses.
    """
    before = cluster.status(model_name)
    after = cluster.rollback(model_name, run=run_id)
    if before.canary:
        print(f"{model_name} version {before.canary.version} is taken back, {_active(cluster, after)}")
    else:
        print(f"{_active(cluster, after)} again (before: {_numbered(before.active)})")


@effect
def undeploy(cluster: Cluster, model_name: ModelName, *, run_id: str) -> None:
    """Deactivate the active version, so that none serves.

    Raises:
        Refused: none was ever active, or the cluster refuses.
    """
    before = cluster.status(model_name)
    after = cluster.undeploy(model_name, run=run_id)
    print(f"{_active(cluster, after)} (before: {_numbered(before.active)})")


@effect
def status(cluster: Cluster, model_name: ModelName) -> None:
    """Print the versions of a model, which one is active, the canary's measurements, and the latest events."""
    found = cluster.status(model_name)
    if not found.versions:
        print(f"{model_name} is not on {cluster.name}")
        return
    print(_active(cluster, found))
    if found.canary:
        from when_ml_pipeline_meets_hydra.serving.observations.canary_counts import canary_progress

        print(_canary(cluster, found))
        for line in canary_progress(found.canary, found.measured):
            print(f"  {line}")
    for version in reversed(found.versions):
        place = _place(found, version.number)
        metrics = " ".join(f"{name}={value:.4g}" for name, value in version.metrics.items())
        print(f"  version {version.number:<4} {place:<9} {version.problem or f'{version.model} {metrics}'}")
    for event in found.history[-5:]:
        print(f"  {event.when:%Y-%m-%d %H:%M:%S} UTC  {_event(event)}")


def _active(cluster: Cluster, status: Status) -> str:
    if status.active is None:
        return f"no version of {status.model} is active on {cluster.name}"
    return f"{status.model} version {status.active} is active on {cluster.name}"


def _canary(cluster: Cluster, status: Status) -> str:
    assert status.canary is not None
    share = f"{status.canary.terms.share:.4g} of the requests"
    return f"{status.model} version {status.canary.version} is a canary on {cluster.name} and gets {share}"


def _numbered(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"


def _place(status: Status, number: int) -> str:
    if number == status.active:
        return "active"
    if status.canary and number == status.canary.version:
        return "canary"
    return "previous" if number in status.previous[:1] else ""


def _event(event: Event) -> str:
    run = f" in run {event.run}" if event.run else ""
    why = f": {event.why}" if event.why else ""
    return f"{event.action.value} of version {event.version} by {event.who}{run}{why}"
