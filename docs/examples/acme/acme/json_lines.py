"""A data set: one JSON object per line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra import BadInput, Problem, RawRows, frozen


@frozen
class JsonLines:
    """The rows of a JSON Lines file."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")]
    path: Annotated[Path, Field(description="The file")]
    target: Annotated[str, Field(description="Key of the value to predict")]

    def rows(self) -> RawRows:
        """The rows; Polars is imported here, so that --help need not wait for it."""
        import polars as pl

        return RawRows(frame=pl.scan_ndjson(self.path), target=self.target)

    def fingerprint(self) -> str:
        """The digest of the file: when it changes, everything made from it is computed again."""
        if not self.path.is_file():
            raise BadInput(Problem(key="path", value=str(self.path), message="there is no such file"))
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def check(self) -> Iterable[Problem]:
        """Problems with the data, reported before anything runs."""
        if self.target not in self.rows().frame.collect_schema():
            yield Problem(key="target", value=self.target, message=f"no row of {self.path} has such a key")
