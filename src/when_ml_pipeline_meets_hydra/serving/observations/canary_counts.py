"""Whether a canary has proved itself: what is counted meanwhile, and the decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.serving.formats.versions import Canary, Measured
from when_ml_pipeline_meets_hydra.serving.observations import latencies
from when_ml_pipeline_meets_hydra.serving.observations.latencies import Buckets
from when_ml_pipeline_meets_hydra.storage import durable_files

TRIAL = "trial.json"
QUANTILE = 0.95


@frozen
class Counts:
    """What all workers have counted of one canary: times of requests in buckets, the canary's failures, rows."""

    canary: Buckets = latencies.NONE
    active: Buckets = latencies.NONE
    errors: int = 0
    compared: int = 0
    agreed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            canary=latencies.added(self.canary, other.canary),
            active=latencies.added(self.active, other.active),
            errors=self.errors + other.errors,
            compared=self.compared + other.compared,
            agreed=self.agreed + other.agreed,
        )

    @property
    def measured(self) -> Measured:
        """The same in numbers for people."""
        return Measured(
            requests=sum(self.canary) + self.errors,
            errors=self.errors,
            latency=latencies.quantile(self.canary, QUANTILE),
            active_requests=sum(self.active),
            active_latency=latencies.quantile(self.active, QUANTILE),
            compared=self.compared,
            agreed=self.agreed,
        )


@frozen
class _Trial:
    """Content of ``trial.json``."""

    version: int
    since: datetime
    counts: Counts


_trials = TypeAdapter(_Trial)


def read_counts(folder: Path, canary: Canary) -> Counts:
    """What was counted of the canary of the model in ``folder``; nothing where nobody has counted yet."""
    try:
        found = _trials.validate_json((folder / TRIAL).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Counts()
    return found.counts if (found.version, found.since) == (canary.version, canary.since) else Counts()


def add_counts(folder: Path, canary: Canary, counts: Counts) -> None:
    """Add to what was counted. Needs a lock around it."""
    for left in folder.glob(f".{TRIAL}.*"):  # of somebody who was killed
        left.unlink()
    trial = _Trial(version=canary.version, since=canary.since, counts=read_counts(folder, canary) + counts)
    durable_files.write(folder / TRIAL, _trials.dump_json(trial))


class Verdict(StrEnum):
    """What becomes of a canary."""

    WAIT = "wait"
    PROMOTE = "promote"
    TAKE_BACK = "take back"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What becomes of a canary, and why."""

    verdict: Verdict
    why: str


def judge(canary: Canary, found: Measured, now: datetime) -> Judgement:
    """Take a canary back as soon as it has failed too often, otherwise decide when it has served long enough."""
    terms = canary.terms
    if found.errors > terms.errors * max(found.requests, terms.requests):
        why = f"it failed {found.errors} of {found.requests} requests, allowed {terms.errors:.1%}"
        return Judgement(verdict=Verdict.TAKE_BACK, why=why)
    if waits := _waits(canary, found, now):
        return Judgement(verdict=Verdict.WAIT, why=waits)
    if wrong := "; ".join(_faults(canary, found)):
        return Judgement(verdict=Verdict.TAKE_BACK, why=wrong)
    return Judgement(verdict=Verdict.PROMOTE, why=f"{found.requests} requests within its bounds")


def told(canary: Canary, found: Measured | None) -> Iterator[str]:
    """How a canary does so far, line by line; ``found`` is None where its cluster does not know."""
    terms = canary.terms
    judged = f"judged after {terms.requests} requests and {terms.minutes:g} minutes"
    yield f"since {canary.since:%Y-%m-%d %H:%M:%S} UTC, {judged}"
    if found is None:
        yield "the cluster does not say how it does"
        return
    if not found.requests:
        yield "no request has reached it: is a server running?"
        return
    yield f"{found.requests} requests, the active version had {found.active_requests}"
    yield f"{found.errors} failed, allowed {terms.errors:.1%}"
    if found.latency and found.active_latency:
        allowed = f", allowed {terms.latency:g} times" if terms.latency else ""
        own, active = found.latency * 1e3, found.active_latency * 1e3
        yield f"95th percentile {own:.3g} ms, of the active version {active:.3g} ms{allowed}"
    if found.compared:
        least = f", at least {terms.agreement:.1%}" if terms.agreement else ""
        yield f"{found.agreed} of {found.compared} rows answered alike ({found.agreed / found.compared:.1%}{least})"


def _waits(canary: Canary, found: Measured, now: datetime) -> str | None:
    terms = canary.terms
    minutes = (now - canary.since).total_seconds() / 60
    if found.requests < terms.requests:
        return f"{found.requests} of {terms.requests} requests"
    if minutes < terms.minutes:
        return f"{minutes:.1f} of {terms.minutes:g} minutes"
    if terms.agreement and not found.compared:
        return "no row was answered by both versions yet"
    if terms.latency and not found.active_requests:
        return "the active version had no request yet to be compared with"
    return None


def _faults(canary: Canary, found: Measured) -> Iterator[str]:
    terms = canary.terms
    if terms.latency and found.latency and found.active_latency:
        ratio = found.latency / found.active_latency
        if ratio > terms.latency:
            yield f"its 95th percentile is {ratio:.2g} times that of the active version, allowed {terms.latency:g}"
    if terms.agreement and found.agreed < terms.agreement * found.compared:
        part = found.agreed / found.compared
        yield f"{part:.1%} of {found.compared} rows answered as by the active version, at least {terms.agreement:.1%}"
