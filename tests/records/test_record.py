"""Records of runs, and the commands that read them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from conftest import PROGRAM
from small_pipeline import DIR, as_killed, inside, install, small, steps_run
from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode
from when_ml_pipeline_meets_hydra.records.lookup import find_record, read_records
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.records.record_files import new_folder


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def test_a_record_says_what_was_asked_for_and_what_came_of_it(own_home: Path) -> None:
    found = small("c=fit,ship", "knobs.rounds=3", multirun=True)
    content = found.record.content
    folder = own_home / "runs" / found.record.id
    head = json.loads((folder / "run.json").read_text())
    assert head.pop("sha256")
    assert head.items() <= content.items()
    for name in ("jobs", "steps"):
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        assert [{k: v for k, v in line.items() if k != "config"} for line in lines] == content[name]
    assert (content["status"], content["exit_code"]) == ("done", 0)
    assert content["overrides"] == ["c=fit,ship", "knobs.rounds=3"]
    assert content["multirun"] is True
    assert [(j["number"], j["stage"], j["overrides"]) for j in content["jobs"]] == [
        (0, "fit", ["c=fit", "knobs.rounds=3"]),
        (1, "ship", ["c=ship", "knobs.rounds=3"]),
    ]
    assert [(s["stage"], s["status"], s["reason"]) for s in content["steps"]] == [
        ("gather", "done", "new"),
        ("fit", "done", "new"),
        ("ship", "done", "always runs, since it acts on the outside world"),
    ]
    assert content["steps"][1]["metrics"] == {"height": 3.0, "rest": 0.0}
    assert found.metrics == {"fit.height": 3.0, "fit.rest": 0.0}
    assert content["seconds"] >= sum(s["seconds"] for s in content["steps"])
    assert {"python", "hydra-core", "pydantic", "when_ml_pipeline_meets_hydra"} <= content["versions"].keys()
    assert content["process"]["pid"] == os.getpid()
    assert content["folder"] == str(Path.cwd())


def test_a_record_has_the_whole_resolved_config_of_each_job(own_home: Path) -> None:
    found = small("c=ship", "target.name=at-${target.login.user}", "target.login.user=eve")
    config = found.record.config(0)
    assert config["target"] == {
        "name": "at-eve",
        "login": {"user": "eve", "phrase": "**********"},
        "hush": None,
        "mode": "say",
    }
    assert config["home"] == str(own_home)
    assert {"dataset", "model", "m_param", "cluster", "c"} <= config.keys()
    assert "hydra" not in config


def test_the_state_of_the_git_repository_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert small("c=gather").record.content["git"] is None
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.chdir(repository)
    (repository / "file").write_text("1")
    who = ["-c", "user.name=x", "-c", "user.email=x@x"]
    for words in (["init", "-q"], ["add", "file"], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    git = small("c=gather").record.content["git"]
    assert len(git["commit"]) == 40
    assert git["changed"] is False
    (repository / "file").write_text("2")
    assert small("c=gather").record.content["git"]["changed"] is True


def test_folders_never_meet_and_are_in_the_order_of_their_beginnings(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path), range(40)))
    assert len(set(folders)) == 40
    one_by_one = [new_folder(tmp_path) for _ in range(20)]
    assert one_by_one == sorted(one_by_one)


def test_the_last_run_is_the_last_one_in_any_time_zone(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # 14 hours ahead, 11 behind
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            found = small("c=gather")
            assert find_record(own_home, "last").id == found.record.id
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_what_is_not_a_run_is_passed_over(own_home: Path) -> None:
    found = small("c=gather")
    (own_home / "runs" / "killed-before-it-began").mkdir()
    (own_home / "runs" / "notes.txt").write_text("mine")
    assert [r.id for r in read_records(own_home)] == [found.record.id]


def test_a_run_is_found_by_a_part_of_its_id(own_home: Path) -> None:
    first, second = small("c=gather").record.id, small("c=gather").record.id
    assert find_record(own_home, "last").id == second
    assert find_record(own_home, first).id == first
    assert find_record(own_home, second[-5:]).id == second
    with pytest.raises(BadInput, match="several runs match"):
        find_record(own_home, first[:3])
    with pytest.raises(BadInput, match="there is no such run"):
        find_record(own_home, "nope")


def test_without_runs_there_is_no_last_one(own_home: Path) -> None:
    assert inside("runs", "list").code == 0
    code, _, err = inside("runs", "show", "last")
    assert code == ExitCode.BAD_INPUT
    assert "there is no such run" in err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_record_hides_no_other(own_home: Path, content: str) -> None:
    small("c=gather")
    (whole,) = read_records(own_home)
    damaged = own_home / "runs" / "20200101-000000-0000"
    damaged.mkdir()
    (damaged / "run.json").write_text(content)
    code, out, err = inside("runs", "list")
    assert (code, whole.id in out, err.count("this record is damaged")) == (0, True, 1)
    assert inside("runs", "show", "last").code == 0
    for words in (("show", damaged.name), ("rerun", damaged.name), ("compare", damaged.name, whole.id)):
        code, _, err = inside("runs", *words)
        assert (code, f"{damaged}/run.json: this record is damaged" in err) == (2, True), words


def test_a_killed_run_is_known_as_one() -> None:
    process = subprocess.Popen([PROGRAM, *DIR, "c=gather", "source.seconds=20"], stdout=-3, stderr=-3)
    while not steps_run():
        assert process.poll() is None, "it has ended before its step began"
        time.sleep(0.02)
    assert " running " in inside("runs", "list").out
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert " killed " in inside("runs", "list").out
    assert "status: killed" in inside("runs", "show", "last").out


def test_steps_that_ended_outlive_a_kill(own_home: Path) -> None:
    words = ["c=gather", "source.numbers=[1],[2],[3],[4]", "source.seconds=0.3", "--multirun"]
    process = subprocess.Popen([PROGRAM, *DIR, *words], stdout=-3, stderr=-3)
    while not (ended := [r.steps for r in read_records(own_home) if r.steps]):
        assert process.poll() is None, "it has ended before a step did"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (record,) = read_records(own_home)
    assert record.status == "killed"
    assert record.steps[: len(ended[0])] == ended[0]
    assert {s["status"] for s in record.steps} == {"done"}
    assert len(list(record.jobs())) == 4, "all jobs are noted before anything runs"


def test_a_line_that_a_kill_has_cut_is_passed_over() -> None:
    record = small("c=fit").record
    steps = as_killed(record)
    whole = steps.read_bytes()
    steps.write_bytes(whole[:-1])
    assert [s["stage"] for s in Record(record.folder).steps] == ["gather"]
    assert inside("runs", "show", "last").code == 0


def test_jobs_are_read_without_their_configs(own_home: Path) -> None:
    trap = ', "config": {'
    found = small("c=gather,fit", f"+words=['{trap}']", multirun=True).record
    jobs = list(found.jobs())
    assert [(j["number"], j["stage"], j["combination"]) for j in jobs] == [(0, "gather", 0), (1, "fit", 0)]
    assert all("config" not in j and trap in j["overrides"][-1] for j in jobs)
    assert [config["words"] for _, config in found.configs()] == [[trap], [trap]]
    assert [j["key"] for j in jobs] == [s["key"] for s in found.steps]


def test_what_jobs_share_is_written_as_each_of_them_has_it() -> None:
    """Also where an object of the same content, or the same object at another key, is masked in another way."""
    found = small("c=ship", "target.login.user=ada,eve", "knobs.rate=0.1,0.2", multirun=True).record
    configs = [c for _, c in found.configs()]
    rates = [(c["target"]["login"]["user"], c["knobs"]["rate"]) for c in configs]
    assert rates == [("ada", 0.1), ("ada", 0.2), ("eve", 0.1), ("eve", 0.2)]
    assert {c["target"]["login"]["phrase"] for c in configs} == {"**********"}
    assert [found.config(n) for n in range(4)] == configs


def test_a_secret_in_a_choice_of_combinations_stays_one_combination_each() -> None:
    found = small("c=fit,ship", "target.login.phrase=sesame-one,sesame-two", multirun=True).record
    assert [j["combination"] for j in found.jobs()] == [0, 1, 0, 1]
    assert "sesame" not in json.dumps([found.content, list(found.configs())])


def test_runs_show_of_many_jobs_shows_the_config_of_one() -> None:
    found = small("c=gather", f"source.numbers={','.join(f'[{n}]' for n in range(12))}", multirun=True).record
    shown = inside("runs", "show", "last").out
    assert shown.count("# config of job") == 1
    assert f"11 more jobs: runs show {found.id} --job N" in shown
    assert "- 11\n" in inside("runs", "show", "last", "--job", "11").out
    assert json.loads(inside("runs", "show", "last", "--job", "11", "--json").out)["source"]["numbers"] == [11]
    code, _, err = inside("runs", "show", "last", "--job", "12")
    assert code == ExitCode.BAD_INPUT
    assert "--job=12: the run has the jobs 0 to 11" in err


def test_runs_list_and_show() -> None:
    found = small("c=fit", "knobs.rounds=3")
    code, out, _ = inside("runs", "list")
    assert code == 0
    (line,) = [ln for ln in out.splitlines() if ln.startswith(found.record.id)]
    assert " done " in line
    assert line.endswith("fit.height=3 fit.rest=0")
    assert [r["id"] for r in json.loads(inside("runs", "list", "--json").out)] == [found.record.id]
    shown = inside("runs", "show", "last").out
    for text in ("requested: c=fit knobs.rounds=3", "gather run", "height=3 rest=0", "rounds: 3", "status: done"):
        assert text in shown
    content = json.loads(inside("runs", "show", found.record.id, "--json").out)
    assert content["configs"]["0"]["knobs"]["rounds"] == 3


def test_runs_show_names_the_log_of_what_failed() -> None:
    small("c=fit", "knobs.strict=true")
    shown = inside("runs", "show", "last").out
    assert "fit run: RuntimeError: total 6 is doubtful" in shown
    (log,) = [Path(ln.split("log: ")[1]) for ln in shown.splitlines() if "log: " in ln]
    assert "Traceback" in log.read_text()


def test_runs_diff_says_in_what_two_runs_differ() -> None:
    first, second = small("c=fit"), small("c=fit", "knobs.rate=0.25")
    code, out, _ = inside("runs", "diff", first.record.id, second.record.id)
    assert code == 0
    assert out.splitlines() == [
        "config of fit: knobs.rate 0.5 → 0.25",
        f"step fit run {first.outcomes[1].step.key[:12]} → {second.outcomes[1].step.key[:12]}",
        "metric fit.height 3.0 → 1.5",
    ]
    assert inside("runs", "diff", "last", "last").out == "no differences\n"


def test_runs_diff_of_sweeps_compares_job_by_job() -> None:
    first = small("c=fit", "knobs.rounds=1,2", multirun=True)
    second = small("c=fit", "knobs.rounds=1,3", multirun=True)
    out = inside("runs", "diff", first.record.id, second.record.id).out
    assert "config of fit (job 1): knobs.rounds 2 → 3" in out
    assert "(job 0)" not in out


def test_a_plan_leaves_no_record(own_home: Path) -> None:
    assert inside("plan", *DIR, "c=fit").code == 0
    assert not own_home.exists()


def test_yaml_keeps_the_order_of_keys() -> None:
    content = {"z": [1, {"y": None}], "a": "é"}
    assert dump_yaml(content) == "z:\n- 1\n- y: null\na: é\n"
    assert yaml.safe_load(dump_yaml(content)) == content
