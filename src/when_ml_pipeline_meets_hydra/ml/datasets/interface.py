"""The Protocol of data sets, and their raw rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.contracts import FromFiles
from when_ml_pipeline_meets_hydra.errors import Problem, did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, ListedColumn, Reading

if TYPE_CHECKING:
    import polars as pl

AS_IT_IS = Reading()


def no_column(key: str, name: str, known: Iterable[str]) -> Problem:
    """Return the problem of a column that the data do not have."""
    message = "there is no such column in the data"
    return Problem(key=key, value=name, message=message, remedy=did_you_mean(name, known))


def data_of(dataset: Any) -> str:
    """Return what identifies the target of a data set, and the weights of its rows.

    Metrics are comparable between models of the same one.
    """
    files = map(str, dataset.files()) if isinstance(dataset, FromFiles) else ()
    known = (getattr(dataset, "name", ""), getattr(dataset, "target", ""), weight_of(dataset), *files)
    return "\n".join(str(part) for part in known if part is not None)


def weight_of(dataset: Any) -> str | None:
    """Return the column with the weights of a data set's rows; None if it has none."""
    found = getattr(dataset, "weight", None)
    return found if isinstance(found, str) else None


class TaskChoice(StrEnum):
    """The task of a data set: regression, classification, or chosen by the target's values."""

    AUTO = "auto"
    REGRESSION = "regression"
    CLASSIFICATION = "classification"


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """The rows of a data set, before their types are converted.

    ``frame`` has any columns of any type; ``columns`` are those to use, with what is known of them (none: all of them
    but those to ``exclude``, types inferred; the target may be among them); ``left_out``: columns that are not in
    ``frame``, each with the reason; ``texts``: every value is a text whose type is to be inferred, as in a CSV file;
    ``image``: the columns are the pixels of this image; ``weight``: the column with the weights of the rows, which is
    no feature; ``features``: columns to compute, each by an expression in SQL's notation (columns that it reads may be
    among those to exclude: then they give no feature of their own); ``zones``: by column, how times with a time zone
    were read, if ``frame`` has no zones any more; ``unread``: files beside those that are read, of kinds that are not
    read. Values are read by ``reading``. Rows to predict are read as the
    training data were, except for ``own``: the fields of ``reading`` that the config gives for these rows.
    """

    frame: pl.LazyFrame
    target: str
    columns: tuple[ListedColumn, ...] = ()
    exclude: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    task: TaskChoice = TaskChoice.AUTO
    texts: bool = False
    reading: Reading = AS_IT_IS
    own: Mapping[str, Any] = field(default_factory=dict)
    image: Image | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    weight: str | None = None
    unread: tuple[str, ...] = ()


@runtime_checkable
class Remote(Protocol):
    """A data set on a server, which is read once, into files, since each further pass would fetch all of it again."""

    def read(self, folder: Path) -> RawRows:
        """Read the rows into files in the empty ``folder``, which exists as long as the rows are used; return them."""


@runtime_checkable
class Dataset(Protocol):
    """A table of rows with a target to predict.

    Further members are optional: ``at(path)`` returns another file that is read in the same way (for ``split.path``);
    ``is_longer_than(rows)`` says, without reading more than needed, whether there are more rows (for the number of
    folds); ``weight`` is the name of the column with the weights of the rows, or None, as in its ``RawRows``;
    ``to_predict()`` of a ``Remote`` one returns the same rows, of which the target may be missing, as an object with
    the methods ``read`` and ``check``, and with what is known of them before they are read: ``columns``, ``target``,
    ``task``, ``reading`` and ``weight``.

    Example of its first method::

        def rows(self) -> RawRows:
            return RawRows(frame=pl.scan_ndjson(self.path), target=self.target)
    """

    @property
    def name(self) -> str:
        """Name of the data set, and by default of the deployed model."""

    def rows(self) -> RawRows:
        """Return the raw rows, lazily: nothing is read yet. Raises ``BadInput`` if the data cannot be opened."""

    def fingerprint(self) -> str:
        """Return a digest of the data, which changes when they do."""

    def check(self) -> Iterable[Problem]:
        """Return all problems of the data; called before anything runs."""
