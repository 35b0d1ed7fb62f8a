"""A job's config is what Hydra composes for it, however the jobs share their parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.types import RunMode
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from budget import costly
from small_pipeline import write
from when_ml_pipeline_meets_hydra.cache import compositions
from when_ml_pipeline_meets_hydra.composing import composed_before
from when_ml_pipeline_meets_hydra.composing.compose import compose, compose_with_problems
from when_ml_pipeline_meets_hydra.composing.config_loader import CompositionError, Loader
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job, Request

TREE = {
    # An option without a header, options that inherit, that reach into others, that have packages of two levels.
    "modeling/param/plain.yaml": "# @package m_param\nname: plain\nsize: 3\nlist: [1, {a: b}]\ndeep: {er: {x: 1}}\n",
    "modeling/param/follows.yaml": "# @package m_param\nname: ${model_name}_x\nsize: ${.a}\na: ${dataset.name}\n",
    "modeling/param/inherits.yaml": "# @package m_param\ndefaults: [plain]\nsize: 4\n",
    "modeling/param/extends.yaml": "# @package m_param\ndefaults: [small]\nsize: 5\n",
    "modeling/param/third.yaml": "# @package m_param\ndefaults: [_self_, inherits, follows]\ndeep: {er: {y: 2}}\n",
    "modeling/param/two/small.yaml": "# @package m_param\nsize: 6\nfrom: ${model.name}\n",
    "modeling/model/three.yaml": "# @package model\ndefaults: [two]\nname: three\n",
    "modeling/param/empty.yaml": "# @package m_param\n",
    "modeling/model/two.yaml": "# @package model\nname: two\npath: ${oc.env:NO_VARIABLE,/tmp}/${m_param.name}.bin\n",
    "modeling/model/nil.yaml": "# @package model\nname: ???\nalso: ${.name}\n",
    "preprocessing/dataset/reaches.yaml": "# @package _global_\ndataset: {name: reaches}\nmore: ${m_param.name}\n",
    "preprocessing/dataset/named.yaml": "# @package dataset\nname: named\nsame: ${..model.name}\n",
    "extra/deep/one.yaml": "# @package extra.deep\nn: 1\n",
    "extra/deep/two.yaml": "# @package extra.deep\nn: 2\nm: ${extra.deep.n}\n",
    "extra/wide/one.yaml": "# @package extra.wide\nn: ${extra.deep.n}\n",
    "extra/wide/two.yaml": "# @package extra.wide\nw: []\n",
    "experiment/good.yaml": (
        "# @package _global_\ndefaults:\n  - override /modeling/param: plain\nm_param: {size: 9}\n"
        "new: ${m_param.size}\n"
    ),
    "experiment/other.yaml": (
        "# @package _global_\ndefaults:\n  - override /modeling/model: two\nmodel: {name: mine}\n"
    ),
}

SWEEPS: dict[str, Sequence[str]] = {
    "c": ("preprocessing", "modeling", "deployment", "help"),
    "modeling/param": ("plain", "follows", "inherits", "third", "empty", "param_1", "medium", "small", "extends"),
    "modeling/model": ("two", "three", "nil", "model_1", "gradient_boosting", "'linear'"),
    "preprocessing/dataset": ("reaches", "named", "dataset_1"),
    "+extra/deep": ("one", "two"),
    "+extra/wide": ("one", "two"),
    "+experiment": ("good", "other"),
    "++m_param.size": ("1", "2.50", "null", "true", "'a b'", "${model_name}", "[1,2]", "{a: 1, b: [x]}"),
    "++m_param.deep.er": ("{y: 2}", "5", "${.er2}"),
    "model_name": ("x", "'${m_param.name}'", "1e-3", "''"),
    "dataset.name": ("q", "${m_param.name}"),
    "+added.key": ("1", "${dataset.name}", "${oc.env:NO_SUCH_VARIABLE,9}"),
    "~modeling/model": (),
    "~force": (),
    "model.name": ("y", "???"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write(tmp_path_factory.mktemp("tree"), TREE)
    time.sleep(1.1)  # files that have just changed are not trusted
    return folder


def by_hydra(loader: Loader, lines: Sequence[str]) -> tuple[Any, Any]:
    """What Hydra alone composes: as it is written, and resolved (None where it cannot be)."""
    cfg = loader.hydra_loader.load_configuration("config", list(lines), run_mode=RunMode.RUN)
    with open_dict(cfg):
        del cfg["hydra"]
    raw = OmegaConf.to_container(cfg, resolve=False)
    try:
        return raw, OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:
        return raw, None


def assert_same(job: Job, raw: Any, resolved: Any) -> None:
    assert (list(raw), raw) == (list(job.raw), job.raw)
    if resolved is not None:
        assert (resolved, job.faults) == (job.config, {})
    else:
        assert job.faults


def swept(choice: dict[str, list[str]]) -> list[str]:
    return [f"{key}={','.join(values)}" if values else key for key, values in choice.items()]


def values_of(key: str) -> st.SearchStrategy[list[str]]:
    values = SWEEPS[key]
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True) if values else st.just([])


keys = st.lists(st.sampled_from(sorted(SWEEPS)), max_size=4, unique=True)
choices = keys.flatmap(lambda names: st.fixed_dictionaries({name: values_of(name) for name in names}))


@costly(10)
@given(choice=choices)
def test_a_sweep_composes_what_hydra_composes(tree: str, choice: dict[str, list[str]]) -> None:
    composed = compose_with_problems(swept(choice), multirun=True, config_dirs=[tree])
    for job in composed.jobs:
        problems = [p for p in composed.problems if not p.jobs or job.number in p.jobs]
        try:
            found = by_hydra(composed.loader(), job.overrides)
        except CompositionError:
            assert problems
        else:
            if not problems:  # a few things that Hydra lets pass are refused here
                assert_same(job, *found)


@costly(10)
@given(choice=choices)
@example(choice={"modeling/param": ["follows", "empty"], "+added.key": ["${dataset.name}"], "~force": []})
def test_what_is_kept_of_a_sweep_reads_as_what_was_composed(tree: str, choice: dict[str, list[str]]) -> None:
    request = Request(overrides=tuple(swept(choice)), multirun=True, config_dirs=(tree,))
    composed = compositions.compose(request)
    cached = compositions.find(request)
    assert (cached is None) == bool(composed.problems)
    if cached:
        assert cached == composed
        for read, job in zip(cached.jobs, composed.jobs, strict=True):
            assert (list(read.config), read.overridden) == (list(job.config), job.overridden)
            assert repr(read.raw) == repr(job.raw)
        assert shared(cached) == shared(composed)


def shared(composed: Composed) -> list[list[int]]:
    """Which jobs share which part with which."""
    first: dict[int, int] = {}
    return [[first.setdefault(id(part), len(first)) for part in job.config.values()] for job in composed.jobs]


def test_a_big_sweep_composes_what_hydra_composes(tree: str) -> None:
    """All kinds of options at once, each job compared."""
    words = ["c=preprocessing,modeling", "modeling/param=plain,follows,inherits,empty"]
    more = ["modeling/model=two,nil,model_1", "+extra/deep=one,two", "++m_param.size=1,'${model.name}'"]
    composed = sweep(tree, *words, *more)
    assert len(composed.jobs) == 96
    for job in composed.jobs[::7]:
        assert_same(job, *by_hydra(composed.loader(), job.overrides))


def sweep(tree: str, *words: str) -> Composed:
    return compose(words, multirun=True, config_dirs=[tree])


def test_hydra_composes_once_for_each_shape_not_for_each_job(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[tuple[str, ...]] = []
    original = Loader._load

    def counted(self: Loader, choices: Sequence[str]) -> Any:
        composed.append(tuple(choices))
        return original(self, choices)

    monkeypatch.setattr(Loader, "_load", counted)
    monkeypatch.setattr(composed_before, "_KNOWN", {})
    words = ["modeling/param=plain,follows", "modeling/model=two,linear,model_1", "model_name=a,b,c"]
    assert len(sweep(tree, "c=preprocessing,modeling,deployment", *words).jobs) == 54
    assert len(composed) == 2, "the defaults, whose size depends on the model, and one for all combinations"
    composed.clear()
    composed_before._KNOWN.clear()
    assert len(sweep(tree, "c=modeling", "+extra/deep=one,two", "+extra/wide=one,two", *words).jobs) == 72
    assert len(composed) == 2 + 1, "a group that nothing names is composed once more"
    composed.clear()
    composed_before._KNOWN.clear()
    sizes = ["modeling/param=plain,small,large", *words[1:], "preprocessing/dataset=cars,wine"]
    assert len(sweep(tree, "c=preprocessing,modeling,deployment", *sizes).jobs) == 162
    assert len(composed) == 2 + 2 * 3, "a size has other content for each model"


def test_jobs_share_the_parts_in_which_they_do_not_differ(tree: str) -> None:
    one, two = sweep(tree, "c=modeling", "modeling/param=plain,follows").jobs
    assert one.config["dataset"] is two.config["dataset"]
    assert one.config["m_param"] is not two.config["m_param"]


def test_sweeps_with_the_same_tag_go_in_step(tree: str) -> None:
    pairs = ["modeling/param=tag(a,choice(plain,empty))", "modeling/model=tag(a,choice(two,nil))"]
    jobs = sweep(tree, *pairs, "c=modeling,deployment").jobs
    assert [(j.chosen["modeling/param"], j.chosen["modeling/model"], j.stage) for j in jobs] == [
        ("plain", "two", "modeling"),
        ("plain", "two", "deployment"),
        ("empty", "nil", "modeling"),
        ("empty", "nil", "deployment"),
    ]


def test_sweeps_in_step_are_equally_long(tree: str) -> None:
    words = ["modeling/param=tag(a,choice(plain,empty))", "++m_param.size=tag(a,range(3))", "c=modeling"]
    (problem,) = compose_with_problems(words, multirun=True, config_dirs=[tree]).problems
    assert "modeling/param has 2, m_param.size has 3" in problem.message


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.sweeper.params={modeling/param: 'small,large'}"],
        ["+experiment=swept"],
        ["hydra.sweeper.params={modeling/param: medium}", "modeling/param=small,large"],
    ],
)
def test_the_sweepers_params_are_swept(tmp_path: Path, words: list[str]) -> None:
    text = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      modeling/param: small,large\n"
    folder = write(tmp_path / "conf", {"experiment/swept.yaml": text})
    jobs = compose(["c=modeling", *words], multirun=True, config_dirs=[folder]).jobs
    assert [j.chosen["modeling/param"] for j in jobs] == ["small", "large"]
    assert len(compose(["c=modeling", *words[:1]], config_dirs=[folder]).jobs) == 1


def test_problems_are_reported_with_their_jobs(tree: str) -> None:
    words = ["c=modeling", "modeling/param=plain,follows", "m_param.list=[]"]
    (problem,) = compose_with_problems(words, multirun=True, config_dirs=[tree]).problems
    assert (problem.key, problem.jobs) == ("m_param.list", (1,))
    assert "(in job 1)" in str(problem)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hydra.launcher.n_jobs=1,2", "cannot be swept"),
        ("hydra/sweeper=basic", "only 'plan' does"),
        ("hydra.mode=MULTIRUN", "--multirun"),
        ("hydra.sweep.no_such=1", "there is no such key"),
        ("hydra/launcher=nowhere", "there is no such option"),
    ],
)
def test_hydras_own_config_is_checked(line: str, message: str) -> None:
    (problem,) = compose_with_problems(["c=modeling", line], multirun=True).problems
    assert message in str(problem)


def test_hydras_own_config_is_composed() -> None:
    composed = compose(["c=modeling", "hydra.launcher.n_jobs=3", "hydra.sweep.dir=somewhere"], multirun=True)
    assert (composed.hydra["launcher"]["n_jobs"], composed.hydra["sweep"]["dir"]) == (3, "somewhere")


@pytest.mark.parametrize("mark", [",", ";", "|", "%", ":", "."])
def test_a_single_mark_is_a_value(mark: str) -> None:
    """In quotes the grammar takes them, too; a shell removes these."""
    (job,) = compose(["c=modeling", f"+mark={mark}", f"+quoted='{mark}'"]).jobs
    assert (job.config["mark"], job.config["quoted"]) == (mark, mark)
