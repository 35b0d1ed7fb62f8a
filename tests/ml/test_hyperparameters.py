"""Each model has hyperparameters of its own: what ``modeling/param`` means depends on ``modeling/model``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from small_pipeline import inside, write
from when_ml_pipeline_meets_hydra import prepare
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.composing.tree import load_yaml, read_options, with_included
from when_ml_pipeline_meets_hydra.ml.models.gradient_boosting import GradientBoosting
from when_ml_pipeline_meets_hydra.ml.models.linear import LinearParam
from when_ml_pipeline_meets_hydra.ml.training.param import TrainingParam

MODELS = sorted(set(read_options()["modeling/model"]) - {"model_1", "model_2"})
MINE = {
    "modeling/model/variant.yaml": "# @package model\n# Lines\ndefaults: [linear]\nname: variant\n",
    "modeling/model/sized.yaml": "# @package model\n# Lines\ndefaults: [linear]\nname: sized\n",
    "modeling/param/sized/small.yaml": "# @package m_param\n# Mine\ndefaults: [/modeling/param/linear/small, _self_]\n"
    "alpha: 7.5\n",
    "modeling/model/plain.yaml": "# @package model\n# Trees\n"
    f"_target_: {GradientBoosting.__module__}.GradientBoosting\nname: plain\n",
    "modeling/param/gentle.yaml": "# @package m_param\n# Small, with another seed\ndefaults: [small]\nseed: 3\n",
}


def values(*words: str, multirun: bool = False, folder: str | None = None) -> list[Any]:
    """The validated hyperparameters of each job, in order of the plan."""
    plan = prepare(["c=modeling", *words], multirun=multirun, config_dirs=[folder] if folder else []).plan
    return [step.call.arguments["m_param"] for step in plan.steps if "m_param" in step.call.arguments]


def test_every_model_has_three_sizes_of_its_own() -> None:
    """All are bound to the class that the model takes, which has no other keys."""
    composed = compose(["c=modeling", f"modeling/model={','.join(MODELS)}", "modeling/param=large"], multirun=True)
    kinds = {job.chosen["modeling/model"]: job.config["m_param"]["_target_"] for job in composed.jobs}
    assert kinds.keys() == set(MODELS)
    assert all("seed" in job.config["m_param"] for job in composed.jobs)
    groups, texts = read_options(), set()
    for model, kind in kinds.items():
        for size in ("small", "medium", "large"):
            chosen = {"modeling/model": model}
            read: dict[str, Any] = {}
            for part in with_included(groups["modeling/param"][size], chosen, groups):
                read |= load_yaml(part.text())
            assert read["_target_"] == kind
            texts.add(str(read))
    assert len(texts) == 3 * len(set(kinds.values())), "no size is another one's"


def test_two_models_and_two_sizes_are_four_combinations() -> None:
    found = values("modeling/model=linear,gradient_boosting", "modeling/param=small,large", multirun=True)
    assert [type(v) for v in found] == [LinearParam, LinearParam, TrainingParam, TrainingParam]
    assert len(set(map(str, found))) == 4


@pytest.fixture
def mine(tmp_path: Path) -> str:
    return write(tmp_path / "conf", MINE)


def test_a_size_of_the_user_extends_ours_for_every_model(mine: str) -> None:
    (lines, trees) = values(
        "modeling/model=linear,gradient_boosting", "modeling/param=gentle", multirun=True, folder=mine
    )
    (usual,) = values("modeling/model=linear", "modeling/param=small")
    assert (lines.seed, lines.alpha, lines.knots) == (3, usual.alpha, usual.knots)
    assert (trees.seed, trees.n_estimators) == (3, 10)


def test_a_model_of_the_user_has_its_own_sizes_or_those_of_the_one_it_extends_or_the_usual_ones(mine: str) -> None:
    (sized,) = values("modeling/model=sized", "modeling/param=small", folder=mine)
    (rest,) = values("modeling/model=sized", folder=mine)
    (variant,) = values("modeling/model=variant", "modeling/param=small", "m_param.alpha=2", folder=mine)
    (plain,) = values("modeling/model=plain", "m_param.n_estimators=3", "modeling/param=large", folder=mine)
    assert (sized.alpha, rest.alpha, variant.alpha) == (7.5, None, 2)
    assert isinstance(rest, LinearParam)
    assert (type(plain), plain.n_estimators, plain.learning_rate) == (TrainingParam, 3, 0.04)


def test_the_origin_of_a_value_is_the_file_of_the_model(mine: str) -> None:
    (job,) = compose(["c=modeling", "modeling/model=sized", "modeling/param=small"], config_dirs=[mine]).jobs
    assert (job.origins.of("m_param.alpha") or "").endswith("modeling/param/sized/small.yaml, line 4")
    assert job.origins.of("m_param.knots") == "config/modeling/param/linear/small.yaml, line 7"


def test_help_shows_the_keys_of_the_model_alone() -> None:
    boosting = inside("modeling/model=lightgbm", "--help").out.partition("\nConfig\n")[0]
    lines = inside("modeling/model=linear", "modeling/param=small", "--help").out.partition("\nConfig\n")[0]
    assert "  m_param.num_leaves=16   a whole number, 2 ≤ x ≤ 131072\n" in boosting
    assert "m_param.alpha" not in boosting
    assert "  m_param.alpha=1.0   a number, 1e-09 ≤ x ≤ 1e+09 or null\n" in lines
    assert "m_param.num_leaves" not in lines
    assert "modeling/param/linear" not in inside("--help").out


def test_a_sweep_over_what_a_model_does_not_have_is_refused() -> None:
    code, _, err = inside("c=modeling", "modeling/model=linear,random_forest", "m_param.n_estimators=5,9", "--multirun")
    assert code == 2
    assert "m_param.n_estimators: there is no such key" in err
    assert "(modeling/param=medium of modeling/model=linear)" in err
    assert "m_param.n_estimators is a key of modeling/model=catboost and modeling/model=extra_trees" in err


def test_values_of_another_class_are_refused(tmp_path: Path) -> None:
    text = f"# @package m_param\n# Of trees\n_target_: {TrainingParam.__module__}.TrainingParam\n"
    folder = write(tmp_path / "conf", {"modeling/param/trees.yaml": text})
    code, _, err = inside("c=modeling", "modeling/model=linear", "modeling/param=trees", "--config-dir", folder)
    assert code == 2
    assert "m_param: these hyperparameters (TrainingParam) are not those of the model linear" in err
    assert "Files in modeling/param/linear (small.yaml, …) with _target_: " in err
