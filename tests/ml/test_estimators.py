"""Any further estimator of scikit-learn: its parameters are keys, and what cannot be exported is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_pipeline import inside, write
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.ml.artifacts import Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.models.estimator import Estimator, EstimatorParam
from when_ml_pipeline_meets_hydra.ml.training.graph import exported_predictions, standardise
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress

SVR = ("c=modeling", "modeling/model=estimator", "estimator=sklearn.svm.SVR")


def test_parameters_are_keys_of_its_own_in_a_command_in_a_sweep_and_in_a_file(tmp_path: Path) -> None:
    usual, given = run(SVR), run([*SVR, "m_param.C=10", "m_param.kernel=rbf"])
    swept = run([*SVR, "m_param.C=1.0,10", "m_param.kernel=rbf"], multirun=True)
    found = [o.artifact.metrics for o in swept.outcomes if isinstance(o.artifact, TrainedModel)]
    assert sorted(f["r2"] for f in found) == sorted([usual.metrics["modeling.r2"], given.metrics["modeling.r2"]])
    files = {"modeling/param/firm.yaml": "# @package m_param\n# Firm\ndefaults: [medium, _self_]\nC: 10\n"}
    folder = write(tmp_path / "conf", files)
    code, out, err = inside("plan", *SVR, "modeling/param=firm", "m_param.kernel=rbf", "--config-dir", folder)
    assert code == 0, err
    assert "modeling train" in out
    assert "nothing changed" in out


def test_an_estimator_of_the_user_is_an_option_with_values_of_its_own(tmp_path: Path) -> None:
    model = (
        "# @package model\n# Support vectors\ndefaults: [estimator, _self_]\nname: svr\nestimator: sklearn.svm.SVR\n"
    )
    param = "# @package m_param\n# Usual\ndefaults: [/modeling/param/estimator/medium, _self_]\nC: 5.0\n"
    folder = write(tmp_path / "conf", {"modeling/model/svr.yaml": model, "modeling/param/svr/medium.yaml": param})
    code, out, err = inside("c=deployment", "modeling/model=svr", "m_param.epsilon=0.05", "--config-dir", folder)
    assert code == 0, err
    assert "svr on held-out rows: r2 0.9" in out
    assert "cars version 1 is active on local" in out


@pytest.mark.integration("xgboost")
def test_a_model_of_the_user_that_extends_xgboost_is_deployed(tmp_path: Path) -> None:
    model = "# @package model\n# Deep\ndefaults: [xgboost, _self_]\nname: deep\nmax_features: 1.0\n"
    param = "# @package m_param\n# Deep\ndefaults: [/modeling/param/xgboost/small, _self_]\nmax_depth: 8\n"
    folder = write(tmp_path / "conf", {"modeling/model/deep.yaml": model, "modeling/param/deep/small.yaml": param})
    words = ("modeling/model=deep", "modeling/param=small", "m_param.gamma=0.01", "--config-dir", folder)
    code, out, err = inside("c=deployment", *words)
    assert code == 0, err
    assert "deep on held-out rows: r2 0." in out
    assert "cars version 1 is active on local" in out


def test_help_shows_the_parameters_of_the_estimator_and_their_ranges() -> None:
    code, out, err = inside(*SVR, "m_param.C=3", "--help")
    assert code == 0, err
    assert "  m_param.C=3\n" in out
    assert "  m_param.epsilon=0.1   a float in the range [0.0, inf)\n" in out
    assert "_further_keys_" not in out
    assert "m_param.own" not in out
    code, out, err = inside("c=modeling", "modeling/model=estimator", "--help")
    assert code == 0, err
    assert "m_param.epsilon" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m_param.C=-1"], "m_param.C=-1: expected a float in the range (0.0, inf]"),
        (["m_param.kernel=cubic"], "m_param.kernel=cubic: expected a str among {'"),
        (["m_param.c=1"], "m_param.c: SVR has no such parameter"),
        (["m_param.c=1"], "Did you mean 'm_param.C'?"),
        (
            ["estimator=sklearn.linear_model.MultiTaskLasso"],
            "it cannot be trained on standardised numbers: For mono-task",
        ),
        (["estimator=sklearn.svm.SVC"], "model.estimator=sklearn.svm.SVC: the target holds numbers"),
        (["estimator=sklearn.svm.Svr"], "model.estimator=sklearn.svm.Svr: sklearn.svm has no such estimator"),
        (["estimator=sklearn.nothing.X"], "model.estimator=sklearn.nothing.X: there is no such module"),
        (["estimator=os.path.join"], "only estimators of scikit-learn may be named here"),
        (["estimator=sklearn.cluster.DBSCAN"], "it predicts nothing"),
        (
            ["estimator=sklearn.linear_model.PoissonRegressor"],
            "it cannot be trained on standardised numbers: Some value(s) of y are out",
        ),
        (
            ["estimator=sklearn.ensemble.VotingRegressor"],
            "m_param.estimators: VotingRegressor cannot be made without it",
        ),
        (["estimator=sklearn.kernel_ridge.KernelRidge"], "cannot be exported to ONNX in double precision: there is no"),
        (["estimator=sklearn.linear_model.Ridge", "m_param.random_state=1"], "it is set by seed"),
        (["estimator=null"], "model.estimator: a value is needed"),
    ],
)
def test_what_cannot_be_trained_or_exported_is_refused_before_anything_runs(words: list[str], message: str) -> None:
    code, out, err = inside(*SVR, *words)
    assert code == 2, out
    assert err.startswith("Nothing ran: ")
    assert message in err


def test_a_key_of_another_model_is_still_no_key() -> None:
    code, _, err = inside("c=modeling", "modeling/model=linear", "m_param.C=1")
    assert code == 2
    assert "m_param.C: there is no such key" in err


ESTIMATORS: list[tuple[str, dict[str, Any]]] = [
    ("sklearn.svm.SVR", {}),
    ("sklearn.svm.SVR", {"kernel": "poly", "degree": 2, "coef0": 1.0}),
    ("sklearn.svm.NuSVR", {"kernel": "sigmoid", "gamma": 0.1}),
    ("sklearn.svm.LinearSVR", {}),
    ("sklearn.linear_model.ElasticNet", {"alpha": 0.1}),
    ("sklearn.linear_model.BayesianRidge", {}),
    ("sklearn.neural_network.MLPRegressor", {"hidden_layer_sizes": [8, 4], "activation": "tanh", "max_iter": 50}),
    ("sklearn.tree.DecisionTreeRegressor", {"max_depth": 4}),
    ("sklearn.linear_model.LogisticRegression", {}),
    ("sklearn.linear_model.SGDClassifier", {"loss": "log_loss"}),
    ("sklearn.discriminant_analysis.LinearDiscriminantAnalysis", {}),
    ("sklearn.svm.SVC", {"C": 3.0}),
    ("sklearn.svm.LinearSVC", {}),
    ("sklearn.neural_network.MLPClassifier", {"hidden_layer_sizes": [8], "max_iter": 50}),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "own"), ESTIMATORS)
def test_graphs_predict_what_estimators_predict_of_any_row(name: str, own: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 4)).astype(np.float32)
    task = (
        Task.CLASSIFICATION
        if "lassifier" in name or "Logistic" in name or "Discr" in name or "SVC" in name
        else Task.REGRESSION
    )
    numbers = features[:, 0] + features[:, 1] ** 2 + 0.1 * rng.normal(size=200)
    model, param = Estimator(estimator=name), EstimatorParam(own=own)
    for classes in (2, 4) if task is Task.CLASSIFICATION else (0,):
        target = np.digitize(numbers, np.quantile(numbers, np.arange(1, classes) / classes)) if classes else numbers
        assert not list(model.refusals(param, task))
        fitted: Any = model.fit(task, param, features, target, NoProgress())
        graph = standardise(model.export(fitted, 4), 4, list(range(classes)) or None, classes)
        rows = np.concatenate((features, features * np.float32(30)))
        found = exported_predictions(graph.SerializeToString(), rows)
        if classes:
            assert found.probabilities is not None
            np.testing.assert_allclose(found.probabilities, fitted.predict_proba(rows), atol=1e-6)
        else:
            np.testing.assert_allclose(found.values, fitted.predict(rows), rtol=1e-9, atol=1e-9)
