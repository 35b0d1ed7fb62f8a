"""Searches: trials within a budget, conditions, limits, continuing, and what happens with the best one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from needed import need
from small_pipeline import EXAMPLES, inside, install, steps_run
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.runs import Run, RunObserver
from when_ml_pipeline_meets_hydra.search.search import search

RACE = str(EXAMPLES / "race")
NAMED = ("+place=shelf", "+data=one", "objective.metric=error")
SPACE = "+value=interval(1.0,5.0)"


@pytest.fixture(autouse=True)
def _race(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


class Notes(RunObserver):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def searched(*overrides: str, space: str = SPACE, sampler: str = "random", observer: RunObserver | None = None) -> Run:
    words = ("c=put", space, f"hydra/sweeper={sampler}", *NAMED, *overrides)
    return search(words, config_dirs=[RACE], observer=observer)


def refused(*overrides: str, space: str = SPACE, sampler: str = "random") -> str:
    with pytest.raises(BadInput) as caught:
        searched(*overrides, space=space, sampler=sampler)
    assert not steps_run()
    return str(caught.value)


def trials(home: Path) -> list[dict[str, Any]]:
    """The ended trials of all studies, by number."""
    files = sorted((home / "studies").glob("*/trials.jsonl"))
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            event = json.loads(line)
            found.setdefault((file.parent.name, event["number"]), {}).update(event)
    return [found[key] for key in sorted(found)]


def values(home: Path) -> list[float]:
    return [trial["values"]["+value"] for trial in trials(home)]


def test_trials_are_combinations_of_one_run_and_only_the_best_goes_on(own_home: Path) -> None:
    done = inside("c=put", SPACE, *NAMED, "hydra/sweeper=random", "hydra.sweeper.n_trials=6", "--config-dir", RACE)
    assert done.code == 0, done.err
    assert steps_run() == {"measure": 6, "put": 1}
    best = min(values(own_home))
    assert f"put {best} of one in shelf" in done.out
    assert done.out.startswith("Searching with random: 6 trials, study random-")
    (run,) = (own_home / "runs").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert (record["job_count"], record["study"]["trials"], record["study"]["failed"]) == (7, 6, 0)
    assert record["study"]["best"]["values"] == {"+value": best}
    found = yaml.safe_load((run / "optimization_results.yaml").read_text())
    assert found == {"name": "random", "best_params": {"+value": best}, "best_value": best}
    rows = inside("runs", "compare", "last")
    assert rows.code == 0
    assert rows.out.splitlines()[1].split()[1] == str(best)


def test_the_same_command_goes_on_with_more_trials(own_home: Path) -> None:
    searched("hydra.sweeper.n_trials=3")
    first = values(own_home)
    observer = Notes()
    searched("hydra.sweeper.n_trials=5", observer=observer)
    assert values(own_home)[:3] == first
    assert len(values(own_home)) == 5
    assert steps_run()["measure"] == 5
    assert [text.partition(":")[0] for text in observer.texts] == ["trial 3", "trial 4"]
    again = searched("hydra.sweeper.n_trials=5")
    assert again.exit_code == 0
    assert steps_run()["measure"] == 5


def test_a_failed_trial_is_told_as_failed(own_home: Path) -> None:
    observer = Notes()
    space = "+value=choice(fail,none,2,3)"
    done = searched("hydra.sweeper.n_trials=16", space=space, observer=observer)
    assert done.exit_code == 0
    by_value = {trial["values"]["+value"]: trial for trial in trials(own_home)}
    assert by_value["fail"]["error"] == "ValueError: not like that"
    assert by_value["none"]["metrics"] == {}
    assert by_value["2"]["metrics"]["error"] == 2
    assert any("failed: it has no measure.error" in text for text in observer.texts)
    assert steps_run()["measure"] <= 4 + 1  # a failed one may be tried by a later batch
    done = searched("hydra.sweeper.n_trials=2", "hydra.sweeper.study_name=bad", space="+value=choice(fail,fail)")
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("overrides", "space", "message"),
    [
        ((), "+value=interval(5,1)", "value=5, 1: expected two numbers, the smaller one first"),
        ((), "+value=tag(log,interval(0,1))", "value=0, 1: a logarithmic scale has no numbers up to 0"),
        ((), "+value=tag(pair,choice(1,2))", "the tag 'pair' pairs lists of a sweep"),
        ((), "+value=3", "a search needs a space"),
        (("hydra.sweeper.direction=maximize",), SPACE, "hydra.sweeper.direction=maximize: objective.metric=measure.error"),
        (("objective.then=all",), SPACE, "objective.then=all: a search goes on with the best trial only"),
        (("hydra.sweeper.n_trials=0",), SPACE, "hydra.sweeper.n_trials=0: "),
        (("+hydra.sweeper.storage=sqlite:///x.db",), SPACE, "hydra.sweeper.storage: has no meaning here"),
        (("objective.metric=ship.error",), SPACE, "objective.metric"),
        (("+hydra.sweeper.trials=5",), SPACE, "hydra.sweeper.trials: there is no such key"),
    ],
)
def test_what_cannot_be_searched_is_refused_beforehand(overrides: Sequence[str], space: str, message: str) -> None:
    assert message in refused(*overrides, space=space)


def test_a_search_is_no_plan() -> None:
    done = inside("plan", "c=put", SPACE, *NAMED, "hydra/sweeper=random", "--config-dir", RACE)
    assert done.code == 2
    assert "hydra/sweeper: is a search, which proposes its trials one after the other" in done.err


def test_optuna_proposes_the_same_trials_in_one_run_and_in_several(own_home: Path, tmp_path: Path) -> None:
    need("optuna")
    budget = ("hydra.sweeper.n_jobs=1",)
    searched("hydra.sweeper.n_trials=14", *budget, sampler="optuna")
    whole = values(own_home)
    home = tmp_path / "other"
    for count in (4, 11, 14):
        searched(f"hydra.sweeper.n_trials={count}", f"home={home}", *budget, sampler="optuna")
    assert values(home) == whole
    assert min(whole) < 1.2
