"""Reports of searches: the page, the trials in the record, runs list, show and compare, and how far a search is."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from conftest import Finished
from needed import need
from small_pipeline import EXAMPLES, inside, install, steps_run
from when_ml_pipeline_meets_hydra.cli.output.live import LiveView
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.records.trials import RecordedTrial
from when_ml_pipeline_meets_hydra.runs import SearchState
from when_ml_pipeline_meets_hydra.searching.importance import importance_of, share_of_best
from when_ml_pipeline_meets_hydra.searching.page import Found, render
from when_ml_pipeline_meets_hydra.searching.samplers.random import draw
from when_ml_pipeline_meets_hydra.searching.space import Dimension

RACE = ("--config-dir", str(EXAMPLES / "race"))
NAMED = ("+place=shelf", "objective.metric=error", "hydra/sweeper=random", *RACE)
HTML = "<script>alert</script>"

MODEL = Dimension(key="modeling/model", is_group=True, values=("linear", "lightgbm", "forest"))
RATE = Dimension(key="m_param.rate", low=0.001, high=1.0, is_log=True)
LEAVES = Dimension(key="+m_param.leaves", low=2, high=64)
SHARE = Dimension(key="share", low=0.0, high=1.0, step=0.25)
DEPTH = Dimension(key="depth", low=1, high=300, is_log=True)


@pytest.fixture(autouse=True)
def _race(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


class Page(HTMLParser):
    """The tags of a page, its text, and what it would load."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[list[str]] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "xlink:href")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th") and self.cells:
            self.cells[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cells and self.cells[-1] and self.lasttag in ("td", "th"):
            self.cells[-1][-1] += data.strip()


def page_of(done: Finished) -> Page:
    """The page whose path is the last line of a search."""
    path = done.err.splitlines()[-1].removeprefix("report: ")
    return Page(Path(path).read_text(encoding="utf-8"))


def test_a_search_ends_with_its_page_and_runs_show_its_trials(own_home: Path) -> None:
    space = ("c=put", "+value=choice(3.25,1.5,fail)", f"+data=choice(one,'{HTML}')", *NAMED)
    done = inside(*space, "hydra.sweeper.n_trials=8")
    assert done.code == 0, done.err
    page = page_of(done)
    assert {link[0] for link in page.loads} == {"#"}  # nothing but places in the page
    assert "script" not in page.tags
    (first,) = (own_home / "runs").iterdir()
    trials = [json.loads(line) for line in (first / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = [t["score"] for t in trials if t["score"] is not None]
    failed = [t for t in trials if t["status"] == "failed"]
    assert sorted(t["trial"] for t in trials) == list(range(8))
    assert scores == sorted(scores)
    assert failed == trials[len(scores) :]
    assert {t["error"] for t in failed} == {"ValueError: not like that"}
    head = page.cells.index(["trial", "measure.error", "value", "data", "seconds", "status", "error"])
    assert [row[0] for row in page.cells[head + 1 :]] == [str(t["trial"]) for t in trials]
    assert HTML in page.text

    shown = inside("runs", "show", "last").out
    assert re.search(
        rf"^trials: 8, {len(failed)} failed\nbest: trial {trials[0]['trial']}, measure.error=1.5$", shown, re.M
    )
    table = shown[shown.index("trial  measure.error") :].splitlines()
    assert [line.split()[0] for line in table[1:9]] == [str(t["trial"]) for t in trials]
    assert json.loads(inside("runs", "show", "last", "--json").out)["trials"] == trials
    assert "best of 8 trials: measure.error=1.5" in inside("runs", "list").out
    rows = json.loads(inside("runs", "compare", "last", "--json").out)["combinations"]
    assert sorted(n for row in rows for n in row["trials"]) == list(range(8))
    assert inside("runs", "compare", "last").out.splitlines()[0].split()[:4] == ["jobs", "trials", "value", "data"]

    more = inside(*space, "hydra.sweeper.n_trials=10")
    assert "trial 9" in more.err
    assert "; 10 of 10" in more.err
    assert sum(row[0].isdigit() for row in page_of(more).cells) == 10
    record = Record(max((own_home / "runs").iterdir()))
    assert {t.run for t in record.trials} == {first.name, record.id}

    file = first / "trials.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"trial": 7', b'"trial": 6'))
    wrong = inside("runs", "show", first.name)
    assert (wrong.code, f"{file}: this record is damaged" in wrong.err) == (2, True)


def test_the_command_on_the_page_runs_the_best_trial(own_home: Path) -> None:
    done = inside("c=measure,put", "+value=interval(1.0,5.0)", "+data='a b'", *NAMED, "hydra.sweeper.n_trials=3")
    assert done.code == 0, done.err
    (command,) = re.findall(r"wmh .*", page_of(done).text)
    before = steps_run()["measure"]
    again = inside(*shlex.split(command)[1:])
    assert again.code == 0, again.err
    assert steps_run()["measure"] == before


def test_a_search_without_a_score_has_a_page(own_home: Path) -> None:
    done = inside("c=put", "+value=choice(fail,none)", "+data=one", *NAMED, "hydra.sweeper.n_trials=4")
    assert done.code == 1
    page = page_of(done)
    assert "History" not in page.text
    assert "4 failed" in page.text
    assert "it has no measure.error" in page.text
    assert "4 trials, none has a score" in inside("runs", "list").out
    assert "trials: 4, 4 failed" in inside("runs", "show", "last").out


def test_secrets_are_masked(own_home: Path) -> None:
    words = ("c=put", "+value=choice(1.5,2.5)", "+data=one", "+my_token=verysecret1", *NAMED)
    done = inside(*words, "hydra.sweeper.n_trials=2")
    assert "+my_token=**********" in page_of(done).text
    (run,) = (own_home / "runs").iterdir()
    assert not [f for f in run.rglob("*") if f.is_file() and b"verysecret" in f.read_bytes()]


def found(dimensions: Sequence[Dimension], count: int, *, failed: bool = False) -> Found:
    """A study of made-up trials; leaves are only drawn with trees."""
    random, trials = Random(count), []
    for number in range(count):
        values = {d.name: draw(d, random) for d in dimensions}
        if values.get("modeling/model") == "linear":
            values.pop("m_param.leaves", None)
        score = None if failed else random.gauss() - 1e6 * (number == 3)
        error, status = ("no", "failed") if failed else (None, "done")
        trials.append(
            RecordedTrial(
                number=number, status=status, score=score, values=values, seconds=1.0, error=error, run="r", job=number
            )
        )
    trials.sort(key=lambda t: -(t.score or 0))
    return Found(
        study="s",
        sampler="random",
        goals={"validation.r2": "maximize"},
        dimensions=dimensions,
        trials=trials,
        commands={0: "wmh c=put"},
    )


@pytest.mark.parametrize("count", [1, 2, 60, 3000])
def test_a_page_of_any_number_of_trials(count: int) -> None:
    content = render(found([MODEL, RATE, LEAVES, SHARE, DEPTH], count))
    page = Page(content)
    assert page.tags.count("circle") <= 6 * 1000
    assert len(content) < 3_000_000
    assert not re.search(r"\b(nan|-?inf)\b", content)
    assert page.tags.count("polyline") == {1: 1, 2: 3, 60: 61, 3000: 201}[count]
    assert ("Only drawn with model=lightgbm, forest." in page.text) == (count > 2)
    assert ("far worse one lies at the edge" in page.text) == (count == 60)


@pytest.mark.parametrize("dimensions", [[RATE], [MODEL], [Dimension(key="x", low=3, high=3)]])
def test_a_page_of_one_value_or_of_groups_alone(dimensions: Sequence[Dimension]) -> None:
    assert Page(render(found(dimensions, 12))).tags.count("polyline") == 13
    assert Page(render(found(dimensions, 3, failed=True))).tags.count("svg") == 0


@given(st.text("<>&'\"/= abonscriptvg", min_size=1, max_size=12), st.text("<>'\"&-;`{}%x", min_size=1, max_size=8))
def test_no_name_and_no_value_becomes_markup(name: str, value: str) -> None:
    def made(name: str, value: str) -> Page:
        dimensions = [Dimension(key=f"k{name}", is_group=True, values=(f"v{value}",)), RATE]
        trial = RecordedTrial(
            number=0,
            status="done",
            score=1.0,
            values={f"k{name}".lstrip("+~"): f"v{value}", RATE.name: 0.1},
            seconds=1.0,
            error=value,
            run=name,
            job=0,
        )
        return Page(
            render(
                Found(
                    study=name,
                    sampler=value,
                    goals={f"m{name}": "minimize"},
                    dimensions=dimensions,
                    trials=[trial],
                    commands={0: value},
                    runs=[name],
                )
            )
        )

    wild, tame = made(name, value), made("x" * len(name), "x" * len(value))
    assert wild.tags == tame.tags
    assert wild.loads == tame.loads


def test_the_importance_is_that_of_optuna() -> None:
    need("optuna")
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    from when_ml_pipeline_meets_hydra.searching.samplers.optuna import _distribution

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    dimensions = [MODEL, RATE, LEAVES, SHARE, DEPTH]
    for count in (10, 40, 300):
        random, points = Random(count), []
        for _ in range(count):
            values = {d.key: draw(d, random) for d in dimensions}
            if values[MODEL.key] == "linear":
                del values[LEAVES.key]
            points.append((values, float(values[RATE.key]) + int(values.get(LEAVES.key, 0)) / 64 + random.gauss()))
        study = optuna.create_study(direction="maximize")
        for values, score in points:
            known = {d.key: _distribution(d) for d in dimensions if d.key in values}
            study.add_trial(optuna.trial.create_trial(params=values, distributions=known, value=score))
        evaluator = PedAnovaImportanceEvaluator(target_quantile=share_of_best(count))
        expected = get_param_importances(study, evaluator=evaluator)
        assert importance_of(dimensions, points) == pytest.approx(expected, abs=1e-9)
    assert importance_of(dimensions, points[:9]) == {}


def test_the_live_view_counts_trials_and_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    view, shown = LiveView(), StringIO()
    state = SearchState(ended=12, failed=2, most=25, best="validation.r2=0.8712 of trial 9", deadline=1041.0, pace=60.0)
    view.search_continues(state)
    Console(file=shown, width=80).print(view)
    bar, line = (text.rstrip() for text in shown.getvalue().splitlines())
    assert bar.startswith("12 of 25 trials")
    assert "48%" in bar
    assert line == "2 failed  best validation.r2=0.8712 of trial 9  about 0:41 left"
    assert SearchState(ended=1, failed=0, most=None, best=None, deadline=None, pace=1.0).seconds_left(0.0) is None
    assert SearchState(ended=5, failed=0, most=7, best=None, deadline=None, pace=3.0).seconds_left(0.0) == 6.0
