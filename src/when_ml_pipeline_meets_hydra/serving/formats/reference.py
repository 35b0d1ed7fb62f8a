"""Distributions of the training data: ``training.json`` of a bundle."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Distribution, Summary
from when_ml_pipeline_meets_hydra.serving.formats.manifest import TRAINING, BundleRefused, Manifest

_summaries = TypeAdapter(Summary)


def read_summary(file: Path) -> Summary:
    """Read a summary that this package wrote."""
    return _summaries.validate_json(file.read_bytes())


def write_training(folder: Path, summary: Summary) -> None:
    """Write ``training.json``."""
    (folder / TRAINING).write_bytes(_summaries.dump_json(summary) + b"\n")


def read_training(folder: Path, manifest: Manifest) -> tuple[Summary, Distribution]:
    """Return the summary of the bundle in ``folder``, and the distribution of the predictions in it.

    Raises:
        BundleRefused: the file is missing or malformed, or does not match the model's inputs and prediction.
    """
    try:
        summary = read_summary(folder / TRAINING)
    except (OSError, ValidationError):
        raise BundleRefused(f"{TRAINING} cannot be read") from None
    kinds = {column.name: column.dtype.is_text for column in manifest.inputs}
    if {name: one.values is not None for name, one in summary.columns.items()} != kinds:
        raise BundleRefused(f"{TRAINING} does not match the manifest's inputs")
    if summary.prediction is None or (summary.prediction.values is not None) != (manifest.task is Task.CLASSIFICATION):
        raise BundleRefused(f"{TRAINING} does not match the manifest's predictions")
    return summary, summary.prediction
