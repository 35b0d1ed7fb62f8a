"""Prometheus metrics of the server.

Each worker writes its values into files below ``$PROMETHEUS_MULTIPROC_DIR``; the worker that is scraped adds them up.
"""

from __future__ import annotations

import os
from functools import cache

from fastapi import APIRouter
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response

from when_ml_pipeline_meets_hydra.serving.http.responses import documented
from when_ml_pipeline_meets_hydra.serving.http.settings import METRICS_DIRECTORY

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter(
    "model_server_requests",
    "Requests by target and response status",
    ("method", "route", "model", "version", "status"),
)
DURATION = Histogram(
    "model_server_request_seconds",
    "Time from the headers of a request to the end of the response",
    ("route", "model", "version"),
    buckets=SECONDS,
)
ROWS = Counter("model_server_rows", "Rows in inference requests", ("model", "version"))
FAILED_LOGINS = Counter("model_server_failed_logins", "Failed checks of an id and password")

VIOLATIONS = Counter(
    "model_server_contract_violations",
    "Values in inference requests that break a rule of their column",
    ("model", "version", "column", "rule"),
)

requests_of = cache(REQUESTS.labels)
duration_of = cache(DURATION.labels)
rows_of = cache(ROWS.labels)


def count_violations(model: str, version: int, column: str, rule: str, count: int) -> None:
    """Count values that break a rule of their column."""
    VIOLATIONS.labels(model, str(version), column, rule).inc(count)


router = APIRouter(responses=documented())


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
def expose() -> Response:
    """Return the metrics of all workers in Prometheus' text format."""
    registry: CollectorRegistry = REGISTRY
    if METRICS_DIRECTORY in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
