"""What CSV and Parquet files share: the columns to use, and that a folder or pattern of parts is one table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, ListedColumn
from when_ml_pipeline_meets_hydra.ml.datasets.computed import Expressions
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice
from when_ml_pipeline_meets_hydra.ml.datasets.parts import Part, digest, find_parts, watched


@frozen
class TableFile(ABC):
    """The file at ``path``, or a folder or pattern of such files, which are one table.

    The values in the names of their folders, as in ``year=2020/part.csv``, are a column.
    """

    endings: ClassVar[tuple[str, ...]]  # of the files that count in a folder

    name: Annotated[str, Field(min_length=1, description="Name of the data set")] = "file"
    # Keyed by its content.
    path: Annotated[NamedPath, Field(description="The file, or a folder or pattern of parts"), Unkeyed()]
    target: Annotated[str, Field(min_length=1, description="Name of the column to predict")]
    task: Annotated[TaskChoice, Field(description="What to predict; auto: decided by the target's values")] = (
        TaskChoice.AUTO
    )
    columns: Annotated[
        tuple[ListedColumn, ...], Field(description="Columns to use, with what is known of them; none: all")
    ] = ()
    exclude: Annotated[tuple[str, ...], Field(description="Columns to leave out")] = ()
    null_values: Annotated[
        tuple[str | int | float, ...] | None,
        Field(description="Texts and numbers that stand for a missing value; null: the usual ones, or as trained"),
    ] = None
    image: Annotated[Image | None, Field(description="The shape of the image whose pixels a row holds")] = None
    features: Expressions = field(default_factory=dict)
    weight: Annotated[
        str | None, Field(min_length=1, description="Column with the weights of the rows, positive numbers; no feature")
    ] = None

    def file(self) -> Path:
        """Return the path of the file, folder or pattern."""
        return self.path

    def parts(self) -> tuple[Part, ...]:
        """Return the files. Raises ``BadInput`` if there is none, or if the names of their folders differ in kind."""
        return find_parts(self.file(), self.endings)

    def at(self, path: Path) -> TableFile:
        """Return another file that is read in the same way."""
        kind = next(cls for cls in type(self).__mro__ if "endings" in vars(cls))  # not that of a file in this package
        own = {f.name: getattr(self, f.name) for f in fields(kind)}
        return kind(**{**own, "path": path})  # type: ignore[no-any-return]

    @abstractmethod
    def rows(self) -> RawRows:
        """Return the rows. Raises ``BadInput`` if a file cannot be read."""

    def files(self) -> Iterable[Path]:
        """The file, or the parts and their folders."""
        return watched(self.file(), self.parts())

    def fingerprint(self) -> str:
        """The digest of the content, and of the values in the names of folders."""
        return digest(self.parts())

    def check(self) -> Iterable[Problem]:
        """Return all problems of the content."""
        from when_ml_pipeline_meets_hydra.ml.datasets import checks

        return checks.problems(self)

    def _own(self, **more: Any) -> dict[str, Any]:
        """How the values are read, as far as the config says."""
        missing = None if self.null_values is None else tuple(map(str, self.null_values))
        return {key: value for key, value in {"missing": missing, **more}.items() if value is not None}

    def _common(self) -> dict[str, Any]:
        common = ("target", "columns", "exclude", "task", "image", "features", "weight")
        return {name: getattr(self, name) for name in common}
