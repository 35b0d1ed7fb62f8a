"""Runs on pages: lists with filters, comparisons, the pages of a run, and attacks on these."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest

from small_pipeline import inside, living_in, small
from web_app import WebApp, signed_in, token_in, words_of
from when_ml_pipeline_meets_hydra.records.lookup import find_record, run_ids

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a run, a sweep, a failed run and one with an evil override."""
    folder = tmp_path_factory.mktemp("shown")
    with living_in(folder):
        small("c=fit", "knobs.rounds=3")
        small("c=fit,ship", "knobs.rate=0.1,0.2,0.7", "target.login.phrase=sesame-of-ours", multirun=True)
        small("c=fit", "knobs.strict=true")
        small("c=gather", f'+words="{EVIL}"')
        yield folder


@pytest.fixture
def runs(made: Path, web: WebApp) -> list[str]:
    """Their ids, the oldest first; the home is the test's own."""
    shutil.copytree(made / "runs", web.home / "runs")
    shutil.copytree(made / "store", web.home / "store")
    return run_ids(web.home)


def listed(web: WebApp, **query: str) -> list[str]:
    """The ids of the runs on a list, in its order."""
    return re.findall(r'name="run" value="([^"]+)"', web.ann.page(f"/runs?{urlencode(query)}"))


def test_without_runs_the_list_says_how_to_make_one(web: WebApp) -> None:
    page = words_of(web.ann.page("/runs"))
    assert "No runs yet" in page
    assert "wmh c=modeling" in page


def test_the_list_shows_runs_and_finds_them_by_fields(web: WebApp, runs: list[str]) -> None:
    first, sweep, failed, _ = runs
    assert listed(web) == runs[::-1]
    assert listed(web, order="up") == runs
    page = words_of(web.ann.page("/runs"))
    assert f"{sweep} done" in page
    assert "6 jobs" in page
    assert listed(web, status="failed") == [failed]
    assert listed(web, stage="ship") == [sweep]
    assert listed(web, q="rounds=3") == [first]
    assert listed(web, key="knobs.rate", value="0.7") == [sweep]
    assert listed(web, key="fit/knobs", value="gentle") == runs[::-1]
    assert listed(web, key="knobs.strict", value="true", since="2020-01-01") == [failed]
    assert listed(web, metric="fit.height", least="3.5") == [sweep]
    assert listed(web, metric="fit.height", most="1") == [sweep]
    assert listed(web, until="2020-01-01") == []
    assert listed(web, where="knobs.rounds == 3 or status == 'failed'", stage="fit") == [failed, first]
    assert listed(web, sort="fit.height", where="exists(fit.height)") == [sweep, first]
    assert listed(web, sort="fit.height", order="up", where="exists(fit.height)") == [sweep, first]
    assert listed(web, sort="no.such.thing") == runs[::-1]


def test_the_list_is_that_of_a_command(web: WebApp, runs: list[str]) -> None:
    page = web.ann.page(f"/runs?{urlencode({'stage': 'fit', 'metric': 'fit.height', 'least': '2', 'tag': ''})}")
    found = re.search(r"<code>(wmh runs list .*?)</code>", page)
    assert found
    words = shlex.split(html.unescape(found[1]))[1:]
    assert [run["id"] for run in json.loads(inside(*words, "--json").out)] == [runs[0], runs[1]]


def test_a_wrong_filter_is_named_with_its_place(web: WebApp, runs: list[str]) -> None:
    for query, message in (
        ({"where": "knobs.rate >"}, "Filter=knobs.rate >: at character 12: this cannot be read"),
        ({"where": "rate > 1"}, "at character 1: no run has 'rate' Did you mean 'knobs.rate'?"),
        ({"metric": "fit.height", "least": "much"}, "at least=much: expected a number"),
        ({"since": "yesterday"}, "'yesterday' is no date"),
        ({"where": EVIL}, "this cannot be read"),
    ):
        page = web.ann.page(f"/runs?{urlencode(query)}", 422)
        assert message in words_of(page).replace(" :", ":")
        assert EVIL not in page


