"""The web app in Chromium: a change of production from the form to the revert, by keyboard, and what axe finds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conftest import Cli
from small_pipeline import CONF, install
from web_app import ACME, CUSTOMERS, SHARED, WebApp, signed_in
from when_ml_pipeline_meets_hydra.config_store import people
from when_ml_pipeline_meets_hydra.config_store.people import Rules

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.integration("playwright", "axe_playwright_python", "chromium"),
    pytest.mark.xdist_group("browser"),
    pytest.mark.slow,
]
EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"


def test_production_is_changed_reviewed_published_and_reverted(chromium: Browser, web: WebApp, cli: Cli) -> None:
    with web.store.writing() as connection:
        people.set_rules(connection, Rules(two_people=True), "ann")
    store = ["--store", web.store.location]
    with signed_in(chromium, web, "ann") as ann, signed_in(chromium, web, "bob", width=390) as bob:
        ann.get_by_role("link", name="default", exact=True).click()
        ann.get_by_role("link", name="Edit", exact=True).click()
        ann.get_by_label("m_param.learning_rate").fill("2")
        ann.get_by_label("What the change is for").fill("Learn faster")
        ann.get_by_role("button", name="Save the draft").click()
        assert "expected a number, 0 < x < 1" in ann.get_by_role("alert").inner_text()
        assert ann.get_by_label("m_param.learning_rate").input_value() == "2"
        assert ann.get_by_label("What the change is for").input_value() == "Learn faster"
        ann.get_by_label("m_param.learning_rate").fill("0.2")
        ann.locator("#preview").get_by_text("learning_rate: 0.2").wait_for()
        ann.get_by_role("button", name="Save the draft").click()
        ann.get_by_role("button", name="Plan", exact=True).click()  # before the evidence is there
        ann.get_by_text("It reaches 2 of 3 entries that use what it changes.").wait_for()
        ann.get_by_text("Plan of modeling").wait_for()
        assert ann.get_by_role("button", name="Plan", exact=True).is_enabled()
        plan = json.loads(cli("config", "review", "2", "--plan", "c=modeling", "--json", *store).out)
        shown = ann.locator("#evidence").inner_text()
        assert all(f"{count} {action}" in shown for action, count in plan["plan"].items())
        assert all(name in shown for name in plan["reached"])
        differing = json.loads(cli("config", "diff", "1", "draft-2", "--effective", "--json", *store).out)
        assert differing == plan["reached"]
        rows = [row.inner_text() for row in ann.locator("#evidence tbody tr").all()]
        assert rows == [f"{d['key']}\t{d['before']}\t{d['after']}" for d in differing["customer/bolt"]]
        pinned = f"hydra.searchpath=[configs://{web.store.location}@draft-2]"
        steps = json.loads(cli("plan", "c=modeling", "+customer=bolt,default", "--multirun", pinned, "--json").out)
        assert plan["plan"] == Counter(step["action"] for step in steps["steps"])
        ann.get_by_role("button", name="Publish").click()
        assert "may only be published after somebody who has not edited it approved" in ann.inner_text("main")
        bob.goto("/configs/drafts/2")
        bob.get_by_label("Comment").fill("Tried it")
        bob.get_by_role("button", name="Approve").click()
        bob.get_by_text("approved by bob: Tried it").wait_for()
        ann.goto("/configs/drafts/2")
        ann.get_by_role("button", name="Publish").click()
        ann.get_by_text("Revision 2 is published.").wait_for()
        values = json.loads(cli("config", "show", "customer/bolt", "--effective", "--json", *store).out)
        assert {value["key"]: value["value"] for value in values}["m_param.learning_rate"] == 0.2
        ann.get_by_text("2 of 3 entries that use what it changes have other values.").wait_for()
        ann.get_by_role("button", name="Propose to revert it").click()
        bob.goto("/configs/drafts/3")
        bob.get_by_role("button", name="Approve").click()
        bob.get_by_text("Draft 3 is approved.").wait_for()
        bob.get_by_role("button", name="Publish").click()
        bob.get_by_text("Revision 3 is published.").wait_for()
        assert web.store.entries()["customer/default"].text == SHARED
        bob.goto("/configs/history")
        assert "Learn faster" in bob.inner_text("main")
        assert "reviewed by bob" in bob.inner_text("main")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_is_accessible_fits_and_runs_no_code_of_people(
    chromium: Browser, web: WebApp, width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    evil = f"{ACME}# {EVIL}\nmodel_name: '{EVIL}'\n"
    web.store.publish(web.store.edit({"customer/acme": evil}, {"customer/acme": 1}, EVIL), lambda _: None)
    web.store.edit({"customer/bolt": f"{CUSTOMERS['customer/bolt']}# {EVIL}\n"}, {"customer/bolt": 1}, EVIL)
    entry = ("/entries/customer/acme", "/edit/customer/acme", "/edit/customer/acme?as=text", "/new")
    paths = ("", *entry, "/matrix/customer", "/drafts", "/drafts/3", "/history", "/history/2", "/nothing")
    with signed_in(chromium, web, "ann", width=width, scheme=scheme) as page:
        for path in (*(f"/configs{path}" for path in paths), "/deployments"):
            page.goto(path)
            page.wait_for_selector("[aria-busy=true]", state="detached")
            found = Axe().run(page).response["violations"]
            serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
            assert not serious, path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"


def test_a_run_is_chosen_started_and_watched_and_another_is_cancelled(
    chromium: Browser, web: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    def looks_right(page: Page) -> None:
        found = Axe().run(page).response["violations"]
        assert not [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    install(monkeypatch)
    web.settings = replace(web.settings, config_dirs=(CONF,))
    with signed_in(chromium, web, "ann") as ann, signed_in(chromium, web, "ann", width=390, scheme="dark") as phone:
        ann.goto("/launch")
        ann.get_by_role("checkbox", name="fit Fit a curve").check()
        ann.get_by_role("heading", name="Plan").wait_for()
        ann.get_by_label("Further overrides").press_sequentially("knobs.rate=2")
        alert = ann.get_by_role("alert")
        alert.wait_for()
        assert "expected a number, 0 < x < 1" in alert.inner_text()
        looks_right(ann)
        ann.get_by_label("Further overrides").fill(f"knobs.rate=0.25\nmodel_name='{EVIL}'\nsource.seconds=0.7")
        ann.get_by_role("heading", name="Plan").wait_for()
        assert "1 job, 2 steps: 2 run" in ann.locator("#checked").inner_text()
        looks_right(ann)
        ann.get_by_role("button", name="Start").press("Enter")
        live = ann.locator(".live")
        live.get_by_role("progressbar").wait_for()
        looks_right(ann)
        live.get_by_text("fitted a line").wait_for()
        ann.get_by_role("button", name="Cancel").wait_for(state="detached")
        assert "done 2 done" in " ".join(live.inner_text().split())
        phone.goto("/launch")
        phone.get_by_role("checkbox", name="gather").check()
        phone.get_by_label("Further overrides").fill("source.numbers=[7]\nsource.seconds=60")
        phone.get_by_role("heading", name="Plan").wait_for()
        looks_right(phone)
        phone.get_by_role("button", name="Start").click()
        phone.locator(".live").get_by_role("progressbar").wait_for()
        phone.get_by_role("button", name="Cancel").press("Enter")
        phone.get_by_text("Cancelled by ann.").wait_for()
        phone.locator("[data-part=state] .badge", has_text="interrupted").wait_for()
        looks_right(phone)
        ann.goto("/launch")
        looks_right(ann)
        ann.get_by_role("row", name="1 done").get_by_role("link").nth(1).click()
        assert "launched-by-ann" in ann.inner_text("main")
        assert ann.get_by_label("Note").input_value() == "Launched by ann in the web app."
