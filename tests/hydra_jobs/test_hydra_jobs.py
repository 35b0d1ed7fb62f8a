"""HydraConfig, job folders, snapshots, callbacks and launchers, as people who know Hydra expect them to work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from conftest import HOME, Cli
from needed import need
from small_pipeline import inside, write
from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY
from when_ml_pipeline_meets_hydra.records.lookup import read_records
from when_ml_pipeline_meets_hydra.records.record import Record

HERE = """
import json, logging, os
from pathlib import Path
from typing import Any
from collections.abc import Mapping
from when_ml_pipeline_meets_hydra.contracts import Artifact

log = logging.getLogger("here")


def look(m_param: Mapping[str, Any], *, out: Path) -> Artifact:
    \"\"\"Write down what Hydra says about the job.\"\"\"
    from hydra.core.hydra_config import HydraConfig
    cfg = HydraConfig.get()
    log.info("looking around")
    log.debug("too much")
    found = {
        "num": cfg.job.num if cfg.mode.name == "MULTIRUN" else None,
        "mode": cfg.mode.name,
        "output_dir": cfg.runtime.output_dir,
        "choice": cfg.runtime.choices["modeling/param"],
        "overrides": list(cfg.overrides.task),
        "dirname": cfg.job.override_dirname,
        "cwd": os.getcwd(),
        "variable": os.environ.get("FROM_HYDRA"),
        "pid": os.getpid(),
    }
    (out / "found.json").write_text(json.dumps(found))
    if m_param.get("fails"):
        raise ValueError("as it was told")
    return Artifact(path=out)


class Tell:
    \"\"\"A callback that writes down what it is told.\"\"\"

    def __init__(self, file: str) -> None:
        self.file = file

    def _say(self, *words: Any) -> None:
        with open(self.file, "a") as stream:
            stream.write(" ".join(map(str, words)) + "\\n")

    def on_run_start(self, config: Any, **kw: Any) -> None:
        self._say("run_start", config.hydra.job.name)

    def on_run_end(self, config: Any, **kw: Any) -> None:
        self._say("run_end")

    def on_multirun_start(self, config: Any, **kw: Any) -> None:
        self._say("multirun_start")

    def on_multirun_end(self, config: Any, **kw: Any) -> None:
        self._say("multirun_end")

    def on_job_start(self, config: Any, **kw: Any) -> None:
        self._say("job_start", config.hydra.job.get("num", "-") if config.hydra.mode.name == "MULTIRUN" else "-")

    def on_job_end(self, config: Any, job_return: Any, **kw: Any) -> None:
        self._say("job_end", job_return.status.name, type(job_return._return_value).__name__)
"""
CONF = {
    "conf/c/modeling_sub/look.yaml": "# @package modeling_sub\n# Look around\n_target_: here.look\n",
    "conf/modeling/param/one.yaml": "# @package m_param\n# One\nsize: 1\n",
    "conf/modeling/param/two.yaml": "# @package m_param\n# Two\nsize: 2\n",
    "conf/hydra/callbacks/tell.yaml": "# @package hydra.callbacks\ntell:\n  _target_: here.Tell\n  file: told.txt\n",
}
LOOK = ("c=modeling", "c/modeling_sub=look")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {**CONF, "py/here.py": HERE})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "py"))
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    monkeypatch.setenv("WMH_PACKAGES", "here")
    sys.modules.pop("here", None)


@pytest.fixture
def conf(tmp_path: Path) -> str:
    return f"--config-dir={tmp_path / 'conf'}"


def found(own_home: Path) -> list[dict[str, Any]]:
    """What the steps saw, in the order of their parameters' names."""
    seen = [json.loads(f.read_text()) for f in (own_home / "store").glob("??/*/files/found.json")]
    return sorted(seen, key=lambda s: str(s["choice"]))


def last_run(own_home: Path) -> Path:
    return list(read_records(own_home))[-1].folder


LAUNCHERS = {
    "in process": (),
    "workers": ("hydra.launcher.n_jobs=2",),
    "basic": ("hydra/launcher=basic",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
}


@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS)
def test_a_step_sees_hydras_config_of_its_job(cli: Cli, conf: str, own_home: Path, launcher: tuple[str, ...]) -> None:
    if "hydra/launcher=joblib" in launcher:
        need("hydra_plugins.hydra_joblib_launcher")
    done = cli(*LOOK, "modeling/param=one,two", "--multirun", conf, *launcher)
    assert done.code == 0, done.err
    folder = last_run(own_home)
    for number, (name, seen) in enumerate(zip(("one", "two"), found(own_home), strict=True)):
        assert (seen["num"], seen["mode"], seen["choice"]) == (number, "MULTIRUN", name)
        assert seen["output_dir"] == str(folder / str(number))
        assert seen["cwd"] == str(Path.cwd()), "where the command was given, unless hydra.job.chdir says otherwise"
        assert f"modeling/param={name}" in seen["overrides"]
        assert f"modeling/param={name}" in seen["dirname"]
    assert len({seen["pid"] for seen in found(own_home)}) == (1 if launcher in ((), LAUNCHERS["basic"]) else 2)


