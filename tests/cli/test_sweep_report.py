"""The output of a sweep: on a terminal, in a pipe, as JSON lines, and its summary."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from itertools import pairwise, takewhile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from rich.progress import Task, TaskID

from conftest import PROGRAM, Cli, Finished
from small_pipeline import CONF, DIR, inside, install, small, write
from terminal import Terminal
from when_ml_pipeline_meets_hydra.cli.output.live import seconds_left
from when_ml_pipeline_meets_hydra.errors import ExitCode

SECRET = "s3cret-Xy.z+9"
RATES = ",".join(f"0.{n:03}" for n in range(1, 101))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def table_of(err: str) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the table at the end of a sweep."""
    lines = err.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("jobs  "))
    rows = takewhile(lambda line: re.match(r"[\d,-]+  ", line), lines[begin + 1 :])
    return lines[begin].split(), [row.split() for row in rows]


# --- In a pipe


def test_a_sweep_of_two_hundred_in_a_pipe(cli: Cli) -> None:
    words = (f"knobs.rate={RATES}", "knobs.strict=false,true", "objective={metric: height, direction: maximize}")
    code, out, err = cli(*DIR, "c=fit", *words, "--multirun")
    assert code == ExitCode.STEP_FAILED
    assert "\x1b" not in out + err
    lines = out.splitlines()
    assert lines[0] == "Launching 200 jobs locally"
    jobs = [re.match(r"\t#(\d+) : c=fit knobs.rate=(\S+) knobs.strict=(\w+)", line) for line in lines]
    assert [int(j[1]) for j in jobs if j] == list(range(200)), "the job lines come in order"
    assert lines.count("fitted a line") == 100
    assert sum(line.startswith("fit run: done") for line in err.splitlines()) == 100
    columns, rows = table_of(err)
    assert columns == ["jobs", "rate", "strict", "gather", "fit", "height", "rest"]
    assert [row[1] for row in rows[:20]] == [f"{0.1 - n / 1000:g}" for n in range(20)], "the best first"
    assert [row[2:5] for row in rows[20:]] == [["true", "done", "failed"]] * 20, "and some of those that failed"
    assert "40 of 200 combinations, sorted by height, maximize; all of them: runs compare 2" in err
    assert err.count("\nfit run failed: RuntimeError: total 6 is doubtful") == 20
    assert "80 more failures: runs show 2" in err
    for line in [line for line in err.splitlines() if line.startswith("  log: ")]:
        assert "Traceback" in Path(line.removeprefix("  log: ")).read_text()


def test_small_values_may_be_the_best_ones() -> None:
    words = ("knobs.rate=0.2,0.1,0.3", "objective={metric: fit.height, direction: minimize}")
    _, rows = table_of(inside(*DIR, "c=fit", *words, "--multirun").err)
    assert [row[1] for row in rows] == ["0.1", "0.2", "0.3"]


def test_without_an_objective_combinations_are_in_the_order_of_their_jobs() -> None:
    err = inside(*DIR, "c=gather,fit", "knobs.rate=0.2,0.1,0.3", "--multirun").err
    columns, rows = table_of(err)
    assert columns == ["jobs", "rate", "gather", "fit", "height", "rest"], "the stage is no difference"
    assert [row[:2] for row in rows] == [["0,3", "0.2"], ["1,4", "0.1"], ["2,5", "0.3"]]
    assert "sorted" not in err


def test_an_unknown_metric_is_a_note_that_names_those_there_are() -> None:
    objective = "objective={metric: hite, direction: maximize}"
    code, _, err = inside(*DIR, "c=fit", "knobs.rate=0.1,0.2", objective, "--multirun")
    assert code == ExitCode.DONE
    assert "Note: not sorted by objective.metric=fit.hite: there is no such metric." in err
    assert "height" in err.splitlines()[-1]


def test_an_objective_that_is_none_is_bad_input() -> None:
    words = ("objective.direction=up", "objective.metric={a: r2}")
    code, _, err = inside(*DIR, "c=fit", *words)
    assert code == ExitCode.BAD_INPUT
    assert "objective.direction=up: expected one of maximize, minimize or a list or null" in err
    assert "objective.metric: expected a text or a list or null" in err


def test_skipped_steps_and_what_they_wait_for_are_in_the_row(own_home: Path) -> None:
    err = inside(*DIR, "c=fit,ship", "knobs.strict=false,true", "--multirun").err
    columns, rows = table_of(err)
    assert columns == ["jobs", "strict", "gather", "fit", "ship", "height", "rest"]
    assert rows == [["0,2", "false", "done", "done", "done", "3", "0"], ["1,3", "true", "done", "failed", "skipped"]]
    assert err.count("total 6 is doubtful") == 2, "once when it happened, once at the end"


