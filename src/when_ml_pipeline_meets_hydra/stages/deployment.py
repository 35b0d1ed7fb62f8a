"""Deployment: put a trained model into service, take it back, say how things stand."""

from __future__ import annotations

from pathlib import Path

from when_ml_pipeline_meets_hydra.clusters.interface import Cluster
from when_ml_pipeline_meets_hydra.contracts import Progress, effect
from when_ml_pipeline_meets_hydra.errors import PipelineError, Refused, StepFailed
from when_ml_pipeline_meets_hydra.serving.smoke import Smoke, difference
from when_ml_pipeline_meets_hydra.serving.versions import ModelName, Status
from when_ml_pipeline_meets_hydra.stages.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.stages.evaluation import Verdict


@effect
def push(
    preprocessing: PreparedData,
    modeling: TrainedModel,
    cluster: Cluster,
    model_name: ModelName,
    exptests: Verdict | None = None,
    *,
    out: Path,
    progress: Progress,
) -> None:
    """Bundle preprocessing and model, bring the bundle to the cluster, and activate it after a smoke test there.

    Where quality gates were asked as well (``c=exptests,deployment --multirun``), the model has to pass them first.

    Raises:
        StepFailed: the bundle does not predict what training predicted, or fails its smoke test on the cluster.
        Refused: a gate or the cluster said no. In either case the version that was active goes on serving.
    """
    from when_ml_pipeline_meets_hydra.serving import bundle

    if exptests:
        _heed(exptests, model_name)
    before = cluster.status(model_name)
    if _is_active(before, bundle.source_digest(preprocessing, modeling)):
        print(f"{model_name} version {before.active} on {cluster.name} is unchanged")
        return
    progress(0, 4, "bundling")
    smoke = bundle.build(preprocessing, modeling, out)
    progress(1, 4, "uploading")
    version = cluster.push(model_name, out)
    progress(2, 4, "smoke test")
    _smoke_test(cluster, model_name, version, smoke, before.active)
    progress(3, 4, "activating")
    after = cluster.activate(model_name, version)
    progress(4, 4, "active")
    print(_pushed(cluster, before, after, len(smoke.rows)))


def _heed(verdict: Verdict, model: str) -> None:
    if not verdict.passed:
        reasons = "; ".join(f"{j.gate}: {j.why}" for j in verdict.failed)
        count = f"{len(verdict.failed)} of {len(verdict.judgements)} gates failed"
        raise Refused("gates", f"{model} is not deployed, since {count}: {reasons}")


def _is_active(status: Status, source: str) -> bool:
    version = status.version(status.active)
    return version is not None and version.source == source and version.problem is None


def _smoke_test(cluster: Cluster, model: str, version: int, smoke: Smoke, serving: int | None) -> None:
    try:
        wrong = difference(smoke.expected, cluster.predict(model, smoke.rows, version))
    except PipelineError as problem:
        wrong = str(problem)
    if wrong:
        still = f"version {serving} goes on serving" if serving else "no version is active"
        raise StepFailed(f"{model} version {version} failed its smoke test on {cluster.name}: {wrong}; {still}")


def _pushed(cluster: Cluster, before: Status, after: Status, rows: int) -> str:
    if before.active == after.active:
        return f"{after.model} version {after.active} on {cluster.name} is unchanged: smoke test passed on {rows} rows"
    previous = f" (previous: version {before.active})" if before.active else ""
    return f"{_active(cluster, after)}: smoke test passed on {rows} rows{previous}"


@effect
def rollback(cluster: Cluster, model_name: ModelName) -> None:
    """Let the version serve that served before the active one.

    Raises:
        Refused: there is none, or the cluster said no.
    """
    before = cluster.status(model_name)
    after = cluster.rollback(model_name)
    print(f"{_active(cluster, after)} again (before: version {before.active})")


@effect
def status(cluster: Cluster, model_name: ModelName) -> None:
    """Print the versions of a model, which one is active, and what was done last."""
    found = cluster.status(model_name)
    if not found.versions:
        print(f"{model_name} is not on {cluster.name}")
        return
    print(_active(cluster, found) if found.active else f"no version of {model_name} is active on {cluster.name}")
    for version in reversed(found.versions):
        place = _place(found, version.number)
        metrics = " ".join(f"{name}={value:.4g}" for name, value in version.metrics.items())
        print(f"  version {version.number:<4} {place:<9} {version.problem or f'{version.model} {metrics}'}")
    for event in found.history[-5:]:
        print(f"  {event.when:%Y-%m-%d %H:%M:%S} UTC  {event.action.value} of version {event.version} by {event.who}")


def _active(cluster: Cluster, status: Status) -> str:
    return f"{status.model} version {status.active} is active on {cluster.name}"


def _place(status: Status, number: int) -> str:
    if number == status.active:
        return "active"
    return "previous" if number in status.previous[:1] else ""
