"""Every option of every group: it has a description, composes, and binds with what it says it needs."""

from __future__ import annotations

import pytest

from option_words import OPTIONS, in_groups, set_up, words_for
from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.binding.secret_keys import try_locate
from when_ml_pipeline_meets_hydra.binding.signature import signature_of
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages
from when_ml_pipeline_meets_hydra.binding.validation import secret_keys
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.composing.tree import HELP, STAGES, Option
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.masking import is_secret_name


@pytest.fixture(autouse=True)
def _somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch)


@pytest.mark.parametrize("option", in_groups(OPTIONS))
def test_an_option_is_described_composes_and_binds(option: Option) -> None:
    assert option.description, f"{option.file} needs a description in its first comment line"
    if option.group == STAGES and option.name == HELP:
        with pytest.raises(BadInput, match="no stage is chosen"):
            bind(compose([f"{STAGES}={HELP}"]))
        return
    words = words_for(option)
    bound = bind(compose(words))
    (job, call), *more = bound.calls
    assert not more
    assert call.stage == job.stage
    # Where nobody said anything, secrets are told by their names alone.
    hints = {name: try_locate(node, allowed_packages()) for name, node in job.config.items()}
    hints = {**signature_of(call.function).parameters, **{name: hint for name, hint in hints.items() if hint}}
    assert all(is_secret_name(key) for name, hint in hints.items() for key in secret_keys(hint, name))


def test_what_an_option_needs_is_said() -> None:
    for chosen, key in {
        "preprocessing/dataset=csv": "dataset.path",
        "prediction/rows=csv": "new_rows.path",
        "deployment/cluster=http": "cluster.url",
        "+exptests/gate=metric": "gates.tests.metric.metric",
    }.items():
        stage = chosen.lstrip("+").partition("/")[0]
        with pytest.raises(BadInput) as refused:
            bind(compose([f"c={stage}", chosen]))
        (problem,) = (p for p in refused.value.problems if p.key == key)
        assert "a value is needed" in problem.message
        assert problem.remedy == f"Give it: {key}=…"
