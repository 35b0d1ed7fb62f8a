"""Columns of categories, merged from one-hot features: in training, and in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import polars as pl
from onnx import helper

from when_ml_pipeline_meets_hydra.ml.models.double_graph import COLUMNS, FEATURES

Array = np.ndarray[Any, Any]


class Columns:
    """The C columns that a model receives for F features: each ``one_hot`` group as one column, all others unchanged.

    The value of a group is the position, from 1, of the feature that is 1, or 0 if there is none. ``sources`` are the
    index of a feature, or the first and the end of a group, for each column; ``groups`` are only the groups.
    """

    def __init__(self, n_features: int, one_hot: Sequence[tuple[int, int]]) -> None:
        self.n_features = n_features
        grouped = {k for group in one_hot for k in range(*group)}
        alone = [k for k in range(n_features) if k not in grouped]
        self.sources: list[int | tuple[int, int]] = [*alone, *one_hot]
        if one_hot:
            # Each thread of LightGBM bins adjacent columns. Numbers take longest, so they are spread evenly, by
            # reversing the bits of their positions.
            order = sorted(range(len(self.sources)), key=lambda k: f"{k:b}"[::-1])
            self.sources = [self.sources[k] for k in order]
        self.groups = {k: source for k, source in enumerate(self.sources) if not isinstance(source, int)}

    def __len__(self) -> int:
        return len(self.sources)

    def of(self, features: Array) -> Array:
        """Return the columns, float32 [N, C], of features, float32 [N, F]."""
        if not self.groups:
            return features
        made = features.take([source if isinstance(source, int) else source[0] for source in self.sources], axis=1)
        for k, (start, end) in self.groups.items():
            made[:, k] = features[:, start:end] @ np.arange(1, end - start + 1, dtype=np.float32)
        return made

    @property
    def alone(self) -> list[int]:
        """The features that are in no group, in the order of their columns."""
        return [source for source in self.sources if isinstance(source, int)]

    def in_graph(self) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
        """Return the nodes, and their constants, that make columns of features: those in no group, then the groups."""
        if not self.groups:
            return [], {}
        grouped = [k for group in self.groups.values() for k in range(*group)]
        codes, start = np.zeros((len(grouped), len(self.groups))), 0
        for k, (first, end) in enumerate(self.groups.values()):
            codes[start : start + end - first, k] = np.arange(1, end - first + 1)
            start += end - first
        nodes = [
            helper.make_node("Gather", [FEATURES, "grouped"], ["in groups"], axis=1),
            helper.make_node("MatMul", ["in groups", "codes"], ["merged" if self.alone else COLUMNS]),
        ]
        tensors = {"grouped": np.array(grouped, dtype=np.int64), "codes": codes}
        if self.alone:
            nodes.append(helper.make_node("Gather", [FEATURES, "alone"], ["not in groups"], axis=1))
            nodes.append(helper.make_node("Concat", ["not in groups", "merged"], [COLUMNS], axis=1))
            tensors["alone"] = np.array(self.alone, dtype=np.int64)
        return nodes, tensors

    def of_frame(self, features: pl.DataFrame) -> pl.DataFrame:
        """Return the columns, named ``Column_0``, ``Column_1`` …, of features in a data frame."""
        made = [pl.nth(source) if isinstance(source, int) else _code(*source) for source in self.sources]
        named = [x.alias(f"Column_{k}") for k, x in enumerate(made)]
        return features.lazy().select(named).collect(engine="streaming")


def _code(start: int, end: int) -> pl.Expr:
    return pl.sum_horizontal(pl.nth(k).cast(pl.UInt16) * (k - start + 1) for k in range(start, end))
