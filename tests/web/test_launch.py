"""Runs that are chosen, checked, started, watched and cancelled on pages; what may not be started there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Cli
from small_pipeline import CONF, install, steps_run, write, wrong
from web_app import WebApp, token_in, words_of
from when_ml_pipeline_meets_hydra.records.lookup import read_records
from when_ml_pipeline_meets_hydra.web.launch import queue
from when_ml_pipeline_meets_hydra.web.launch.checking import Surroundings, check
from when_ml_pipeline_meets_hydra.web.launch.progress import Progress
from when_ml_pipeline_meets_hydra.web.launch.rules import refused_words

pytestmark = pytest.mark.xdist_group("launch")
SLOW = "source.seconds=60\nsource.numbers=[4]"


@pytest.fixture
def small(web: WebApp, monkeypatch: pytest.MonkeyPatch) -> WebApp:
    """The web app of the small pipeline; ann may start runs."""
    install(monkeypatch)
    web.settings = replace(web.settings, config_dirs=(CONF,))
    return web


def started(web: WebApp, **fields: str) -> str:
    """The path of the page of a run that ann has started."""
    answer = web.ann.submit("/launch/start", "/launch", **fields)
    assert answer.status_code == 303, words_of(answer.text)
    return str(answer.headers["location"])


def once(web: WebApp, path: str, text: str) -> str:
    """The words of a page, once it has this text."""
    until = time.monotonic() + 60
    while text not in (page := words_of(web.ann.page(path))):
        assert time.monotonic() < until, page
        time.sleep(0.1)
    return page


def events_of(web: WebApp, path: str) -> Iterator[str]:
    """The names of the events of a stream, until it ends."""
    with web.ann.stream("GET", f"{path}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield from (line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: "))


def test_what_help_shows_can_be_chosen_by_those_who_may(small: WebApp) -> None:
    page = words_of(small.ann.page("/launch"))
    for text in ("ship Announce the curve", "gentle (default) · A small step", "acme · Acme", "none"):
        assert text in page
    look = small.bob.page("/launch")
    assert "wmh web --launch-users bob" in look
    assert "<textarea" not in look
    for path in ("/launch", "/launch/start", "/launch/1/cancel"):
        assert small.bob.submit(path, c="fit").status_code in (403, 404)
        assert small.ann.post(path, data={"c": "fit"}).status_code == 403, "without a token"
    assert small.ann.get("/launch/1").status_code == 404
    assert not small.launches.all()


def test_errors_are_those_of_the_command_line_and_secrets_are_not_echoed(small: WebApp) -> None:
    def checked(**fields: str) -> str:
        answer = small.ann.post("/launch", data={"csrf": token, **fields}, headers={"hx-request": "true"})
        assert answer.text.strip().startswith('<div id="checked">')
        return words_of(answer.text).replace(" :", ":")

    token = token_in(small.ann.page("/launch"))
    assert "c: no stage is chosen Choose at least one" in checked(more="knobs.rate=1")
    expected = wrong("c=fit", "knobs.rate=much")["knobs.rate"]
    assert expected.partition(" (from")[0] in checked(c="fit", more="knobs.rate=much")
    plan = checked(c="fit", more="knobs.rate=0.25")
    assert f"wmh c=fit knobs.rate=0.25 --config-dir {CONF}" in plan
    assert "1 job, 2 steps: 2 run" in plan
    assert "gather run run new" in plan
    assert "several values need --multirun" in checked(c="fit", more="knobs.rate=0.1,0.2")
    assert "2 jobs, 3 steps" in checked(c="fit", more="knobs.rate=0.1,0.2", several="yes")
    for secret in ("target.login.phrase=hunter2hunter2", "target.login.pw=hunter2hunter2"):
        answer = small.ann.post("/launch", data={"csrf": token, "c": "ship", "more": secret})
        assert answer.status_code == 422
        assert "Set it in the server's environment" in words_of(answer.text)
        assert "hunter2" not in answer.text
    for more in ("hydra.run.dir=/tmp/x", "home=/tmp/x", "--config-dir=/tmp"):
        assert small.ann.submit("/launch/start", "/launch", c="fit", more=more).status_code == 422
    assert not small.launches.all()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--json", "flags cannot be given here"),
        ("-m", "flags cannot be given here"),
        ("serve", "expected key=value"),
        ("home=/tmp/x", "stay in the home of this server"),
        ("++home=/tmp/x", "stay in the home of this server"),
        ("~home", "stay in the home of this server"),
        ("packages=[os]", "whose code may run"),
        ("show_secrets=true", "never shown on pages"),
        ("hydra.run.dir=/tmp/x", "Hydra's own settings"),
        ("hydra/launcher=dagster", "Hydra's own settings"),
        ("hydra/launcher@hydra.x=dagster", "Hydra's own settings"),
        ("hydra.searchpath=[/tmp/x]", "Hydra's own settings"),
        ("+hydra.callbacks.x._target_=os.system", "Hydra's own settings"),
        ("cluster.pw=hunter2", "a secret cannot be given here"),
        ("+cluster={pw: hunter2}", "a secret cannot be given here"),
        ("connection.url=postgres://ann:hunter2@db/x", "a secret cannot be given here"),
        ("model_name=${oc.env:HOME}", "may read the server's environment"),
        ("model_name=${${seed}.env:HOME}", "may read the server's environment"),
        ("model_name=a\x1bb", "printable characters"),
        ("model_name=" + "x" * 3_000, "printable characters"),
    ],
)
def test_what_is_not_of_this_project_is_refused(word: str, message: str) -> None:
    (problem,) = refused_words([word])
    assert message in problem.message
    assert problem.remedy
    assert "hunter2" not in str(problem)


def test_ordinary_overrides_are_taken() -> None:
    words = ["c=fit", "knobs.rate=0.1", "+customer=acme", "~metrics", "hydra.launcher.n_jobs=2", "a.b=${dataset.name}"]
    assert refused_words([*words, "hydra/launcher=local"]) == []
    assert len(refused_words([*words] * 100)) == 1


def test_what_option_files_change_is_refused_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch)
    target = "hydra_plugins.when_ml_pipeline_meets_hydra.OrchestratorLauncher"
    texts = {
        "away": "home: /tmp/elsewhere",
        "out": "hydra:\n  run:\n    dir: /tmp/elsewhere",
        "remote": f"hydra:\n  launcher:\n    _target_: {target}\n    system: dagster",
        "search": "defaults:\n  - override /hydra/sweeper: random",
        "fine": "seed: 3",
    }
    files = {f"experiment/{name}.yaml": f"# @package _global_\n# It\n{text}\n" for name, text in texts.items()}
    where = Surroundings(home=tmp_path / "home", config_dirs=(CONF, write(tmp_path / "conf", files)))
    found = {name: check(where, ["c=fit", f"+experiment={name}"], False) for name in texts}
    assert [problem.key for problem in found["away"].problems] == ["home"]
    assert [problem.key for problem in found["out"].problems] == ["hydra.run.dir"]
    assert found["remote"].problems
    assert [problem.message for problem in found["search"].problems] == ["a search is not started here"]
    assert (found["fine"].problems, len(found["fine"].steps)) == ((), 2)


def test_a_run_is_started_watched_and_recorded_and_others_wait_and_are_cancelled(small: WebApp) -> None:
    path = started(small, c="fit", more="knobs.rate=0.25")
    assert [*events_of(small, path)][-2:] == ["progress", "over"]
    page = once(small, path, "done")
    assert "fit run done" in page
    assert "fitted a line" in page
    assert steps_run() == {"gather": 1, "fit": 1}
    (record,) = read_records(small.home)
    assert (record.tags, record.note) == (("launched-by-ann",), "Launched by ann in the web app.")
    assert record.head["overrides"] == ["c=fit", "knobs.rate=0.25"]
    assert record.id in words_of(small.ann.page("/runs?tag=launched-by-ann"))
    slow, waiting = started(small, c="gather", more=SLOW), started(small, c="fit", more="knobs.rate=0.75")
    once(small, slow, "gather run running")
    assert "It begins when those before it have ended." in once(small, waiting, "waiting")
    assert "Cancelled by ann." in words_of(small.ann.done(f"{waiting}/cancel"))
    small.ann.done(f"{slow}/cancel")
    once(small, "/launch", "2 interrupted")
    assert "gather run interrupted" in words_of(small.ann.page(slow))
    assert [record.status for record in read_records(small.home)] == ["done", "interrupted"]
    last = started(small, c="gather", more=SLOW)
    once(small, last, "gather run running")
    listed = words_of(small.bob.page("/launch"))
    assert "running" in listed
    assert "Cancel" not in small.bob.page(last)
    small.close()
    assert [launch.state for launch in small.launches.all()] == ["interrupted", "cancelled", "interrupted", "done"]
    assert [record.status for record in read_records(small.home)][-1] == "interrupted"


def test_a_deployment_needs_its_role_and_a_full_queue_says_so(small: WebApp, monkeypatch: pytest.MonkeyPatch) -> None:
    small.settings = replace(small.settings, launch_users=frozenset({"ann", "bob"}))
    page = small.bob.submit("/launch/start", "/launch", c="deployment", **{"group:c/deployment_sub": "foo"})
    assert page.status_code == 403
    assert "a run that deploys needs the role deploy" in page.text
    monkeypatch.setattr(queue, "MOST_WAITING", 0)
    page = small.bob.submit("/launch/start", "/launch", c="gather")
    assert page.status_code == 503
    assert "0 runs wait already. Cancel one, or try later." in words_of(page.text)


def test_lines_that_are_no_events_and_long_ones_are_harmless() -> None:
    progress = Progress()
    for line in ("", "[]", "null", "nothing", json.dumps({"event": "later", "x": 1})):
        progress.read(line)
    named = {"key": "k", "stage": "fit", "subcommand": "run"}
    progress.read(json.dumps({"event": "step_printed", **named, "text": "x" * 5_000}))
    shown = progress.snapshot()
    assert ([len(line) for line in shown.lines], shown.counts) == ([1_000], {"waiting": 1})


def test_people_who_may_launch_are_users(cli: Cli, tmp_path: Path) -> None:
    done = cli("web", "--port", "0", "--id", "ann", "--launch-users", "anna", env={"WMH_WEB_PW": "password-of-ann"})
    assert done.code == 2
    assert "--launch-users=anna: there is no such user" in done.err