def test_one_combination_has_no_table() -> None:
    err = inside(*DIR, "c=gather,fit", "--multirun").err
    assert "jobs  " not in err
    assert err.splitlines()[-1].endswith(": 2 done")


def test_a_swept_secret_is_masked_in_the_table() -> None:
    words = (f"target.login.phrase={SECRET},{SECRET}2", "knobs.rate=0.1,0.2", "show_secrets=true")
    err = inside(*DIR, "c=ship", *words, "--multirun").err
    assert SECRET not in err
    assert len(table_of(err)[1]) == 4


def test_options_are_called_by_their_names(tmp_path: Path) -> None:
    more = write(tmp_path / "more", {"fit/knobs/quick.yaml": "# @package knobs\n# Q\nrate: 0.9\nrounds: 1\n"})
    words = ("fit/knobs=gentle,quick", "--config-dir", more, "--multirun")
    columns, rows = table_of(inside(*DIR, "c=fit", *words).err)
    assert columns[1] == "knobs"
    assert [row[1] for row in rows] == ["gentle", "quick"]


# --- On a terminal


def test_a_live_view_shows_what_is_going_on_and_leaves_a_quiet_screen() -> None:
    words = ("c=fit", "source.numbers=[1],[2],[3]", "source.seconds=0.4", "--multirun")
    seen = Terminal(*DIR, *words)
    seen.read_until(lambda t: "1 running" in t.text and re.search(r"about 0:\d\d left", t.text) is not None)
    assert re.search(r"^#\d gather run: writing +\S+ +\d+% 0:0\d$", seen.text, re.MULTILINE), seen.text
    assert re.search(r"^\d of 6 steps .* \d+% 0:0\d$", seen.text, re.MULTILINE), seen.text
    assert "queued" in seen.lines[-1]
    assert "left" in seen.lines[-1]
    assert seen.screen.cursor.hidden
    assert seen.finish() == ExitCode.DONE
    assert not seen.screen.cursor.hidden
    lines = seen.lines
    assert lines[0] == "Launching 3 jobs locally"
    begin = lines.index("        #1 : c=fit source.numbers=[2] source.seconds=0.4")
    assert lines[begin + 1].startswith("gather run: done in 1."), "the job's line, then its steps, as in a pipe"
    assert lines[begin + 2] == "fitted a line"
    assert not [line for line in lines if "running" in line or "queued" in line or "of 6 steps" in line]
    assert [line.split() for line in lines[-3:]] == [
        [str(n), f"[{n + 1}]", "done", "done", f"{(n + 1) / 2:g}", "0"] for n in range(3)
    ]


def test_stdout_of_a_terminal_run_may_lead_elsewhere(tmp_path: Path) -> None:
    words = (*DIR, "c=fit", "knobs.rate=0.1,0.2", "--multirun")
    file = tmp_path / "out.txt"
    seen = Terminal(*words, stdout=file)
    assert seen.finish() == ExitCode.DONE
    assert "fitted" not in seen.text
    assert "#0" not in seen.text
    without_ids = [re.sub(r"\d{8}-\d{6}-\d{4}", "ID", text) for text in (file.read_text(), inside(*words).out)]
    assert without_ids[0].replace("fitted a line\n", "") == without_ids[1]
    assert without_ids[0].count("fitted a line\n") == 2


def test_many_stored_steps_are_counted_on_a_terminal() -> None:
    words = (*DIR, "c=fit", f"knobs.rate={RATES}", "--multirun")
    small("c=fit", f"knobs.rate={RATES}", multirun=True)
    seen = Terminal(*words, lines=300)
    assert seen.finish() == ExitCode.DONE
    assert "stored (" not in seen.text
    assert any(line.endswith(": 101 stored") for line in seen.lines)
    assert "20 of 100 combinations; all of them: runs compare" in seen.text


