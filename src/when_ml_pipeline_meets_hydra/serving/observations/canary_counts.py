"""Counts of the requests to a canary, and the decision to promote it or take it back."""

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
    """Counts of one canary over all workers: histograms of request times, the canary's failures, compared rows."""

    canary: Buckets = latencies.EMPTY
    active: Buckets = latencies.EMPTY
    errors: int = 0
    compared: int = 0
    agreed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            canary=latencies.merged(self.canary, other.canary),
            active=latencies.merged(self.active, other.active),
            errors=self.errors + other.errors,
            compared=self.compared + other.compared,
            agreed=self.agreed + other.agreed,
        )

    @property
    def measured(self) -> Measured:
        """The totals and quantiles of the counts."""
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
    version: int
    since: datetime
    counts: Counts


_trials = TypeAdapter(_Trial)


def read_counts(folder: Path, canary: Canary) -> Counts:
    """Return the counts of the canary of the model in ``folder``; zeros if there are none yet."""
    try:
        trial = _trials.validate_json((folder / TRIAL).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Counts()
    return trial.counts if (trial.version, trial.since) == (canary.version, canary.since) else Counts()


def add_counts(folder: Path, canary: Canary, counts: Counts) -> None:
    """Add ``counts`` to those on disk. The caller must hold the lock."""
    for left in folder.glob(f".{TRIAL}.*"):  # left by a killed process
        left.unlink()
    trial = _Trial(version=canary.version, since=canary.since, counts=read_counts(folder, canary) + counts)
    durable_files.write(folder / TRIAL, _trials.dump_json(trial))


class Verdict(StrEnum):
    """Decision about a canary."""

    WAIT = "wait"
    PROMOTE = "promote"
    TAKE_BACK = "take back"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Decision about a canary, and the reason."""

    verdict: Verdict
    why: str


def judge(canary: Canary, measured: Measured, now: datetime) -> Judgement:
    """Take a canary back as soon as it has failed too often, otherwise decide once it has served long enough."""
    terms = canary.terms
    if measured.errors > terms.errors * max(measured.requests, terms.requests):
        why = f"it failed {measured.errors} of {measured.requests} requests, allowed {terms.errors:.1%}"
        return Judgement(verdict=Verdict.TAKE_BACK, why=why)
    if waits := _still_waiting(canary, measured, now):
        return Judgement(verdict=Verdict.WAIT, why=waits)
    if wrong := "; ".join(_faults(canary, measured)):
        return Judgement(verdict=Verdict.TAKE_BACK, why=wrong)
    return Judgement(verdict=Verdict.PROMOTE, why=f"{measured.requests} requests within its bounds")


def canary_progress(canary: Canary, measured: Measured | None) -> Iterator[str]:
    """Yield lines that describe a canary's progress; ``measured`` is None if its cluster does not measure it."""
    terms = canary.terms
    judged = f"judged after {terms.requests} requests and {terms.minutes:g} minutes"
    yield f"since {canary.since:%Y-%m-%d %H:%M:%S} UTC, {judged}"
    if measured is None:
        yield "the cluster reports no measurements of it"
        return
    if not measured.requests:
        yield "no request has reached it: is a server running?"
        return
    yield f"{measured.requests} requests, the active version had {measured.active_requests}"
    yield f"{measured.errors} failed, allowed {terms.errors:.1%}"
    if measured.latency and measured.active_latency:
        allowed = f", allowed {terms.latency:g} times" if terms.latency else ""
        own, active = measured.latency * 1e3, measured.active_latency * 1e3
        yield f"95th percentile {own:.3g} ms, of the active version {active:.3g} ms{allowed}"
    if measured.compared:
        least = f", at least {terms.agreement:.1%}" if terms.agreement else ""
        part = f"{measured.agreed / measured.compared:.1%}{least}"
        yield f"{measured.agreed} of {measured.compared} rows with equal predictions ({part})"


def _still_waiting(canary: Canary, measured: Measured, now: datetime) -> str | None:
    terms = canary.terms
    minutes = (now - canary.since).total_seconds() / 60
    if measured.requests < terms.requests:
        return f"{measured.requests} of {terms.requests} requests"
    if minutes < terms.minutes:
        return f"{minutes:.1f} of {terms.minutes:g} minutes"
    if terms.agreement and not measured.compared:
        return "no row was predicted by both versions yet"
    if terms.latency and not measured.active_requests:
        return "the active version had no request yet to compare with"
    return None


def _faults(canary: Canary, measured: Measured) -> Iterator[str]:
    terms = canary.terms
    if terms.latency and measured.latency and measured.active_latency:
        ratio = measured.latency / measured.active_latency
        if ratio > terms.latency:
            yield f"its 95th percentile is {ratio:.2g} times that of the active version, allowed {terms.latency:g}"
    if terms.agreement and measured.agreed < terms.agreement * (rows := measured.compared):
        part = measured.agreed / rows
        yield f"{part:.1%} of {rows} rows predicted as by the active version, at least {terms.agreement:.1%}"
