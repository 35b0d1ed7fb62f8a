"""Stage analysis: a report on a trained model and its errors, as an HTML page and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.analyses.interface import Case, Finding, Page
from when_ml_pipeline_meets_hydra.contracts import Progress, agreed
from when_ml_pipeline_meets_hydra.deploy.stored_models.interface import own_predictions
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import Predicted, Report

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.inputs.stored_predictions import Array
    from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions


@agreed(own_predictions)
def report(
    page: Page,
    preprocessing: PreparedData,
    modeling: TrainedModel,
    prediction: Predicted,
    *,
    out: Path,
    progress: Progress,
) -> Report:
    """Write a report on a model and its predictions.

    Raises:
        StepFailed: no predicted row has a known target.
    """
    predicted, target = _known(prediction)
    case = Case(
        preprocessing=preprocessing, modeling=modeling, prediction=prediction, predicted=predicted, target=target
    )
    found = {name: analysis.find(case, progress) for name, analysis in page.sections.items()}
    findings = {name: finding for name, finding in found.items() if finding}
    title = page.title or f"{modeling.model} on {preprocessing.dataset}"
    _write(title, case, findings, out)
    left_out = [name for name, finding in found.items() if not finding]
    without = f" ({', '.join(left_out)}: nothing to say)" if left_out else ""
    print(f"{title}: {len(findings)} sections in report.html and report.json{without}")
    return Report(path=out, sections=tuple(findings))


def _known(prediction: Predicted) -> tuple[Predictions, Array]:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.inputs.stored_predictions import labelled_rows

    if not prediction.known:
        raise StepFailed(f"No row of {prediction.rows_of} has a known target, so nothing can be compared")
    _, predicted, target = labelled_rows(pl.read_parquet(prediction.path / "predictions.parquet"), prediction.classes)
    return predicted, target


def _write(title: str, case: Case, findings: Mapping[str, Finding], out: Path) -> None:
    from when_ml_pipeline_meets_hydra.analyses.page import render
    from when_ml_pipeline_meets_hydra.ml.training.decisions import described

    prediction, model = case.prediction, case.modeling
    without = prediction.rows - prediction.known
    about = (
        f"{prediction.known:,} rows ({prediction.rows_of}"
        f"{f', {without:,} more without a known target' if without else ''}); "
        f"trained on {case.preprocessing.rows_train:,} rows of {case.preprocessing.dataset} to predict "
        f"{case.preprocessing.target.name} ({case.task.value})"
    )
    if prediction.weight:
        about += f"; metrics weighted by {prediction.weight}, pictures not"
    if model.decision:
        about += f"; {described(model.decision, case.classes)}"
    baseline = model.baseline if prediction.held_out else {}
    content = {
        "title": title,
        "model": model.model,
        "dataset": case.preprocessing.dataset,
        "rows_of": prediction.rows_of,
        "rows": prediction.known,
        "metrics": dict(prediction.scores),
        "baseline": dict(baseline),
        "sections": [
            {"name": name, "title": f.title, "text": f.text, "numbers": f.numbers} for name, f in findings.items()
        ],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    footer = f"Made from the predictions {prediction.key[:12]} of the model {model.key[:12]}."
    page = render(title, about, prediction.scores, baseline, findings, footer)
    (out / "report.html").write_text(page, encoding="utf-8")