def test_the_output_of_steps_that_run_at_once_is_prefixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = write(
        tmp_path / "conf",
        {
            "c/talk.yaml": "# Talk\nname: talk\nsubcommand: run\n",
            "c/talk_sub/run.yaml": "# @package talk_sub\n# Talk\n_target_: talking.talk\n",
            "talk.yaml": "",
        },
    )
    code = """
        import time
        from pathlib import Path

        def talk(word: str, meeting: str, pw: str, *, progress) -> None:
            Path(meeting, word).touch()
            progress(1, 3, f"knows {pw}")
            while len(list(Path(meeting).iterdir())) < 2:
                time.sleep(0.01)
            print(f"{word} and\\n{word}", flush=True)
            time.sleep(1)
    """
    write(tmp_path / "code", {"talking.py": dedent(code)})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    monkeypatch.setenv("WMH_PACKAGES", "talking")
    (tmp_path / "meeting").mkdir()
    words = ("c=talk", "+word=one,two", f"+meeting={tmp_path / 'meeting'}", f"+pw={SECRET}", "hydra.launcher.n_jobs=2")
    seen = Terminal("--config-dir", conf, *words, "--multirun")
    seen.read_until(lambda t: "2 running" in t.text and t.text.count("33%") == 2)
    assert {line.split()[0] for line in seen.lines if " talk run: knows ********** " in line} == {"#0", "#1"}
    assert SECRET.encode() not in seen.raw
    assert seen.finish() == ExitCode.DONE
    for number, word in enumerate(("one", "two")):
        printed = [line for line in seen.lines if line.startswith(f"#{number} talk run │")]
        assert printed == [f"#{number} talk run │ {word} and", f"#{number} talk run │ {word}"]
        assert any(line.startswith(f"#{number} talk run: done in ") for line in seen.lines)


def test_one_step_shows_its_progress_only() -> None:
    seen = Terminal(*DIR, "c=gather", "source.seconds=0.3")
    seen.read_until(lambda t: "33%" in t.text)
    assert seen.lines[-2] == "gather run: new"
    assert seen.lines[-1].startswith("gather run: writing")
    assert seen.finish() == ExitCode.DONE
    assert [line.startswith(("gather run", "run ")) for line in seen.lines] == [True, True, True]


def test_an_interrupted_run_gives_the_terminal_back() -> None:
    seen = Terminal(*DIR, "c=fit", "source.numbers=[1],[2]", "source.seconds=20", "--multirun")
    seen.read_until(lambda t: "1 running" in t.text)
    seen.press(b"\x03")
    assert seen.finish() == ExitCode.INTERRUPTED
    assert not seen.screen.cursor.hidden
    assert "the same command continues from there." in seen.text
    assert "running" not in seen.text


def test_bad_input_on_a_terminal_leaves_it_as_it_was() -> None:
    seen = Terminal(*DIR, "c=fit", "knobs.rate=7")
    assert seen.finish() == ExitCode.BAD_INPUT
    assert "knobs.rate=7" in seen.text
    assert not seen.screen.cursor.hidden


def test_a_narrow_and_low_window_is_enough() -> None:
    words = ("c=fit", "source.numbers=[1],[2],[3]", "source.seconds=0.2", "--multirun")
    seen = Terminal(*DIR, *words, columns=40, lines=8)
    seen.read_until(lambda t: "running" in t.text)
    assert len(seen.lines) <= 8
    assert seen.finish() == ExitCode.DONE
    assert not [line for line in seen.lines if "running" in line]


@pytest.mark.parametrize(
    ("queued", "running", "lanes", "left"),
    [
        ({}, [], 1, 0),
        ({"train": 3}, [], 1, 30),
        ({"train": 3}, [], 2, 15),
        ({"train": 3, "push": 1}, [], 1, None),
        ({"train": 1}, [("train", 4, None)], 1, 16),
        ({"train": 1}, [("train", 25, None)], 1, 10),
        ({}, [("push", 4, None)], 1, None),
        ({}, [("push", 4, 0.25)], 1, 12),
        ({"push": 0}, [], 1, 0),
    ],
)
def test_remaining_time_follows_from_finished_steps_and_progress(
    queued: dict[str, int], running: list[tuple[str, float, float | None]], lanes: int, left: float | None
) -> None:
    steps = [step(*received) for received in running]
    assert seconds_left(queued, steps, {"train": 10.0}, lanes) == left


def step(name: str, seconds: float, share: float | None) -> Task:
    """A step that has been running for a given time."""
    total = None if share is None else 1.0
    made = Task(TaskID(0), name, total, share or 0.0, _get_time=lambda: seconds, fields={"name": name})
    made.start_time = 0.0
    return made


# --- For machines


def events(done: Finished) -> list[dict[str, Any]]:
    assert done.err == ""
    return [json.loads(line) for line in done.out.splitlines()]


