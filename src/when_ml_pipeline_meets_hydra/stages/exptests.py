"""Stage exptests: quality gates for a trained model."""

from __future__ import annotations

import json
from pathlib import Path

from when_ml_pipeline_meets_hydra.contracts import Progress, agreed
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, Gate, Gates
from when_ml_pipeline_meets_hydra.deploy.stored_models.interface import own_predictions
from when_ml_pipeline_meets_hydra.errors import PipelineError
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import Judgement, Predicted, Verdict


@agreed(own_predictions)
def check(
    gates: Gates,
    preprocessing: PreparedData,
    modeling: TrainedModel,
    prediction: Predicted,
    *,
    out: Path,
    progress: Progress,
) -> Verdict:
    """Evaluate every gate and write ``gates.json``.

    A model that fails a gate is refused: the step has failed, although its result is stored.
    """
    candidate = Candidate(preprocessing=preprocessing, modeling=modeling, prediction=prediction)
    judgements = []
    for done, (name, gate) in enumerate(gates.tests.items()):
        progress(done, len(gates.tests), name)
        judgements.append(_judged(name, gate, candidate))
    progress(len(gates.tests), len(gates.tests), "evaluated")
    verdict = Verdict(path=out, passed=all(j.passed for j in judgements), judgements=tuple(judgements))
    _write(verdict, out / "gates.json")
    _print(verdict)
    return verdict


def _judged(name: str, gate: Gate, candidate: Candidate) -> Judgement:
    try:
        result = gate.judge(candidate)
    except PipelineError as error:
        return Judgement(gate=name, passed=False, why=str(error))
    except Exception as error:  # a broken gate must neither pass a model nor hide the other gates
        return Judgement(gate=name, passed=False, why=f"it broke: {type(error).__name__}: {error}")
    return Judgement(gate=name, passed=result.passed, why=result.why, found=result.found, rows=result.rows)


def _write(verdict: Verdict, file: Path) -> None:
    keys = ("gate", "passed", "found", "rows", "why")
    gates = [{key: getattr(j, key) for key in keys} for j in verdict.judgements]
    text = json.dumps({"passed": verdict.passed, "gates": gates}, indent=2, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def _print(verdict: Verdict) -> None:
    width = max((len(j.gate) for j in verdict.judgements), default=0)
    for j in verdict.judgements:
        print(f"{'passed' if j.passed else 'FAILED'}  {j.gate:<{width}}  {j.why}")
    failed = len(verdict.failed)
    print(f"{len(verdict.judgements) - failed} of {len(verdict.judgements)} gates passed")
