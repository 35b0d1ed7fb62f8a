"""Gate: no leakage between the training and the held-out rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.gates.interface import HELD_OUT, Candidate, GateResult

if TYPE_CHECKING:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData


@frozen
class NoLeakage:
    """Passes if at most ``max_share`` of the held-out rows equal a training row, target included, and the split holds.

    A split by groups holds if no group is on both sides, one by time if no training row is newer than a held-out one.
    """

    max_share: Annotated[float, Field(ge=0, le=1, description="Part of the held-out rows that may be known")] = 0.0

    def judge(self, candidate: Candidate) -> GateResult:
        """Compare the prepared rows of both splits, and what the split keeps apart."""
        import polars as pl

        if broken := _broken(candidate.preprocessing):
            return GateResult(passed=False, why=broken, rows=f"the {candidate.preprocessing.rows_test:,} {HELD_OUT}")
        folder = candidate.preprocessing.path
        known, held_out = (
            pl.scan_parquet(folder / f"{part}.parquet", glob=False).drop("__weight__", strict=False)
            for part in ("train", "test")
        )
        known_hashes, hashes = (rows.select(h=pl.struct(pl.all()).hash(seed=0)) for rows in (known, held_out))
        leaked = 0
        if _count(hashes.join(known_hashes, on="h", how="semi")):  # rows of equal hashes may differ
            leaked = _count(held_out.join(known.unique(), on=held_out.collect_schema().names(), how="semi"))
        rows = candidate.preprocessing.rows_test
        share = leaked / rows
        why = f"{leaked:,} of {rows:,} held-out rows are identical to a training row ({share:.1%}"
        why = f"{why}, at most {self.max_share:.1%})"
        return GateResult(passed=share <= self.max_share, why=why, found=share, rows=f"the {rows:,} {HELD_OUT}")


def _broken(data: PreparedData) -> str | None:
    """What the split was to keep apart, and did not."""
    import polars as pl

    if data.separated is None:
        return None
    rows = pl.scan_parquet(data.path / "separated.parquet", glob=False)
    known, held_out = (rows.filter(pl.col("held_out") == side).select("value") for side in (False, True))
    if data.in_time:
        first = held_out.select(pl.col("value").min()).collect(engine="streaming").item()
        newer = _count(known.filter(pl.col("value") > first))
        return f"{newer:,} training rows are newer than the first held-out row ('{data.separated}')" if newer else None
    shared = _count(known.unique().join(held_out.unique(), on="value", how="semi"))
    return f"{shared:,} groups of '{data.separated}' are on both sides of the split" if shared else None


def _count(rows: pl.LazyFrame) -> int:
    import polars as pl

    return int(rows.select(pl.len()).collect(engine="streaming").item())
