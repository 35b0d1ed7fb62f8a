"""What the server counts, for Prometheus.

With several workers each of them writes its numbers into files below ``$PROMETHEUS_MULTIPROC_DIR``, and whichever is
asked adds them up.
"""

from __future__ import annotations

import os
from functools import cache

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client
CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter(
    "model_server_requests",
    "Requests by what they asked for, and the status of the answer",
    ("method", "route", "model", "version", "status"),
)
DURATION = Histogram(
    "model_server_request_seconds",
    "Time from the headers of a request to the end of the answer",
    ("route", "model", "version"),
    buckets=SECONDS,
)
ROWS = Counter("model_server_rows", "Rows that were asked for", ("model", "version"))
IN_PROGRESS = Gauge("model_server_requests_in_progress", "Requests being worked on", multiprocess_mode="livesum")
FAILED_LOGINS = Counter("model_server_failed_logins", "Wrong ids and passwords that were checked")

requests_of = cache(REQUESTS.labels)
duration_of = cache(DURATION.labels)
rows_of = cache(ROWS.labels)


def exposition() -> bytes:
    """All numbers of all workers in Prometheus' text format."""
    if DIRECTORY not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
