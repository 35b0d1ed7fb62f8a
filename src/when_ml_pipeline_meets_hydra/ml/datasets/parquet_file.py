"""A Parquet file, with the types of its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, first_line
from when_ml_pipeline_meets_hydra.ml.artifacts import Reading
from when_ml_pipeline_meets_hydra.ml.datasets.contents import check_readable
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.parts import Part, joined
from when_ml_pipeline_meets_hydra.ml.datasets.table_file import TableFile

if TYPE_CHECKING:
    import polars as pl


@frozen
class ParquetFile(TableFile):
    """The Parquet file at ``path``; or a folder or pattern of such files, which are one table."""

    endings = (".parquet", ".pq")

    def rows(self) -> RawRows:
        """Return the rows, with the file's own types."""
        import polars as pl

        own, frame = self._own(), self._frame()
        names = frame.collect_schema().names()
        unnamed = (f"column {names.index('') + 1} (it has no name)",) if "" in names else ()
        frame = frame.select(pl.nth(n) for n, name in enumerate(names) if name) if unnamed else frame
        return RawRows(frame=frame, left_out=unnamed, reading=Reading(**own), own=own, **self._common())

    def is_longer_than(self, rows: int) -> bool:
        """Return whether the files have more rows than that."""
        import polars as pl

        counts = (pl.scan_parquet(p.file, glob=False).select(pl.len()).collect().item() for p in self.parts())
        return bool(sum(counts) > rows)

    def _frame(self) -> pl.LazyFrame:
        import polars as pl

        from when_ml_pipeline_meets_hydra.ml.datasets.csv_parts import other_columns

        parts = self.parts()
        schemas = [_schema(part) for part in parts]
        first, expected = parts[0].file, schemas[0]
        for part, found in zip(parts, schemas, strict=True):
            if sorted(found) != sorted(expected):
                raise BadInput(other_columns(part.file, first, list(found), list(expected)))
            for name, dtype in found.items():
                if dtype != expected[name]:
                    message = f"the column '{name}' has the type {dtype}, and in {first} {expected[name]}"
                    remedy = "All parts need the same types"
                    raise BadInput(Problem(key="path", value=str(part.file), message=message, remedy=remedy))
        frames = [pl.scan_parquet(part.file, glob=False) for part in parts]
        places = [[list(found).index(name) for name in expected] for found in schemas]  # a name may be a pattern
        return joined([f.select(pl.nth(at)) for f, at in zip(frames, places, strict=True)], parts, texts=False)


def _schema(part: Part) -> pl.Schema:
    import polars as pl

    check_readable(part.file)
    try:
        return pl.scan_parquet(part.file, glob=False).collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        message = f"this is no Parquet file that can be read: {first_line(error)}"
        remedy = "If it is a CSV file, choose the option csv instead of parquet"
        raise BadInput(Problem(key="path", value=str(part.file), message=message, remedy=remedy)) from None
