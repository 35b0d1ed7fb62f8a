"""An ensemble: folds that honour the split, members chosen by out-of-fold predictions, one graph, a time limit."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from small_pipeline import inside
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.ml.artifacts import Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.models import ensemble_selection, ensemble_training
from when_ml_pipeline_meets_hydra.ml.models.ensemble import Ensemble, EnsembleParam
from when_ml_pipeline_meets_hydra.ml.models.ensemble_candidates import candidates
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress

SMALL = ("c=modeling", "modeling/model=ensemble", "modeling/param=small")
ALL = (*SMALL, "model.time_limit=null", "m_param.n_candidates=3", "m_param.folds=2")


def test_the_members_are_in_the_artifact_and_on_a_line_and_the_same_again() -> None:
    code, out, err = inside(*ALL)
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if " members of 3 models in " in line]
    first = run(ALL).artifact("modeling")
    again = run([*ALL, "force=[modeling]"]).artifact("modeling")
    assert isinstance(first, TrainedModel)
    assert isinstance(again, TrainedModel)
    members = json.loads((first.path / "members.json").read_text())
    for name in ("model.onnx", "members.json", "metrics.json"):
        assert (first.path / name).read_bytes() == (again.path / name).read_bytes(), name
    assert sum(member["weight"] for member in members) == pytest.approx(1)
    assert {"model", "weight", "loss", "varied", "hyperparameters"} == members[0].keys()
    assert members == sorted(members, key=lambda member: -member["weight"])
    for member in members:
        assert f"{member['model']} {member['weight']:.2f}" in line
    assert first.metrics["r2"] > 0.85
    assert sum(node.op_type == "Sum" for node in onnx.load(first.path / "model.onnx").graph.node) == 1


def test_a_time_limit_ends_the_training_but_not_before_the_first_member() -> None:
    start = time.monotonic()
    done = run([*SMALL, "model.time_limit=1", "m_param.n_candidates=1000", "preprocessing/dataset=wine"])
    model = done.artifact("modeling")
    assert isinstance(model, TrainedModel)
    assert model.metrics["accuracy"] > 0.85
    assert 1 <= len(json.loads((model.path / "members.json").read_text())) < 1000
    assert time.monotonic() - start < 120


def test_a_time_limit_is_a_number_of_seconds() -> None:
    code, _, err = inside(*SMALL, "model.time_limit=0")
    assert code == 2
    assert "model.time_limit=0: expected a number, 1 ≤ x ≤ 1000000 or null" in err


@pytest.mark.parametrize("in_time", [False, True])
def test_folds_are_like_the_split(in_time: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups stay together; of times, the newest rows are predicted by models of earlier ones."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, 120)
    features = rng.normal(size=(120, 3)).astype(np.float32)
    target = features[:, 0] + 0.1 * rng.normal(size=120)
    seen: list[Any] = []

    def keep(*arguments: Any, **named: Any) -> Any:
        seen.append(inner_folds(*arguments, **named))
        return seen[-1]

    monkeypatch.setattr(ensemble_training, "inner_folds", keep)
    model, param = Ensemble(time_limit=None), EnsembleParam(n_candidates=2, folds=3)
    apart = KeptApart(values=values, in_time=in_time)
    fitted: Any = model.fit(Task.REGRESSION, param, features, target, NoProgress(), apart=apart)
    (parts,) = seen
    assert len(parts) == (1 if in_time else 3)
    for train, held in parts:
        assert not set(values[train]) & set(values[held])
        assert not in_time or values[train].max() < values[held].min()
    assert np.corrcoef(fitted.predict(features), target)[0, 1] > 0.9


def test_the_better_models_get_the_weight_and_noise_gets_none() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=400)
    near = [(target + rng.normal(scale=0.3, size=400)).reshape(-1, 1) for _ in range(3)]
    far = [rng.normal(size=(400, 1)) for _ in range(3)]
    for models in ([*near, far[0]], [*near, *far, *near, *far]):
        found = ensemble_selection.weights(models, target, 50, 0)
        good = sum(w for w, m in zip(found, models, strict=True) if any(m is n for n in near))
        assert good == pytest.approx(found.sum()) == pytest.approx(1)
        mean = np.sum([w * m for w, m in zip(found, models, strict=True)], axis=0)
        assert ensemble_selection.loss_of(mean, target) < min(ensemble_selection.loss_of(m, target) for m in near)


def test_classes_are_chosen_by_the_log_loss_of_rows_that_all_models_predicted() -> None:
    target = np.array([0, 1] * 20)
    good = np.where(target[:, None] == np.arange(2), 0.9, 0.1)
    bad = 1 - good
    good[:4] = np.nan
    np.testing.assert_array_equal(ensemble_selection.weights([bad, good], target, 20, 0), [0, 1])
    assert ensemble_selection.loss_of(good, target) == pytest.approx(-np.log(0.9))


def test_candidates_are_the_same_for_a_seed_and_never_too_many() -> None:
    first, second, other = ([c.text for c in candidates(500, seed, 1, 30)] for seed in (0, 0, 1))
    assert first == second != other
    assert len(first) == 30
    assert "knn" not in " ".join(c.text for c in candidates(100_000, 0, 1, 12))


def test_a_model_of_two_classes_and_one_feature(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 1)).astype(np.float32)
    target = (features[:, 0] > 0).astype(np.int64) * 2  # no row has the class 1
    model, param = Ensemble(time_limit=None), EnsembleParam(n_candidates=3, folds=2)
    fitted: Any = model.fit(Task.CLASSIFICATION, param, features, target, NoProgress())
    assert fitted.classes_.tolist() == [0, 2]
    assert (fitted.predict(features) == target).mean() > 0.9
