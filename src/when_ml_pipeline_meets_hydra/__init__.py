"""Machine-learning pipelines in which every choice is a Hydra config group and every stage a command.

The public API of the package, for extensions and notebooks. Names are loaded on first use, so that
``import when_ml_pipeline_meets_hydra`` is fast.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Switches off what dependencies report to their makers. They read this when they are imported, also in other processes.
for _switch, _value in {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
}.items():
    os.environ.setdefault(_switch, _value)

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.analyses.interface import Analysis as Analysis
    from when_ml_pipeline_meets_hydra.analyses.interface import Case as Case
    from when_ml_pipeline_meets_hydra.analyses.interface import Finding as Finding
    from when_ml_pipeline_meets_hydra.analyses.interface import Picture as Picture
    from when_ml_pipeline_meets_hydra.analyses.interface import Table as Table
    from when_ml_pipeline_meets_hydra.contracts import Artifact as Artifact
    from when_ml_pipeline_meets_hydra.contracts import Called as Called
    from when_ml_pipeline_meets_hydra.contracts import Checked as Checked
    from when_ml_pipeline_meets_hydra.contracts import Chosen as Chosen
    from when_ml_pipeline_meets_hydra.contracts import Claim as Claim
    from when_ml_pipeline_meets_hydra.contracts import Each as Each
    from when_ml_pipeline_meets_hydra.contracts import Fingerprinted as Fingerprinted
    from when_ml_pipeline_meets_hydra.contracts import FromFiles as FromFiles
    from when_ml_pipeline_meets_hydra.contracts import NamedPath as NamedPath
    from when_ml_pipeline_meets_hydra.contracts import Progress as Progress
    from when_ml_pipeline_meets_hydra.contracts import Several as Several
    from when_ml_pipeline_meets_hydra.contracts import Unkeyed as Unkeyed
    from when_ml_pipeline_meets_hydra.contracts import Wanted as Wanted
    from when_ml_pipeline_meets_hydra.contracts import agreed as agreed
    from when_ml_pipeline_meets_hydra.contracts import agreed_with_data as agreed_with_data
    from when_ml_pipeline_meets_hydra.contracts import claims as claims
    from when_ml_pipeline_meets_hydra.contracts import effect as effect
    from when_ml_pipeline_meets_hydra.contracts import frozen as frozen
    from when_ml_pipeline_meets_hydra.contracts import preceded_by as preceded_by
    from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster as Cluster
    from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate as Candidate
    from when_ml_pipeline_meets_hydra.deploy.gates.interface import Gate as Gate
    from when_ml_pipeline_meets_hydra.deploy.gates.interface import GateResult as GateResult
    from when_ml_pipeline_meets_hydra.deploy.strategies.interface import Strategy as Strategy
    from when_ml_pipeline_meets_hydra.errors import BadInput as BadInput
    from when_ml_pipeline_meets_hydra.errors import ExitCode as ExitCode
    from when_ml_pipeline_meets_hydra.errors import PipelineError as PipelineError
    from when_ml_pipeline_meets_hydra.errors import Problem as Problem
    from when_ml_pipeline_meets_hydra.errors import Pruned as Pruned
    from when_ml_pipeline_meets_hydra.errors import Refused as Refused
    from when_ml_pipeline_meets_hydra.errors import StepFailed as StepFailed
    from when_ml_pipeline_meets_hydra.errors import did_you_mean as did_you_mean
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome as Outcome
    from when_ml_pipeline_meets_hydra.execution.outcomes import Status as Status
    from when_ml_pipeline_meets_hydra.execution.pruning import PartialScore as PartialScore
    from when_ml_pipeline_meets_hydra.execution.pruning import Pruner as Pruner
    from when_ml_pipeline_meets_hydra.ml.artifacts import Column as Column
    from when_ml_pipeline_meets_hydra.ml.artifacts import DType as DType
    from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData as PreparedData
    from when_ml_pipeline_meets_hydra.ml.artifacts import Task as Task
    from when_ml_pipeline_meets_hydra.ml.artifacts import TrainedModel as TrainedModel
    from when_ml_pipeline_meets_hydra.ml.connections.cursors import CursorSession as CursorSession
    from when_ml_pipeline_meets_hydra.ml.connections.interface import Connection as Connection
    from when_ml_pipeline_meets_hydra.ml.connections.interface import Session as Session
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset as Dataset
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows as RawRows
    from when_ml_pipeline_meets_hydra.ml.evaluation import PredictionIntervals as PredictionIntervals
    from when_ml_pipeline_meets_hydra.ml.evaluation import Validated as Validated
    from when_ml_pipeline_meets_hydra.ml.inputs.interface import Batch as Batch
    from when_ml_pipeline_meets_hydra.ml.inputs.interface import PredictionRows as PredictionRows
    from when_ml_pipeline_meets_hydra.ml.metrics.interface import Metric as Metric
    from when_ml_pipeline_meets_hydra.ml.metrics.interface import ScoredRows as ScoredRows
    from when_ml_pipeline_meets_hydra.ml.models.interface import Estimator as Estimator
    from when_ml_pipeline_meets_hydra.ml.models.interface import FeatureRows as FeatureRows
    from when_ml_pipeline_meets_hydra.ml.models.interface import Model as Model
    from when_ml_pipeline_meets_hydra.ml.models.network import InDim as InDim
    from when_ml_pipeline_meets_hydra.ml.models.network import Network as Network
    from when_ml_pipeline_meets_hydra.ml.models.sklearn_export import SklearnModel as SklearnModel
    from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold as Fold
    from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit as RowSplit
    from when_ml_pipeline_meets_hydra.ml.splits.interface import Separated as Separated
    from when_ml_pipeline_meets_hydra.ml.splits.interface import SplitRows as SplitRows
    from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Counts as Counts
    from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Threshold as Threshold
    from when_ml_pipeline_meets_hydra.ml.training.network_param import NetworkParam as NetworkParam
    from when_ml_pipeline_meets_hydra.ml.training.param import TrainingParam as TrainingParam
    from when_ml_pipeline_meets_hydra.ml.validation.interface import Validation as Validation
    from when_ml_pipeline_meets_hydra.orchestrators.run_step import StepFacts as StepFacts
    from when_ml_pipeline_meets_hydra.orchestrators.run_step import run_step as run_step
    from when_ml_pipeline_meets_hydra.pipeline import prepare as prepare
    from when_ml_pipeline_meets_hydra.pipeline import run as run
    from when_ml_pipeline_meets_hydra.planning.plan import Action as Action
    from when_ml_pipeline_meets_hydra.planning.plan import Plan as Plan
    from when_ml_pipeline_meets_hydra.planning.plan import Step as Step
    from when_ml_pipeline_meets_hydra.records.promise import promise_of as promise_of
    from when_ml_pipeline_meets_hydra.records.record import Record as Record
    from when_ml_pipeline_meets_hydra.runs import Prepared as Prepared
    from when_ml_pipeline_meets_hydra.runs import Run as Run
    from when_ml_pipeline_meets_hydra.runs import RunObserver as RunObserver
    from when_ml_pipeline_meets_hydra.searching.search import search as search

# Module → exported names; equal to the imports above, which only type checkers read.
_EXPORTS = {
    "analyses.interface": ("Analysis", "Case", "Finding", "Picture", "Table"),
    "contracts": (
        *("Artifact", "Called", "Checked", "Chosen", "Claim", "Each", "Fingerprinted", "FromFiles", "NamedPath"),
        *("Progress", "Several", "Unkeyed", "Wanted", "agreed", "agreed_with_data", "claims", "effect", "frozen"),
        "preceded_by",
    ),
    "deploy.clusters.interface": ("Cluster",),
    "deploy.gates.interface": ("Candidate", "Gate", "GateResult"),
    "deploy.strategies.interface": ("Strategy",),
    "errors": ("BadInput", "ExitCode", "PipelineError", "Problem", "Pruned", "Refused", "StepFailed", "did_you_mean"),
    "execution.outcomes": ("Outcome", "Status"),
    "execution.pruning": ("PartialScore", "Pruner"),
    "ml.artifacts": ("Column", "DType", "PreparedData", "Task", "TrainedModel"),
    "ml.connections.cursors": ("CursorSession",),
    "ml.connections.interface": ("Connection", "Session"),
    "ml.datasets.interface": ("Dataset", "RawRows"),
    "ml.evaluation": ("PredictionIntervals", "Validated"),
    "ml.inputs.interface": ("Batch", "PredictionRows"),
    "ml.metrics.interface": ("Metric", "ScoredRows"),
    "ml.models.interface": ("Estimator", "FeatureRows", "Model"),
    "ml.models.network": ("InDim", "Network"),
    "ml.models.sklearn_export": ("SklearnModel",),
    "ml.splits.folds": ("Fold",),
    "ml.splits.interface": ("RowSplit", "Separated", "SplitRows"),
    "ml.thresholds.interface": ("Counts", "Threshold"),
    "ml.training.network_param": ("NetworkParam",),
    "ml.training.param": ("TrainingParam",),
    "ml.validation.interface": ("Validation",),
    "orchestrators.run_step": ("StepFacts", "run_step"),
    "pipeline": ("prepare", "run"),
    "planning.plan": ("Action", "Plan", "Step"),
    "records.promise": ("promise_of",),
    "records.record": ("Record",),
    "runs": ("Prepared", "Run", "RunObserver"),
    "searching.search": ("search",),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
