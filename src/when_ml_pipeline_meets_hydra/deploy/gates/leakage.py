"""No row is on both sides of the split."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, GateResult


@frozen
class NoLeakage:
    """Held-out rows that are identical to a training row, target included, are at most ``max_share`` of them."""

    max_share: Annotated[float, Field(ge=0, le=1, description="Part of the held-out rows that may be known")] = 0.0

    def judge(self, candidate: Candidate) -> GateResult:
        """Compare the prepared rows of both sides."""
        import polars as pl

        folder = candidate.preprocessing.path
        known, held_out = (pl.scan_parquet(folder / f"{part}.parquet", glob=False) for part in ("train", "test"))
        hashes = (rows.select(h=pl.struct(pl.all()).hash(seed=0)) for rows in (known, held_out))
        suspects = _shared(*hashes)
        same = held_out.join(known.unique(), on=held_out.collect_schema().names(), how="semi") if suspects else None
        leaked = 0 if same is None else same.select(pl.len()).collect(engine="streaming").item()
        rows = candidate.preprocessing.rows_test
        share = leaked / rows
        why = f"{leaked:,} of {rows:,} held-out rows are identical to a training row ({share:.1%}"
        return GateResult(passed=share <= self.max_share, why=f"{why}, at most {self.max_share:.1%})", found=share)


def _shared(known: object, held_out: object) -> bool:
    import polars as pl

    assert isinstance(known, pl.LazyFrame)
    assert isinstance(held_out, pl.LazyFrame)
    both = held_out.join(known, on="h", how="semi")
    return bool(both.select(pl.len()).collect(engine="streaming").item())