def test_json_lines_have_all_events(cli: Cli, own_home: Path) -> None:
    words = ("c=fit,ship", "knobs.rate=0.1,0.2", "source.seconds=0.05", "--multirun", "--json")
    done = cli(*DIR, *words)
    received = events(done)
    assert done.code == ExitCode.DONE
    assert Counter(e["event"] for e in received) == {
        "run_started": 1,
        "step_started": 5,
        "step_progress": Counter(e["event"] for e in received)["step_progress"],
        "step_printed": 4,
        "step_ended": 5,
        "run_ended": 1,
    }
    first, last = received[0], received[-1]
    assert first["event"] == "run_started"
    assert Path(first["folder"]) == own_home / "runs" / first["id"]
    assert [(j["number"], j["stage"], j["overrides"][0]) for j in first["jobs"]] == [
        *((n, "fit", "c=fit") for n in range(2)),
        *((n, "ship", "c=ship") for n in range(2, 4)),
    ]
    assert [s["action"] for s in first["steps"]] == ["run"] * 5
    assert first["notes"] == []
    started = next(e for e in received if e["event"] == "step_started" and e["stage"] == "fit")
    ended = next(e for e in received if e["event"] == "step_ended" and e["key"] == started["key"])
    assert (started["reason"], started["jobs"]) == ("new", [0, 2])
    assert (ended["status"], ended["error"], ended["metrics"]) == (
        "done",
        None,
        {"height": 0.6000000000000001, "rest": 0},
    )
    assert Path(ended["log"]).read_text() == "fitted a line\n"
    moved = [e for e in received if e["event"] == "step_progress"]
    assert {(e["total"], e["message"], e["stage"]) for e in moved} == {(3, "writing", "gather")}
    assert all(a["done"] < b["done"] for a, b in pairwise(moved))
    assert (last["status"], last["exit_code"], last["counts"]) == ("done", 0, {"done": 5})
    assert [(c["jobs"], c["values"], c["status"]) for c in last["combinations"]] == [
        ([0, 2], {"knobs.rate": 0.1}, "done"),
        ([1, 3], {"knobs.rate": 0.2}, "done"),
    ]


def test_json_lines_of_a_failure() -> None:
    received = events(done := inside(*DIR, "c=ship", "knobs.strict=true", "model_name=x", "--json"))
    assert done.code == ExitCode.STEP_FAILED
    ended = {e["stage"]: e for e in received if e["event"] == "step_ended"}
    assert (ended["fit"]["status"], ended["fit"]["error"]) == ("failed", "RuntimeError: total 6 is doubtful")
    assert (ended["ship"]["status"], ended["ship"]["log"]) == ("skipped", None)
    assert (received[-1]["status"], received[-1]["exit_code"]) == ("failed", 1)
    assert received[0]["notes"] == ["Note: model_name=x changes nothing here, no step of this run receives it"]


def test_json_lines_have_no_secret() -> None:
    words = ("target.mode=leak", "show_secrets=true", f"target.login.phrase={SECRET}", "--json")
    done = inside(*DIR, "c=ship", *words)
    assert done.code == ExitCode.DONE
    assert SECRET not in done.out + done.err
    assert '"event": "step_printed"' in done.out


def test_bad_input_is_one_object() -> None:
    done = inside(*DIR, "c=fit", "knobs.rate=7", "knobs.rounds=0", "--json")
    assert done.code == ExitCode.BAD_INPUT
    (received,) = events(done)
    assert received["event"] == "bad_input"
    assert {p["key"]: p["value"] for p in received["problems"]} == {"knobs.rate": "7", "knobs.rounds": "0"}
    assert all(p["message"] and p["origin"] for p in received["problems"])


@pytest.mark.parametrize("words", [["c=help"], ["--help"], ["--cfg", "job", "c=fit"], []])
def test_json_lines_are_for_runs(words: list[str]) -> None:
    done = inside(*words, "--json")
    assert done.code == ExitCode.BAD_INPUT
    assert events(done)[0]["problems"][0]["key"] == "--json"


def test_a_rerun_may_write_json_lines() -> None:
    small("c=fit")
    received = events(inside("runs", "rerun", "last", "--json"))
    assert [e["status"] for e in received if e["event"] == "step_ended"] == ["stored", "stored"]


def test_a_reader_that_goes_away_does_not_end_the_work() -> None:
    words = f"{PROGRAM} --config-dir {CONF} c=fit knobs.rate=0.1,0.2 --multirun --json"
    command = f"{words} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "0"
    assert "2 done" not in done.stderr
    assert " done " in inside("runs", "list").out