def test_a_single_run_has_one_folder(conf: str, own_home: Path) -> None:
    assert inside(*LOOK, "modeling/param=one", conf).code == 0
    (seen,) = found(own_home)
    assert (seen["mode"], seen["output_dir"]) == ("RUN", str(last_run(own_home)))
    assert (last_run(own_home) / ".hydra" / "config.yaml").is_file()


def test_what_a_step_logs_is_shown_and_kept(cli: Cli, conf: str, own_home: Path) -> None:
    done = cli(*LOOK, "modeling/param=one,two", "--multirun", conf)
    assert done.out.count("[here][INFO] - looking around") == 2
    assert "too much" not in done.out
    assert "looking around" in (last_run(own_home) / "1" / "when_ml_pipeline_meets_hydra.log").read_text()
    verbose = cli(*LOOK, "modeling/param=one", "force=[modeling]", conf, "hydra.verbose=here")
    assert "[here][DEBUG] - too much" in verbose.out


def test_snapshots_say_what_was_composed(conf: str, own_home: Path) -> None:
    words = [*LOOK, "modeling/param=one,two", "+m_param.odd='[a, b]'", "cluster.pw=hunter2-hunter2"]
    done = inside(*words, "deployment/cluster=cluster_1", "--multirun", conf)
    assert done.code == 0, done.err
    folder = last_run(own_home) / "1" / ".hydra"
    names = ("config", "hydra", "overrides")
    config, hydra, overrides = (yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in names)
    assert config["m_param"] == {"size": 2, "odd": "[a, b]"}
    assert config["model_name"] == "${dataset.name}", "as it was written"
    assert config["cluster"]["pw"] == "**********"
    assert overrides[-2:] == ["cluster.pw=**********", "deployment/cluster=cluster_1"]
    assert hydra["hydra"]["overrides"]["task"] == overrides
    assert hydra["hydra"]["job"]["num"] == 1
    assert hydra["hydra"]["job"]["id"] == "1"
    assert hydra["hydra"]["runtime"]["choices"]["modeling/param"] == "two"
    assert hydra["hydra"]["runtime"]["output_dir"] == str(folder.parent)
    assert OmegaConf.load(folder / "hydra.yaml").hydra.sweep.subdir == 1, "which Hydra's own tools can read"
    multirun = yaml.safe_load((last_run(own_home) / "multirun.yaml").read_text())
    assert multirun["hydra"]["mode"] == "MULTIRUN"
    for file in last_run(own_home).rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes()


def test_a_job_with_no_overrides_has_snapshots(own_home: Path, conf: str, tmp_path: Path) -> None:
    write(tmp_path / "conf", {"experiment/x.yaml": "# @package _global_\n"})
    assert inside(*LOOK, "modeling/param=one", "hydra.output_subdir=null", conf).code == 0
    assert not (last_run(own_home) / ".hydra").exists()


def test_folders_go_where_hydra_is_told(conf: str, own_home: Path) -> None:
    words = ["hydra.sweep.dir=sweeps/${dataset.name}", "hydra.sweep.subdir=${hydra.job.override_dirname}"]
    assert inside(*LOOK, "modeling/param=one,two", "--multirun", conf, *words).code == 0
    names = sorted(p.name for p in Path("sweeps/cars").iterdir() if p.is_dir())
    assert names == [f"c/modeling_sub=look,c=modeling,modeling/param={n}".split("/")[0] for n in ("one",)]
    assert [s["output_dir"].startswith(str(Path("sweeps/cars").absolute())) for s in found(own_home)] == [True, True]
    assert inside(*LOOK, "modeling/param=one", conf, "force=[modeling]", "hydra.run.dir=single/${now:%Y}").code == 0
    assert len(list(Path("single").glob("20*/.hydra/config.yaml"))) == 1


