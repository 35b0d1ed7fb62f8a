"""The experiment that a job is."""

from __future__ import annotations

import json
from pathlib import Path

from when_ml_pipeline_meets_hydra import Artifact, frozen


@frozen
class Experiment(Artifact):
    """``experiment.json``: what it is called, and where it is kept."""

    name: str


def start(name: str, location: str, *, out: Path) -> Experiment:
    """Write down what the experiment is called, and where it is kept."""
    (out / "experiment.json").write_text(json.dumps({"name": name, "location": location}, indent=2) + "\n")
    print(f"experiment {name}")
    return Experiment(path=out, name=name)