def test_pages_of_a_list(web: WebApp, runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.web.runs.filters.SIZE", 3)
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.web.runs.section.SIZE", 3)
    assert listed(web) == runs[:0:-1]
    assert listed(web, page="2") == runs[:1]
    assert listed(web, page="99") == []
    assert "Page 2 of 2" in words_of(web.ann.page("/runs?page=2"))
    assert 'rel="next" href="/runs?page=2"' in web.ann.page("/runs?page=x")


def test_a_damaged_record_is_named_and_hides_no_other(web: WebApp, runs: list[str]) -> None:
    (web.home / "runs" / runs[0] / "run.json").write_text("{")
    page = web.ann.page("/runs")
    assert "this record is damaged" in page
    assert listed(web) == runs[:0:-1]
    assert "this record is damaged" in web.ann.page(f"/runs/{runs[0]}", 422)


def test_tags_and_notes_are_kept_in_the_record(web: WebApp, runs: list[str]) -> None:
    home = f"/runs/{runs[0]}"
    assert "baseline" in words_of(web.bob.done(f"{home}/tags", add="baseline, best"))
    web.ann.done(f"{home}/note", note="first line\r\nsecond", shown="")
    record = find_record(web.home, runs[0])
    assert (record.tags, record.note) == (("baseline", "best"), "first line\nsecond")
    assert listed(web, tag="best") == [runs[0]]
    assert listed(web, q="second") == [runs[0]]
    web.ann.done(f"{home}/tags", remove="best")
    assert find_record(web.home, runs[0]).tags == ("baseline",)
    stale = web.ann.submit(f"{home}/note", note="mine", shown="")
    assert stale.status_code == 422
    assert "it was changed meanwhile; it is now: first line second" in words_of(stale.text)
    assert ">mine</textarea>" in stale.text, "nothing is lost"
    wrong = web.ann.submit(f"{home}/tags", add="x" * 65)
    assert (wrong.status_code, "a tag has 1 to 64 characters" in wrong.text) == (422, True)
    for path in ("tags", "note"):
        assert web.ann.post(f"{home}/{path}", data={"add": "forged", "note": "forged"}).status_code == 403
        assert web.ann.get(f"{home}/{path}").status_code in (404, 405)
    assert find_record(web.home, runs[0]).note == "first line\nsecond"


def test_the_page_of_a_run(web: WebApp, runs: list[str]) -> None:
    page = words_of(web.ann.page(f"/runs/{runs[0]}"))
    assert "wmh c=fit knobs.rounds=3" in page
    assert f"wmh runs rerun {runs[0]}" in page
    assert re.search(r"fit run 0 done [\d.]+ new height 3 rest 0", page)
    failed = web.ann.page(f"/runs/{runs[2]}")
    steps = find_record(web.home, runs[2]).steps
    assert html.escape(steps[-1]["error"], quote=False).partition("'")[0] in failed
    (log,) = re.findall(r'href="([^"]+)" aria-label="Log of fit run"', failed)
    assert "Traceback" in web.ann.page(log)


def test_the_pages_of_a_sweep(web: WebApp, runs: list[str]) -> None:
    sweep = f"/runs/{runs[1]}"
    page = words_of(web.ann.page(f"{sweep}/jobs"))
    assert "6 of 6 jobs" in page
    assert "height 0.6" in page
    assert "2 of 6 jobs" in words_of(web.ann.page(f"{sweep}/jobs?q=rate%3D0.7"))
    assert "Nothing is found" in web.ann.page(f"{sweep}/jobs?status=failed")
    job = web.ann.page(f"{sweep}/jobs/1")
    assert "rate: 0.2" in job
    assert f"wmh runs rerun {runs[1]} --job 1" in job
    assert "The run has the jobs 0 to 5" in web.ann.page(f"{sweep}/jobs/6", 404)
    for path in (sweep, f"{sweep}/jobs", f"{sweep}/jobs/1", "/runs?q=phrase"):
        assert "sesame-of-ours" not in web.ann.page(path)
    assert "**********" in job


def test_a_comparison_has_the_numbers_of_the_command(web: WebApp, runs: list[str]) -> None:
    address = f"/runs/compare?{urlencode([('run', run) for run in runs[:3]])}"
    page = web.ann.page(f"{address}&metric=fit.height&key=knobs.rate")
    expected = json.loads(inside("runs", "compare", *runs[:3], "--metric", "fit.height", "--json").out)
    body = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert body
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body[1].split("</tr>")[:-1]]
    shown = [words_of(row[0]) for row in rows]
    assert shown == [row["run"] for row in expected["combinations"]]
    heights = [row["metrics"].get("fit.height") for row in expected["combinations"]]
    place = 3 + len(expected["keys"]) + expected["metrics"].index("fit.height")
    assert [row[place] for row in rows] == ["" if value is None else f"{value:.4g}" for value in heights]
    assert page.count("<circle") == len([value for value in heights if value is not None])
    assert page.count("<polyline") == page.count("<circle")
    assert "choose the runs to compare" in web.ann.page("/runs/compare", 422)
    assert web.ann.get("/runs/compare?run=nope").status_code == 404