@pytest.mark.parametrize("words", [("hydra.run.dir=same",), ("hydra.sweep.dir=same", "hydra.sweep.subdir=.", "-m")])
def test_a_folder_used_twice_has_the_configs_of_the_last_run(conf: str, own_home: Path, words: tuple[str, ...]) -> None:
    for option in ("two", "one", "two"):  # the last run computes nothing
        assert inside(*LOOK, f"modeling/param={option}", conf, *words).code == 0
        for name in ("overrides.yaml", "hydra.yaml"):
            assert f"modeling/param={option}" in (Path("same") / ".hydra" / name).read_text()
        config = yaml.safe_load((Path("same") / ".hydra" / "config.yaml").read_text())
        assert config["m_param"] == next(iter(Record(last_run(own_home)).configs()))[1]["m_param"]
    assert [f.name for f in Path("same").glob(".*")] == [".hydra"]
    assert not list(Path("same").glob("*.log")), "nor the log of another run"


def test_a_folder_that_cannot_be_worked_out_is_said(conf: str) -> None:
    done = inside(*LOOK, "modeling/param=one", conf, "hydra.run.dir=${nowhere}")
    assert (done.code, "hydra.run.dir" in done.err) == (2, True)


@pytest.mark.parametrize("launcher", ["local", "basic"])
def test_a_job_may_run_in_its_folder_with_variables(cli: Cli, conf: str, own_home: Path, launcher: str) -> None:
    words = ["hydra.job.chdir=true", "+hydra.job.env_set.FROM_HYDRA=${dataset.name}", f"hydra/launcher={launcher}"]
    assert cli(*LOOK, "modeling/param=one,two", "--multirun", conf, *words).code == 0
    seen = found(own_home)
    assert [s["cwd"] for s in seen] == [s["output_dir"] for s in seen]
    assert {s["variable"] for s in seen} == {"cars"}


def test_callbacks_are_told(conf: str) -> None:
    words = ["modeling/param=one,two", "++m_param.fails=false,true", "hydra/callbacks=tell"]
    assert inside(*LOOK, *words, "--multirun", conf).code == 1
    assert Path("told.txt").read_text().splitlines() == [
        "multirun_start",
        *("job_start 0", "job_end COMPLETED Artifact", "job_start 1", "job_end FAILED RuntimeError"),
        *("job_start 2", "job_end COMPLETED Artifact", "job_start 3", "job_end FAILED RuntimeError"),
        "multirun_end",
    ]
    Path("told.txt").unlink()
    assert inside(*LOOK, "modeling/param=one", "++m_param.fails=false", "hydra/callbacks=tell", conf).code == 0
    told = ["run_start when_ml_pipeline_meets_hydra", "job_start -", "job_end COMPLETED Artifact", "run_end"]
    assert Path("told.txt").read_text().splitlines() == told, "also of a job whose result was stored"


def test_a_launcher_that_is_not_there_is_said(conf: str) -> None:
    done = inside(*LOOK, "modeling/param=one,two", "--multirun", conf, "hydra/launcher=submitit_slurm")
    assert (done.code, "there is no such option" in done.err) == (2, True)
    done = inside(*LOOK, "modeling/param=one,two", "--multirun", conf, "hydra.launcher.n_jobs=0")
    assert (done.code, "hydra.launcher.n_jobs" in done.err) == (2, True)


def test_a_launcher_sees_no_secret(cli: Cli, conf: str, own_home: Path) -> None:
    need("hydra_plugins.hydra_joblib_launcher")
    words = ["deployment/cluster=cluster_1", "cluster.pw=hunter2-hunter2", "hydra/launcher=joblib"]
    done = cli(*LOOK, "modeling/param=one,two", *words, "--multirun", conf)
    assert done.code == 0, done.err
    assert "hunter2" not in done.out + done.err
    files = [f for f in own_home.rglob("*") if f.is_file() and f.name != "found.json"]  # which the step itself wrote
    assert not [f for f in files if b"hunter2" in f.read_bytes()]


APP = """
import hydra

@hydra.main(version_base=None, config_path="app", config_name="config")
def main(cfg):
    raise AssertionError("the stages' functions are called, not this one")

main()
"""


