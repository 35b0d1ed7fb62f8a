"""Requests and distributions of values per version and day, in one small file that all workers add to.

::

    <root>/<model>/observed/<version>/<day>.json   (days in UTC, of the last 90)

A killed worker loses the few seconds that it has not added yet. Nothing here decides which version is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import add as add_up
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Distribution, Summary
from when_ml_pipeline_meets_hydra.serving.observations import latencies
from when_ml_pipeline_meets_hydra.serving.observations.counters import Snapshot
from when_ml_pipeline_meets_hydra.serving.observations.latencies import Buckets
from when_ml_pipeline_meets_hydra.storage import durable_files
from when_ml_pipeline_meets_hydra.storage.locks import hold

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.engine.encode import Array

OBSERVED, LOCK = "observed", ".observed.lock"
KEPT_DAYS = 90
LOCK_SECONDS = 10


@frozen
class Observed:
    """Requests to a version between ``first`` and ``last``.

    ``failures`` are failed requests; ``seconds`` is a histogram of the times of the others. The distributions are
    those of at most 500 rows per second and worker, in the bins of training.
    """

    first: datetime
    last: datetime
    requests: int
    failures: int
    seconds: Buckets
    columns: Mapping[str, Distribution]
    prediction: Distribution

    def __add__(self, other: Observed) -> Observed:
        """Return the sum of both."""
        return Observed(
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            requests=self.requests + other.requests,
            failures=self.failures + other.failures,
            seconds=latencies.merged(self.seconds, other.seconds),
            columns={name: one + other.columns[name] for name, one in self.columns.items()},
            prediction=self.prediction + other.prediction,
        )


@frozen
class Observation:
    """Training data and observed requests of a version; ``observed`` is None if there were no requests."""

    model: str
    version: int
    training: Summary
    observed: Observed | None


_observed = TypeAdapter(Observed)


def summarize(snapshot: Snapshot, training: Summary, prediction: Distribution) -> Observed:
    """Return a snapshot of the counters as observations, in the bins of training."""
    import numpy as np

    def counted(bins: Distribution, arrays: Sequence[Array]) -> Distribution:
        return bins.count(np.concatenate(arrays)) if arrays else bins.empty()

    now = datetime.now(UTC)
    return Observed(
        first=now,
        last=now,
        requests=len(snapshot.seconds) + snapshot.failures,
        failures=snapshot.failures,
        seconds=latencies.histogram(snapshot.seconds),
        columns={n: counted(bins, [r.feeds[n] for r in snapshot.rows]) for n, bins in training.columns.items()},
        prediction=counted(prediction, [r.outputs[0].reshape(-1) for r in snapshot.rows]),
    )


def locked(folder: Path) -> AbstractContextManager[None]:
    """Lock the observations of the model in ``folder`` for writing. Entering it raises ``LockHeld``."""
    return hold(folder / LOCK, patience=LOCK_SECONDS)


def add(folder: Path, version: int, observed: Observed) -> None:
    """Add observations to the file of their day. The caller must hold the lock."""
    path = _file(folder, version, observed.last.date())
    if path.exists():
        before = _read(path)
        durable_files.write(path, _observed.dump_json(before + observed if before else observed))
        return
    durable_files.write(path, _observed.dump_json(observed))
    oldest = observed.last.date() - timedelta(days=KEPT_DAYS)
    for old in path.parent.iterdir():
        if old.stem < oldest.isoformat():  # also temporary files of killed processes: their names begin with .
            old.unlink(missing_ok=True)


def read(folder: Path, version: int, days: int = KEPT_DAYS) -> Observed | None:
    """Return the observations of the last ``days`` days, today included; None if there are none."""
    since = datetime.now(UTC).date() - timedelta(days=days - 1)
    paths = (folder / OBSERVED / str(version)).glob("*.json")
    found = [one for path in sorted(paths) if path.stem >= since.isoformat() and (one := _read(path))]
    return reduce(add_up, found) if found else None


def _file(folder: Path, version: int, day: date) -> Path:
    return folder / OBSERVED / str(version) / f"{day.isoformat()}.json"


def _read(path: Path) -> Observed | None:
    try:
        return _observed.validate_json(path.read_bytes())
    except (OSError, ValidationError):  # damaged by a crash: counting starts again
        return None
