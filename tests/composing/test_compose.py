"""Overrides → composed jobs, and where each value comes from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from small_pipeline import CONF, SMALL, inside, install, small_jobs, write
from when_ml_pipeline_meets_hydra.composing import override_grammar
from when_ml_pipeline_meets_hydra.composing.compose import compose, compose_with_problems
from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.composing.tree import (
    Stage,
    all_before,
    default_choices,
    folder_of,
    in_order,
    package_of,
    read_options,
    read_stages,
)
from when_ml_pipeline_meets_hydra.errors import did_you_mean


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def job(*overrides: str) -> Job:
    return small_jobs(*overrides).jobs[0]


def test_one_job_without_multirun() -> None:
    composed = small_jobs("c=fit", "knobs.rounds=3")
    (only,) = composed.jobs
    assert (only.stage, only.number) == ("fit", 0)
    assert only.config["knobs"] == {"rate": 0.5, "rounds": 3, "shape": "line", "strict": False}
    assert only.chosen["c/fit_sub"] == "run"
    assert only.values == ("knobs.rounds=3",)
    assert {"gather", "fit", "ship", "preprocessing", "modeling", "deployment"} < set(composed.stages)


def test_the_last_override_of_a_sweep_varies_fastest() -> None:
    jobs = small_jobs("knobs.rounds=1,2", "c=gather,fit", multirun=True).jobs
    assert [(j.config["knobs"]["rounds"], j.stage) for j in jobs] == [
        (1, "gather"),
        (1, "fit"),
        (2, "gather"),
        (2, "fit"),
    ]
    assert [j.number for j in jobs] == [0, 1, 2, 3]


def test_jobs_of_a_combination_differ_in_their_stage_only() -> None:
    jobs = small_jobs("knobs.rounds=1,2", "c=gather,fit", multirun=True).jobs
    assert jobs[0].combination == jobs[1].combination != jobs[2].combination == jobs[3].combination


def test_overrides_stay_as_they_were_typed() -> None:
    typed = ("c=fit", "source.seconds=${knobs.rate}", "+knobs.extra={a: 1}", "~knobs.strict")
    assert compose_with_problems(typed, config_dirs=[CONF]).jobs[0].overrides == typed


@pytest.mark.parametrize("line", ["gather/source=file", "+gather/source=file"])
def test_a_users_group_is_chosen_with_and_without_plus(line: str) -> None:
    found = job("c=gather", line, "source.path=numbers.txt")
    assert found.config["source"]["path"] == "numbers.txt"
    assert "seconds" not in found.config["source"], "nothing of the option that is the default stays"


def test_a_users_group_can_be_deleted() -> None:
    assert "source" not in job("c=gather", "~gather/source").config


def test_a_group_that_nobody_lists_is_added(tmp_path: Path) -> None:
    folder = write(tmp_path / "more", {"extra/size/big.yaml": "# @package size\nn: 9\n"})
    composed = compose(["c=gather", "extra/size=big"], config_dirs=[CONF, folder])
    assert composed.jobs[0].config["size"] == {"n": 9}


def test_a_sweep_over_a_users_group() -> None:
    jobs = small_jobs("c=gather", "gather/source=few,file", "++source.path=x", multirun=True).jobs
    assert [j.config["source"]["numbers"] for j in jobs] == [[1, 2, 3], [0]]


def test_a_sweep_by_glob() -> None:
    jobs = small_jobs("c=gather", "gather/source=glob(f*)", "++source.path=x", multirun=True).jobs
    assert [j.config["source"]["numbers"] for j in jobs] == [[1, 2, 3], [0]]


def test_what_has_no_value_is_a_fault_and_not_an_error() -> None:
    found = job("c=gather", "gather/source=file", "source.numbers=${oc.env:NO_SUCH_VARIABLE}")
    assert found.faults == {
        "source.path": "a value is needed",
        "source.numbers": "the environment variable NO_SUCH_VARIABLE is not set",
    }


def test_interpolations_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "bob")
    found = job("c=ship", "target.login.user=${oc.env:WHO}", "target.name=${target.login.user}s")
    assert (found.config["target"]["login"]["user"], found.config["target"]["name"]) == ("bob", "bobs")


def test_a_dict_sets_several_keys() -> None:
    assert job("c=ship", "target.login={user: eve}").config["target"]["login"]["user"] == "eve"


@pytest.mark.parametrize(
    ("key", "origin"),
    [
        ("knobs.rounds", "the override knobs.rounds=3"),
        ("knobs.rate", "fit/knobs/gentle.yaml, line 3"),
        ("target.login.user", "ship/target/board.yaml, line 5"),
        ("target.login", "ship/target/board.yaml, line 4"),
        ("source.numbers[1]", "the override source.numbers=[1,2]"),
        ("source.numbers", "the override source.numbers=[1,2]"),
        ("model_name", "config/config.yaml, line"),
        ("dataset.name", "config/preprocessing/dataset/cars.yaml, line"),
        ("gather_sub._target_", "c/gather_sub/run.yaml, line 5"),
    ],
)
def test_every_value_has_an_origin(key: str, origin: str) -> None:
    found = job("c=ship", "knobs.rounds=3", "source.numbers=[1,2]").origins.of(key)
    assert found is not None
    assert origin in found


def test_an_origin_is_relative_to_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SMALL)
    assert (
        compose(["c=fit"], config_dirs=["conf"]).jobs[0].origins.of("knobs.rate")
        == "conf/fit/knobs/gentle.yaml, line 3"
    )


def test_a_default_has_no_origin() -> None:
    assert job("c=gather", "gather/source=file", "source.path=x").origins.of("source.workers") is None


def test_an_origin_masks_what_looks_secret() -> None:
    found = job("c=ship", "deployment/cluster=cluster_1", "cluster.pw=hunter2")
    assert found.origins.of("cluster.pw") == "the override cluster.pw=**********"


@pytest.mark.parametrize("entry", ["hydra.searchpath=[{0}]", "hydra.searchpath=['file://{0}']", "hydra.searchpath={0}"])
def test_hydras_searchpath_finds_options_and_stages(entry: str) -> None:
    composed = compose(["c=ship", entry.format(CONF)])
    assert composed.jobs[0].stage == "ship"


def test_hydras_searchpath_finds_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "py" / "elsewhere"
    write(
        package,
        {"__init__.py": "", "conf/__init__.py": "", "conf/modeling/param/tiny.yaml": "# @package m_param\na: 1\n"},
    )
    monkeypatch.syspath_prepend(str(package.parent))
    composed = compose(["c=modeling", "modeling/param=tiny", "hydra.searchpath=[pkg://elsewhere.conf]"])
    assert composed.jobs[0].config["m_param"] == {"a": 1}
    assert (composed.jobs[0].origins.of("m_param.a") or "").endswith("conf/modeling/param/tiny.yaml, line 2")


def test_our_own_option_wins_over_one_of_the_same_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "more", {"modeling/param/param_1.yaml": "# @package m_param\nname: other\n"})
    assert (
        compose(["c=modeling", "modeling/param=param_1"], config_dirs=[folder]).jobs[0].config["m_param"]["name"]
        == "param_1"
    )


def test_an_option_file_chooses_the_launcher_unless_the_command_does(tmp_path: Path) -> None:
    file = "# @package _global_\n# X\ndefaults:\n  - override /hydra/launcher: metaflow\n"
    folder = write(tmp_path / "mine", {"experiment/mine.yaml": file})
    words = ["c=preprocessing", "experiment=mine"]
    assert compose(words, config_dirs=[folder]).hydra["launcher"]["system"] == "metaflow"
    chosen = compose([*words, "hydra/launcher=local"], config_dirs=[folder])
    assert "system" not in chosen.hydra["launcher"]


def test_an_option_file_that_changed_is_read_again(tmp_path: Path) -> None:
    for value in (1, 2, 30):
        folder = write(tmp_path / "more", {"modeling/param/mine.yaml": f"# @package m_param\na: {value}\n"})
        (found,) = compose(["c=modeling", "modeling/param=mine"], config_dirs=[folder]).jobs
        assert found.config["m_param"] == {"a": value}


def test_composing_again_with_other_values_starts_from_the_same_config() -> None:
    loader = small_jobs("c=fit").loader()
    first, second = loader.compose(["c=fit"]), loader.compose(["c=fit"])
    first.knobs.rounds = 77
    assert second.knobs.rounds == 10


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.lists(st.integers(5, 9), min_size=1, max_size=3))
def test_a_sweep_is_the_product_of_its_values(first: list[int], second: list[int]) -> None:
    lines = [f"a={','.join(map(str, first))}", f"b={','.join(map(str, second))}"]
    parsed = [override_grammar.parse(line) for line in lines]
    jobs = [[o.input_line for o in job] for job in override_grammar.expand(parsed)]
    assert jobs == [[f"a={a}", f"b={b}"] for a in first for b in second]


def stage(name: str, *after: str) -> Stage:
    return Stage(name=name, after=after)


def test_stages_come_in_the_order_of_what_they_need() -> None:
    found = in_order([stage("c", "b"), stage("b", "a"), stage("a")])
    assert [s.name for s in found] == ["a", "b", "c"]


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_stages_does_not_depend_on_that_of_the_files(names: list[str]) -> None:
    after = {"b": ("a",), "c": ("a", "b"), "d": ("nowhere",)}
    found = [s.name for s in in_order([stage(n, *after.get(n, ())) for n in names])]
    assert found.index("a") < found.index("b") < found.index("c")
    assert sorted(found) == ["a", "b", "c", "d"]


def test_circles_of_stages_end() -> None:
    circle = {"a": stage("a", "b"), "b": stage("b", "a")}
    assert {s.name for s in in_order(circle.values())} == {"a", "b"}
    assert set(all_before("a", circle)) == {"a", "b"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, Stage(name="x", subcommand="only")),
        ({"after": "a", "subcommand": "other"}, Stage(name="x", after=("a",), subcommand="other")),
        ({"after": ["a", "b"]}, Stage(name="x", after=("a", "b"), subcommand="only")),
        ({"after": 5}, Stage(name="x", after=("5",), subcommand="only")),
    ],
)
def test_a_stage_is_what_its_file_says(content: dict[str, object], expected: Stage) -> None:
    assert read_stages(["x"], lambda _: content, lambda _: ["only"]) == (expected,)


def test_a_stage_without_subcommands_and_help_are_none() -> None:
    assert read_stages(["x", "help"], lambda _: {}, lambda group: ["a"] if group == "c/help_sub" else []) == ()


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("# @package a.b\nx: 1\n", "a.b"),
        ("\n#  @package   a\n", "a"),
        ("# words\n# @package a\n", None),
        ("x: 1\n# @package a\n", None),
        ("", None),
    ],
)
def test_the_header_has_to_come_first(text: str, package: str | None) -> None:
    assert package_of(text) == package


def test_the_description_is_the_first_comment_that_is_no_header() -> None:
    options = read_options([CONF])
    assert options["gather/source"]["few"].description == "Three numbers"
    assert options["c"]["gather"].description == "Bring numbers together"
    assert options["gather/source"]["few"].package == "source"


def test_every_option_of_ours_has_a_header_and_a_description() -> None:
    for group, options in read_options().items():
        for option in options.values():
            assert option.description, option.file
            assert group == "c" or package_of(option.text()), option.file


def test_every_default_choice_exists() -> None:
    options = read_options()
    assert all(option in options[group] for group, option in default_choices().items())


@pytest.mark.parametrize(
    ("entry", "folder"),
    [("a/b", Path("a/b")), ("file:///a/b", Path("/a/b")), ("pkg://no_such_package.conf", None), ("store://x", None)],
)
def test_an_entry_of_the_searchpath_is_a_folder(entry: str, folder: Path | None) -> None:
    assert folder_of(entry) == folder


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("gradient_bosting", "Did you mean 'gradient_boosting'?"),
        ("zzz", "Allowed: gradient_boosting, linear"),
    ],
)
def test_close_matches(word: str, remedy: str) -> None:
    assert did_you_mean(word, ["linear", "gradient_boosting"]) == remedy


def test_yaml_is_read_as_omegaconf_reads_it(tmp_path: Path) -> None:
    """Numbers, dates, duplicate keys: the parser in C changes nothing."""
    text = (
        "a: 1e3\nb: 1_000\nc: .5\nd: 2026-11-21\ne: 0o7\nf: 010\ng: yes\nh: ~\ni: 1:30\nj: [x, {y: .inf}]\n"
        "k: |\n  two\n  lines\nl: 'it''s'\nm: &x {n: -0.0}\no: *x\np: null\n? q\n: 1.\n"
    )
    folder = write(tmp_path / "conf", {"modeling/param/odd.yaml": f"# @package m_param\n{text}"})
    (found,) = compose(["c=modeling", "modeling/param=odd"], config_dirs=[folder]).jobs
    assert repr(found.raw["m_param"]) == repr(OmegaConf.to_container(OmegaConf.create(text)))


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: [1\n", "a: b: c\n", "\ta: 1\n", "a: 'x\n"])
def test_a_file_that_is_not_yaml_is_reported(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path / "conf", {"modeling/param/odd.yaml": f"# @package m_param\n{text}"})
    (problem,) = compose_with_problems(["c=modeling", "modeling/param=odd"], config_dirs=[folder]).problems
    assert "its file cannot be read" in problem.message
    assert "odd.yaml, line" in str(problem.origin)


def test_defaults_lists_may_be_made_by_interpolation(tmp_path: Path) -> None:
    same = "# @package dataset\ndefaults: [/modeling/param@more: '${modeling/param}']\n"
    files = {
        "preprocessing/dataset/same.yaml": same,
        "modeling/param/one.yaml": "# @package m_param\nx: 1\n",
    }
    folder = write(tmp_path / "conf", files)
    words = ["c=modeling", "preprocessing/dataset=same", "modeling/param=one,param_1"]
    one, two = compose(words, multirun=True, config_dirs=[folder]).jobs
    assert one.config["dataset"]["more"] == {"x": 1}
    assert two.config["dataset"]["more"]["name"] == "param_1"


def test_hidden_files_and_links_to_nowhere_are_no_options(tmp_path: Path) -> None:
    folder = Path(write(tmp_path / "conf", {"modeling/param/mine.yaml": "# @package m_param\n# Mine\nx: 1\n"}))
    group = folder / "modeling" / "param"
    (group / ".#mine.yaml").symlink_to("ann@desk.42:1764331200")  # the lock of an editor
    (group / "._mine.yaml").write_bytes(b"\0\5\26\7")
    (group / "away.yaml").symlink_to("no_such_file.yaml")
    (group / "folder.yaml").mkdir()
    for words in (["--help"], ["c=modeling", "--help"]):
        done = inside(*words, "--config-dir", str(folder))
        assert (done.code, done.err) == (0, "")
        assert not re.search(r"\W#mine|\W_mine|away|folder\.", done.out)
    jobs = compose(["c=modeling", "modeling/param=glob(*)"], multirun=True, config_dirs=[str(folder)]).jobs
    names = {job.chosen["modeling/param"] for job in jobs}
    assert "mine" in names
    assert names.isdisjoint({".#mine", "._mine", "away", "folder"})


def test_a_file_that_a_config_has_twice_is_two_parts_of_it(tmp_path: Path) -> None:
    files = {
        "part/one.yaml": "inner: {x: 1}\n",
        "experiment/twice.yaml": "# @package _global_\ndefaults:\n  - /part@first: one\n  - /part@second: one\n",
    }
    job = compose(["experiment=twice", "first.inner.x=5"], config_dirs=[write(tmp_path / "conf", files)]).jobs[0]
    assert (job.config["first"], job.config["second"]) == ({"inner": {"x": 5}}, {"inner": {"x": 1}})


def test_names_of_the_same_place_are_suggested_before_others() -> None:
    allowed = ["modeling/model", "modeling/param", "modeling/metric", "preprocessing/split", "seed"]
    assert did_you_mean("modeling/modl", allowed) == "Did you mean 'modeling/model'?"
    assert str(did_you_mean("modelling/model", allowed)).startswith("Did you mean 'modeling/model' or ")