@pytest.mark.parametrize("sweeper", ["plan", "basic"])
def test_another_app_of_hydras_can_sweep_by_it(tmp_path: Path, own_home: Path, sweeper: str) -> None:
    """Its primary config names its own hyperparameters: Hydra 1.3 alone cannot include those of the chosen model."""
    primary = (PRIMARY / "config.yaml").read_text("utf-8").replace("modeling/param: medium", "modeling/param: one")
    write(tmp_path, {"app.py": APP, "app/config.yaml": primary})
    path = f"hydra.searchpath=[file://{PRIMARY},file://{tmp_path / 'conf'}]"
    words = ["c=modeling", "+c/modeling_sub=look", "modeling/param=one,two"]
    words += [path, f"hydra/sweeper={sweeper}", "hydra.sweep.dir=sweeps", "--multirun"]
    command = [sys.executable, str(tmp_path / "app.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [s["choice"] for s in found(own_home)] == ["one", "two"]
    assert len(list(read_records(own_home))) == (1 if sweeper == "plan" else 2)
    assert os.environ[HOME] == str(own_home)


def test_hydra_lists_the_plugins() -> None:
    shown = inside("--info", "plugins", "c=modeling").out
    assert "PlanSweeper" in shown
    assert "LocalLauncher" in shown


def test_configs_may_refer_to_hydras_own(conf: str, tmp_path: Path, own_home: Path) -> None:
    asks = "\n".join(
        f"{name}: ${{hydra:{key}}}"
        for name, key in {
            "choice": "runtime.choices.modeling/param",
            "number": "job.num",
            "cwd": "runtime.cwd",
            "words": "overrides.task",
            "folder_name": "job.override_dirname",
        }.items()
    )
    write(tmp_path / "conf", {"modeling/param/three.yaml": f"# @package m_param\n# Three\n{asks}\n"})
    words = (*LOOK, "modeling/param=three", "+m_param.x=5,6", "--multirun", conf, "--cfg", "job", "-p", "m_param")
    shown = list(yaml.safe_load_all(inside(*words, "--resolve").out.replace("# job", "---\n#")))
    assert [s["number"] for s in shown] == [0, 1]
    assert {s["choice"] for s in shown} == {"three"}
    assert {s["cwd"] for s in shown} == {str(Path.cwd())}
    assert shown[1]["words"] == ["c=modeling", "c/modeling_sub=look", "modeling/param=three", "+m_param.x=6"]
    assert shown[1]["folder_name"] == "+m_param.x=6,c/modeling_sub=look,c=modeling,modeling/param=three"
    assert "${hydra:job.num}" in inside(*words).out, "as it is written"


def test_the_folder_of_a_job_is_in_no_config(conf: str) -> None:
    done = inside(*LOOK, "modeling/param=one", "+m_param.place='${hydra:runtime.output_dir}'", conf)
    assert done.code == 2
    assert "m_param.place" in done.err
    assert "functions receive theirs as 'out'" in done.err


def test_cfg_tells_what_leads_nowhere(conf: str) -> None:
    done = inside(*LOOK, "modeling/param=one", "+m_param.place='${nowhere}'", conf, "--cfg", "job", "--resolve")
    assert (done.code, done.out) == (2, "")
    assert "m_param.place: Interpolation key 'nowhere' not found" in done.err


def test_cfg_shows_hydras_own_values(conf: str) -> None:
    done = inside(*LOOK, "modeling/param=one", conf, "hydra.run.dir=here", "--cfg", "hydra")
    hydra = yaml.safe_load(done.out)["hydra"]
    assert hydra["run"]["dir"] == "here"
    assert hydra["overrides"]["hydra"] == ["hydra.run.dir=here"]
    assert hydra["runtime"]["choices"]["modeling/param"] == "one"


@pytest.mark.parametrize(
    ("word", "told"),
    {
        "hydra.run.dir=/proc/nowhere": "hydra.run.dir=/proc/nowhere: nothing can be written there",
        "hydra.run.dir='${nowhere}'": "hydra.run.dir: cannot be resolved",
        "+hydra.job.env_set.X='${nowhere}'": "hydra.job.env_set.X: cannot be resolved",
        "+hydra.callbacks.x._target_=here.Tell": "hydra.callbacks: cannot be made",
    }.items(),
)
def test_what_is_wrong_with_hydras_part_leaves_nothing_behind(conf: str, own_home: Path, word: str, told: str) -> None:
    done = inside(*LOOK, "modeling/param=one", conf, word)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert not list((own_home / "runs").iterdir())


def test_variables_are_taken_along(conf: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HYDRA", "from where the command was given")
    words = ("hydra.job.env_copy=[FROM_HYDRA,NOT_SET]", "hydra.launcher.n_jobs=2", "+m_param.x=1,2", "--multirun")
    assert inside(*LOOK, "modeling/param=one", conf, *words).code == 0
    assert {seen["variable"] for seen in found(own_home)} == {"from where the command was given"}
