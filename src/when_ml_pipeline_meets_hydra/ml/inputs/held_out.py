"""The held-out rows of the prepared data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Chosen, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, Remote, no_column
from when_ml_pipeline_meets_hydra.ml.inputs.interface import Batch, identifiers
from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit, all_rows

if TYPE_CHECKING:
    import polars as pl


@frozen
class HeldOut:
    """The held-out rows of the prepared data, which were not used for training."""

    name: Annotated[str, Field(min_length=1, description="Name of the rows in reports")] = "held-out rows"
    id: Annotated[str | None, Field(min_length=1, description="Column that identifies rows, copied as it is")] = None
    dataset: Annotated[Dataset, Chosen()]
    split: Annotated[RowSplit, Chosen()]

    def check(self) -> Iterable[Problem]:
        """Return the problem of a column ``id`` that does not exist, unless only a server knows."""
        if self.id is not None and not isinstance(self.dataset, Remote):
            try:
                names = self.dataset.rows().frame.collect_schema().names()
            except BadInput:  # reported by the data set itself
                return
            if self.id not in names:
                yield no_column("id", self.id, names)

    def batches(self, data: PreparedData, folder: Path) -> Iterator[Batch]:
        """Yield all rows as one batch of features."""
        import polars as pl

        from when_ml_pipeline_meets_hydra.ml.training.matrices import read_split

        rows = read_split(data, "test")
        if data.task is Task.CLASSIFICATION:
            names = [data.classes[k] for k in rows.target.tolist()]
            target = pl.Series("target", names, dtype=pl.String)
        else:
            target = pl.Series("target", rows.target, dtype=pl.Float64)
        numbers = pl.read_parquet(data.path / "rows.parquet")["row"]
        ids = None if self.id is None else self._ids(data, folder, self.id).gather(numbers)
        weights = None if rows.weights is None else pl.Series(data.weight, rows.weights)
        yield Batch(target=target, numbers=numbers, features=rows.features, ids=ids, weights=weights)

    def _ids(self, data: PreparedData, folder: Path, name: str) -> pl.Series:
        from when_ml_pipeline_meets_hydra.ml.preparation.write import fetched

        if self.dataset.fingerprint() != data.fingerprint:
            message = "the rows are those of another data set than the one at the config key 'dataset'"
            raise BadInput(Problem(key="rows.id", value=name, message=message, remedy=f"Choose {data.dataset} there"))
        with fetched(self.dataset, folder) as raw:
            return identifiers(all_rows(self.split, raw), name)
