"""What versions were asked, and how the values spread: a small file per version and day, which all workers add to.

::

    <root>/<model>/observed/<version>/<day>.json   (days in UTC, of the last 90)

A worker that is killed takes along what it has not added yet: a few seconds. Nothing here decides what is served.
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
from when_ml_pipeline_meets_hydra.serving.observations.counters import Noted
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
    """What a version was asked between ``first`` and ``last``.

    ``failures`` are requests that were not answered; ``seconds`` are the times of the others, in buckets. The
    distributions are those of at most 500 rows in each second of each worker, in the bins of training.
    """

    first: datetime
    last: datetime
    requests: int
    failures: int
    seconds: Buckets
    columns: Mapping[str, Distribution]
    prediction: Distribution

    def __add__(self, other: Observed) -> Observed:
        """Both together."""
        return Observed(
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            requests=self.requests + other.requests,
            failures=self.failures + other.failures,
            seconds=latencies.added(self.seconds, other.seconds),
            columns={name: one + other.columns[name] for name, one in self.columns.items()},
            prediction=self.prediction + other.prediction,
        )


@frozen
class Observation:
    """What a version was trained with, and what it was asked since; None where it was asked nothing."""

    model: str
    version: int
    training: Summary
    observed: Observed | None


_observed = TypeAdapter(Observed)


def of(noted: Noted, training: Summary, prediction: Distribution) -> Observed:
    """What was noted, in the bins of training."""
    import numpy as np

    def counted(bins: Distribution, arrays: Sequence[Array]) -> Distribution:
        return bins.count(np.concatenate(arrays)) if arrays else bins.empty()

    now = datetime.now(UTC)
    return Observed(
        first=now,
        last=now,
        requests=len(noted.seconds) + noted.failures,
        failures=noted.failures,
        seconds=latencies.bucketed(noted.seconds),
        columns={name: counted(bins, [r.feeds[name] for r in noted.rows]) for name, bins in training.columns.items()},
        prediction=counted(prediction, [r.outputs[0].reshape(-1) for r in noted.rows]),
    )


def adding(folder: Path) -> AbstractContextManager[None]:
    """The lock of whoever adds to what was counted of the model in ``folder``. Entering it raises ``LockHeld``."""
    return hold(folder / LOCK, patience=LOCK_SECONDS)


def add(folder: Path, version: int, found: Observed) -> None:
    """Add to what was counted of a version on that day. Needs the lock."""
    path = _file(folder, version, found.last.date())
    if path.exists():
        before = _read(path)
        durable_files.write(path, _observed.dump_json(before + found if before else found))
        return
    durable_files.write(path, _observed.dump_json(found))
    oldest = found.last.date() - timedelta(days=KEPT_DAYS)
    for old in path.parent.iterdir():
        if old.stem < oldest.isoformat():  # also what somebody has not finished who was killed: its name begins with .
            old.unlink(missing_ok=True)


def read(folder: Path, version: int, days: int = KEPT_DAYS) -> Observed | None:
    """What was counted of a version today and on the days before, ``days`` in all; None where nothing was."""
    since = datetime.now(UTC).date() - timedelta(days=days - 1)
    paths = (folder / OBSERVED / str(version)).glob("*.json")
    found = [one for path in sorted(paths) if path.stem >= since.isoformat() and (one := _read(path))]
    return reduce(add_up, found) if found else None


def _file(folder: Path, version: int, day: date) -> Path:
    return folder / OBSERVED / str(version) / f"{day.isoformat()}.json"


def _read(path: Path) -> Observed | None:
    try:
        return _observed.validate_json(path.read_bytes())
    except (OSError, ValidationError):  # lost with the disk's last moments: it is counted anew
        return None
