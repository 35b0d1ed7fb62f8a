"""Profiles a CSV file: the columns with their types, those that are no features, and a suggested split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

if TYPE_CHECKING:
    import polars as pl

_MOST_ROWS = 100_000  # that are read for a profile
_TRIED_DATES = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
_NULLS = ["NA", "NaN", "nan", "null", ""]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is known of a table.

    ``columns`` maps names to types, ``excluded`` names to the reason; ``time`` is the column that orders the rows.
    """

    rows: int
    target: str
    task: str
    columns: dict[str, str]
    excluded: dict[str, str]
    time: str | None

    @property
    def split(self) -> str:
        """The suggested split: by time where the rows have one, at random otherwise."""
        return "time" if self.time else "random"


def profile(file: Path, target: str) -> Profile:
    """Profile the first rows of a CSV file. Raises ``BadInput`` if it cannot be read, or has no such column."""
    import polars as pl

    if not file.is_file():
        raise BadInput(Problem(key="--csv", value=str(file), message="there is no such file"))
    try:
        frame = pl.read_csv(file, null_values=_NULLS, n_rows=_MOST_ROWS, infer_schema_length=None, try_parse_dates=True)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        message = f"cannot be read as CSV ({str(error).splitlines()[0]})"
        raise BadInput(Problem(key="--csv", value=str(file), message=message)) from error
    if target not in frame.columns:
        remedy = did_you_mean(target, frame.columns)
        raise BadInput(Problem(key="--target", value=target, message=f"{file} has no such column", remedy=remedy))
    types = {name: _type_of(frame[name]) for name in frame.columns}
    excluded = {n: why for n in frame.columns if n != target and (why := _no_feature(frame[n], types[n]))}
    times = [n for n, kind in types.items() if kind in ("date", "datetime") and n != target and n not in excluded]
    is_number = types[target] in ("float", "int") and frame[target].n_unique() > 20
    return Profile(
        rows=frame.height,
        target=target,
        task="regression" if is_number else "classification",
        columns={n: kind for n, kind in types.items() if n != target and n not in excluded},
        excluded=excluded,
        time=times[0] if times else None,
    )


def _type_of(column: pl.Series) -> str:
    from when_ml_pipeline_meets_hydra.ml.datasets.values import dtype_of

    return str(dtype_of(column.dtype) or "string")


def _no_feature(column: pl.Series, kind: str) -> str | None:
    """Why a column is no feature; None if it may be one."""
    if column.null_count() == len(column):
        return "it has no values"
    distinct = column.drop_nulls().n_unique()
    if distinct < 2:
        return "it has one value only"
    if not column.name.strip():
        return "it has no name"
    if distinct == len(column) > 20 and kind in ("string", "int"):
        return "each row has a value of its own, as an identifier has"
    return None


def option_text(found: Profile, name: str, path: str, source: str) -> str:
    """The option file of a data set with this profile; ``path`` is that of the file as the option has it."""
    from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml

    lines = [
        "# @package dataset",
        f"# {source}: predict {found.target}",
        "defaults:",
        "  - csv",
        "  - _self_",
        dump_yaml({"name": name, "path": path, "target": found.target, "task": found.task}, width=1000).rstrip("\n"),
        f"# As found in {found.rows:,} rows; types may be changed: float, int, string, bool, date, datetime",
        dump_yaml({"columns": [{"name": n, "dtype": kind} for n, kind in found.columns.items()]}).rstrip("\n"),
    ]
    lines += (f"# Left out: {name} ({why})" for name, why in found.excluded.items())
    return "\n".join(lines) + "\n"
