"""Columns of categories and of numbers with missing values, merged from features: in training, and in the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import polars as pl
from onnx import helper

from when_ml_pipeline_meets_hydra.ml.models.double_graph import COLUMNS, FEATURES

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import FeatureRows

Array = np.ndarray[Any, Any]


class Columns:
    """The C columns that a model receives for F features: each ``one_hot`` group as one column, and missing numbers.

    The value of a group is the position, from 1, of the feature that is 1, or 0 if there is none. A feature is NaN
    where the one of its pair in ``indicators`` is 1, which is no column itself. ``sources`` are the index of a feature,
    or the first and the end of a group, for each column; ``groups`` are only the groups, ``missing`` the indicators.
    """

    def __init__(
        self, n_features: int, one_hot: Sequence[tuple[int, int]], indicators: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.n_features = n_features
        self._indicators = dict(indicators)
        no_columns = {k for group in one_hot for k in range(*group)} | set(self._indicators.values())
        alone = [k for k in range(n_features) if k not in no_columns]
        self.sources: list[int | tuple[int, int]] = [*alone, *one_hot]
        if one_hot:
            # Each thread of LightGBM bins adjacent columns. Numbers take longest, so they are spread evenly, by
            # reversing the bits of their positions.
            order = sorted(range(len(self.sources)), key=lambda k: f"{k:b}"[::-1])
            self.sources = [self.sources[k] for k in order]
        self.groups = {k: source for k, source in enumerate(self.sources) if not isinstance(source, int)}
        pairs = ((k, self._indicators.get(source)) for k, source in enumerate(self.sources) if isinstance(source, int))
        self.missing = {k: indicator for k, indicator in pairs if indicator is not None}

    def __len__(self) -> int:
        return len(self.sources)

    def of(self, features: Array) -> Array:
        """Return the columns, float32 [N, C], of features, float32 [N, F]."""
        if not self.groups and not self.missing:
            return features
        made = features.take([source if isinstance(source, int) else source[0] for source in self.sources], axis=1)
        for k, (start, end) in self.groups.items():
            made[:, k] = features[:, start:end] @ np.arange(1, end - start + 1, dtype=np.float32)
        for k, indicator in self.missing.items():
            made[features[:, indicator] == 1, k] = np.nan
        return made

    def matrix(self, features: FeatureRows | Array) -> Array:
        """Return the columns, float32 [N, C], of features that may be in a file."""
        return self.of(features) if isinstance(features, np.ndarray) else self.of_frame(features.frame()).to_numpy()

    @property
    def in_order(self) -> list[int | tuple[int, int]]:
        """The sources in the order of the columns in the graph: features, those that may be missing, groups."""
        return [*self._never_missing, *self._missing, *self.groups.values()]

    @property
    def places(self) -> Array:
        """The place of each column, [C], among those of the graph."""
        place = {source: k for k, source in enumerate(self.in_order)}
        return np.array([place[source] for source in self.sources], dtype=np.int64)

    @property
    def _never_missing(self) -> list[int]:
        return [s for k, s in enumerate(self.sources) if isinstance(s, int) and k not in self.missing]

    @property
    def _missing(self) -> dict[int, int]:
        """The indicator of each feature that may be missing."""
        return {s: self.missing[k] for k, s in enumerate(self.sources) if isinstance(s, int) and k in self.missing}

    def in_graph(self) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
        """Return the nodes, and their constants, that make the columns of features, ``in_order``."""
        if not self.groups and not self.missing:
            return [], {}
        nodes: list[onnx.NodeProto] = []
        tensors: dict[str, Array] = {"not a number": np.array([np.nan])}

        def gathered(places: Sequence[int], name: str) -> str:
            tensors[f"places of {name}"] = np.array(places, dtype=np.int64)
            nodes.append(helper.make_node("Gather", [FEATURES, f"places of {name}"], [name], axis=1))
            return name

        parts = [gathered(self._never_missing, "numbers")] if self._never_missing else []
        if missing := self._missing:
            filled, flags = gathered([*missing], "filled"), gathered([*missing.values()], "flags")
            nodes.append(helper.make_node("Cast", [flags], ["missing"], to=onnx.TensorProto.BOOL))
            nodes.append(helper.make_node("Where", ["missing", "not a number", filled], ["with missing"]))
            parts.append("with missing")
        if self.groups:
            grouped = gathered([k for group in self.groups.values() for k in range(*group)], "grouped")
            tensors["codes"] = self._codes()
            nodes.append(helper.make_node("MatMul", [grouped, "codes"], ["merged"]))
            parts.append("merged")
        nodes.append(helper.make_node("Concat", parts, [COLUMNS], axis=1))
        return nodes, tensors

    def _codes(self) -> Array:
        """The matrix that turns the features of all groups into the values of the groups."""
        sizes = [end - start for start, end in self.groups.values()]
        codes, first = np.zeros((sum(sizes), len(sizes))), 0
        for k, size in enumerate(sizes):
            codes[first : first + size, k] = np.arange(1, size + 1)
            first += size
        return codes

    def of_frame(self, features: pl.DataFrame) -> pl.DataFrame:
        """Return the columns, named ``Column_0``, ``Column_1`` …, of features in a data frame."""
        made = [pl.nth(source) if isinstance(source, int) else _code(*source) for source in self.sources]
        for k, indicator in self.missing.items():
            made[k] = pl.when(pl.nth(indicator).cast(pl.Boolean)).then(math.nan).otherwise(made[k]).cast(pl.Float32)
        named = [x.alias(f"Column_{k}") for k, x in enumerate(made)]
        return features.lazy().select(named).collect(engine="streaming")


def _code(start: int, end: int) -> pl.Expr:
    return pl.sum_horizontal(pl.nth(k).cast(pl.UInt16) * (k - start + 1) for k in range(start, end))