def test_addresses_lead_to_nothing_else(web: WebApp, runs: list[str]) -> None:
    run = web.home / "runs" / runs[0]
    (web.home / "secret.txt").write_text("not for pages")
    (run / "logs" / "link.txt").symlink_to(web.home / "secret.txt")
    (run / "model.onnx").write_text("not for pages")
    (run / ".hydra" / "kept.yaml").write_text("fine: 1")
    assert "fine" in web.ann.get(f"/runs/{runs[0]}/files/.hydra/kept.yaml").text
    for path in (
        *("..%2F..", "a" * 5000, "x%00y", quote(EVIL), "last", runs[0][:8]),
        *(
            f"{runs[0]}/{area}/{name}"
            for area in ("files", "text")
            for name in (
                *("../secret.txt", "..%2F..%2Fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "logs/link.txt", "model.onnx"),
                *("/etc/passwd", "%2Fetc%2Fpasswd", "logs", "", "run.json/", "run.json%00"),
            )
        ),
        *(f"{runs[0]}/results/{key}/metrics.json" for key in ("..", "0" * 64, "%2e%2e")),
        *(f"{runs[0]}/jobs/{job}" for job in ("-1", "x", "9" * 400)),
    ):
        answer = web.ann.get(f"/runs/{path}", follow_redirects=True)
        assert (answer.status_code in (404, 405), "not for pages" in answer.text, "root:" in answer.text) == (
            True,
            False,
            False,
        ), path
        assert EVIL not in answer.text


def test_files_are_saved_and_never_shown_as_pages_of_the_app(web: WebApp, runs: list[str]) -> None:
    (web.home / "runs" / runs[0] / "report.html").write_text(EVIL)
    (web.home / "runs" / runs[0] / f"{EVIL.replace('/', '')}.svg").write_text("<svg/>")
    page = web.ann.page(f"/runs/{runs[0]}")
    assert "alert(1)<script>" not in page
    addresses = re.findall(r'href="(/runs/[^"]+/files/[^"]+)"', page)
    assert len(addresses) == 2
    for address in addresses:
        answer = web.ann.get(html.unescape(address))
        assert answer.status_code == 200
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_texts_of_runs_are_text_on_all_pages(web: WebApp, runs: list[str]) -> None:
    run = runs[3]
    token = token_in(web.ann.page(f"/runs/{run}"))
    assert web.ann.post(f"/runs/{run}/tags", data={"csrf": token, "add": "<i>x</i>"}).status_code == 303
    assert web.ann.post(f"/runs/{run}/note", data={"csrf": token, "note": EVIL, "shown": ""}).status_code == 303
    for path in (
        *("/runs", f"/runs/{run}", f"/runs/{run}/jobs", f"/runs/{run}/jobs/0", f"/runs/{run}/text/jobs.jsonl"),
        *(f"/runs?q={quote(EVIL)}", f"/runs?tag={quote('<i>x</i>')}", f"/runs?sort={quote(EVIL)}"),
        f"/runs/compare?run={run}&run={runs[0]}&key={quote(EVIL)}&metric={quote(EVIL)}",
    ):
        page = web.ann.page(path)
        assert EVIL not in page
        assert "<i>x" not in page
        assert not re.search(r"<script(?! src=)|<style| on\w+=| style=|javascript:", page)


@pytest.mark.integration("playwright", "axe_playwright_python", "chromium")
@pytest.mark.xdist_group("browser")
@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_of_runs_are_accessible_and_work_by_keyboard(
    chromium: Browser, web: WebApp, runs: list[str], width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    sweep = f"/runs/{runs[1]}"
    log = next((web.home / sweep.strip("/") / "logs").glob("ship*.log"))
    with signed_in(chromium, web, "ann", width=width, scheme=scheme) as page:
        for path in (
            *("/runs", "/runs?tag=none", "/runs?where=nothing+>+1", "/runs?status=done&sort=seconds", sweep),
            *(
                f"/runs/{runs[2]}",
                f"/runs/{runs[3]}",
                f"{sweep}/jobs",
                f"{sweep}/jobs/1",
                f"{sweep}/text/logs/{log.name}",
            ),
            f"/runs/compare?run={runs[0]}&run={runs[1]}",
        ):
            page.goto(path)
            found = Axe().run(page).response["violations"]
            serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
            assert not serious, path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        page.goto("/runs")
        for run in runs[:2]:
            page.get_by_label(f"Compare {run}").focus()
            page.keyboard.press("Space")
        page.keyboard.press("Enter")
        page.wait_for_url("**/runs/compare?*")
        assert "4 combinations of 2 runs" in page.inner_text("main")
        page.goto(sweep)
        page.get_by_label("Add tags").focus()
        page.keyboard.type("by-keyboard")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=The tags are changed.")
        page.get_by_label("Remove the tag by-keyboard").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("text=No tags yet")
