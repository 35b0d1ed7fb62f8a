"""Entries, their effective values and their history on pages: what the commands print."""

from __future__ import annotations

import json

from conftest import Cli
from web_app import ACME, SHARED, WebApp, words_of
from when_ml_pipeline_meets_hydra.config_store import workflow

EVIL = "<script>alert(1)</script>"


def test_entries_are_listed_by_group_and_found(web: WebApp) -> None:
    words = words_of(web.ann.page("/configs"))
    assert "customer 3" in words
    assert "acme Acme customer/default 1 ann" in words
    assert "bolt" not in words_of(web.ann.page("/configs?q=acme"))
    assert "bolt" in words_of(web.ann.page("/configs?q=customer/b*"))
    assert EVIL not in web.ann.page(f"/configs?q={EVIL}")


def test_an_entry_shows_its_text_and_the_origins_of_its_effective_values(web: WebApp) -> None:
    page = words_of(web.ann.page("/configs/entries/customer/acme"))
    assert " ".join(ACME.split()) in page
    assert "m_param.learning_rate 0.05 own customer/acme, line 5" in page
    assert "m_param.n_estimators 50 customer/default, line 5" in page
    assert "Included by 2 entries" in words_of(web.ann.page("/configs/entries/customer/default"))


def test_the_entries_of_a_group_stand_side_by_side(web: WebApp) -> None:
    table = web.ann.page("/configs/matrix-table/customer")
    assert "default acme bolt m_param.learning_rate 0.1 (own) 0.05 (own) 0.1 m_param.n_est" in words_of(table)
    assert "bolt" not in words_of(web.ann.page("/configs/matrix-table/customer?q=acme"))
    assert "/configs/matrix-table/customer?q=" in web.ann.page("/configs/matrix/customer")


def test_history_shows_who_changed_what_and_reverts_it(web: WebApp, cli: Cli) -> None:
    number = workflow.propose(web.store, {"customer/default": SHARED.replace("0.1", "0.2")}, "Learn <b>faster</b>")
    workflow.publish(web.store, number)
    history = web.ann.page("/configs/history")
    assert "2 20" in words_of(history)
    assert "Learn &lt;b&gt;faster" in history
    page = words_of(web.ann.page("/configs/history/2"))
    assert "- learning_rate: 0.1 + learning_rate: 0.2" in page
    reach = words_of(web.ann.page("/configs/history/2/reach"))
    assert "2 of 3 entries that use what it changes have other values." in reach
    assert "customer/bolt , customer/default Key Before After m_param.learning_rate 0.1 0.2" in reach
    done = cli("config", "diff", "1", "2", "--effective", "--json", "--store", web.store.location)
    assert set(json.loads(done.out)) == {"customer/bolt", "customer/default"}
    web.ann.submit("/configs/history/2/revert")
    (draft,) = web.store.drafts()
    assert (draft.changes[0].after, draft.message, draft.author) == (SHARED, "revert of revision 2", "ann")


def test_what_the_store_has_not_is_said(web: WebApp) -> None:
    for path in ("entries/customer/none", "entries/../../etc/passwd", "matrix/none", "history/99"):
        assert "There is no such page" in words_of(web.ann.page(f"/configs/{path}", 404))


def test_an_entry_that_cannot_be_composed_shows_its_problem(web: WebApp) -> None:
    web.store.publish(web.store.edit({"customer/odd": "defaults: [nothing]\n"}, {}, "x"), lambda _: None)
    page = words_of(web.ann.page("/configs/entries/customer/odd"))
    assert "nothing" in page.partition("Effective values")[2].partition("Text")[0]
    assert "customer/acme" not in page.partition("Effective values")[2].partition("Text")[0]
