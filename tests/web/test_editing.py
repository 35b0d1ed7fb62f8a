"""Entries are edited by a form or as text, reviewed and published on pages, as by the commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config_stores import stored
from conftest import Cli
from web_app import ACME, SHARED, WebApp, words_of
from when_ml_pipeline_meets_hydra.composing.tree import load_yaml
from when_ml_pipeline_meets_hydra.config_store import people
from when_ml_pipeline_meets_hydra.config_store.people import Role, Rules
from when_ml_pipeline_meets_hydra.web.configs.section import SECTION

EVIL = "<script>alert(1)</script>"
RATE, TREES, DEFAULT, ACMES = (
    "value:m_param.learning_rate",
    "value:m_param.n_estimators",
    "customer/default",
    "customer/acme",
)
WAS = {"was:m_param.learning_rate": "0.1", "was:m_param.n_estimators": "50", "base": "1"}
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}, *a{n}]\n" for n in range(30))


def _roles(web: WebApp, **roles: Role) -> None:
    with web.store.writing() as connection:
        for name, role in roles.items():
            people.set_role(connection, name, role, "ann")


def _edit(web: WebApp) -> str:
    return str(web.store.draft(2).last_edit)


def test_a_form_has_fields_by_type_with_limits_and_descriptions(web: WebApp) -> None:
    page = web.ann.page(f"/configs/edit/{ACMES}")
    words = words_of(page)
    assert "m_param.learning_rate own Weight of each tree · a number, 0 < x < 1 from customer/acme, line 5" in words
    assert re.search(r'name="value:m_param.learning_rate" value="0.05"[^>]* inputmode="decimal"', page)
    assert re.search(r'<select id="\w+" name="value:m_param.loss"', page)
    assert "value:cluster" not in page


def test_a_changed_field_becomes_a_draft_and_the_rest_of_the_text_stays(web: WebApp) -> None:
    page = web.ann.done(f"/configs/edit/{DEFAULT}", **WAS, **{RATE: "0.2", TREES: "50"}, message="Learn faster")
    assert "Draft 2 has it." in words_of(page)
    (draft,) = web.store.drafts()
    assert draft.changes[0].after == SHARED.replace("0.1", "0.2")
    assert (draft.author, draft.message, draft.changes[0].base) == ("ann", "Learn faster", 1)
    evidence = words_of(web.ann.page("/configs/drafts/2/evidence"))
    assert "It reaches 2 of 3 entries that use what it changes." in evidence
    assert "customer/bolt , customer/default Key Before After m_param.learning_rate 0.1 0.2" in evidence
    assert "Unchanged, since they have values of their own: customer/acme" in evidence
    web.ann.done("/configs/drafts/2/publish")
    assert web.store.entries()[DEFAULT].text == SHARED.replace("0.1", "0.2")


def test_a_wrong_value_is_refused_with_the_message_of_the_command_and_nothing_is_lost(web: WebApp, cli: Cli) -> None:
    fields = {RATE: "fast", "was:m_param.learning_rate": "0.05", TREES: "70", "base": "1", "message": "Mine"}
    answer = web.ann.submit(f"/configs/edit/{ACMES}", **fields)
    assert answer.status_code == 422
    assert not web.store.drafts()
    assert all(f'value="{kept}"' in answer.text for kept in ("fast", "70", "Mine"))
    assert 'aria-invalid="true"' in answer.text
    store = ["--store", web.store.location]
    done = cli("config", "edit", ACMES, "--set", "m_param.learning_rate=fast", "--publish", *store)
    message, origin = [line.strip() for line in done.err.splitlines() if "fast" in line or "from config" in line]
    words = words_of(answer.text)
    assert message.replace("=fast: ", "=fast : ") in words
    assert origin.replace(", draft 2", "") in words
    refused = web.ann.submit(f"/configs/edit/{DEFAULT}", **WAS, **{RATE: "2", TREES: "50"})
    assert "m_param.learning_rate=2 : expected a number, 0 < x < 1" in words_of(refused.text), (
        "also where others use it"
    )


@pytest.mark.integration
def test_keys_are_added_and_lose_their_own_values(web: WebApp) -> None:
    base = {"base": "1", RATE: "0.05", "was:m_param.learning_rate": "0.05"}
    web.ann.done(f"/configs/edit/{ACMES}", **base, added="m_param.max_depth", **{"added-value": "4"})
    web.ann.done(f"/configs/edit/{ACMES}", **base, unset="m_param.learning_rate")
    first, second = web.store.drafts()
    assert first.changes[0].after == ACME + "  max_depth: 4\n"
    assert second.changes[0].after == "# @package _global_\n# Acme\ndefaults: [default, _self_]\n"
    assert web.ann.submit(f"/configs/edit/{ACMES}", **base).status_code == 422, "nothing was changed"


@pytest.mark.integration
def test_a_truth_value_is_never_turned_round(web: WebApp) -> None:
    fields = {"base": "1", "added": "p_param.missing_indicator"}
    for text, meant in (("False", False), ("true", True), ("no", False), ("0", None), ("'False'", None)):
        answer = web.ann.submit(f"/configs/edit/{DEFAULT}", **fields, **{"added-value": text})
        assert answer.status_code == (422 if meant is None else 303), text
        if meant is not None:
            after = load_yaml(web.store.drafts()[-1].changes[0].after or "")
            assert after["p_param"]["missing_indicator"] is meant


def test_texts_that_must_not_be_published_are_refused(web: WebApp) -> None:
    for text, message in (
        ("m_param: {learning_rate: 2}\n", "m_param.learning_rate=2: expected a number, 0 < x < 1"),
        ("a: [1, 2\n", "it cannot be read"),
        ("just words\n", "expected keys with their values"),
        ("db:\n  password: abcdefgh1\n", "a secret is never kept in a config store"),
        (BOMB, "cannot be read"),
        ("x: !!python/object/apply:os.system ['true']\n", "it cannot be read"),
        ("model: {_target_: os.system}\n", "os.system"),
    ):
        answer = web.ann.submit(f"/configs/edit/{ACMES}", base="1", text=f"# @package _global_\n{text}")
        assert (answer.status_code, "Traceback" in answer.text) == (422, False)
        assert message in words_of(answer.text).replace(" : ", ": ")
        assert text.split()[0] in answer.text, "the text is kept in the form"
    assert not web.store.drafts()


@pytest.mark.integration
def test_a_stale_draft_is_told_and_merged(web: WebApp) -> None:
    web.ann.done(f"/configs/edit/{DEFAULT}", **WAS, **{RATE: "0.1", TREES: "80"})
    stored(web.store.location, {DEFAULT: SHARED.replace("What", "All that")}, "bob")
    page = words_of(web.ann.page("/configs/drafts/2"))
    assert "revision 2 was published since it was edited from revision 1" in page
    refused = web.ann.submit("/configs/drafts/2/publish")
    assert (refused.status_code, "entries were published since" in refused.text) == (403, True)
    assert "is merged" in web.ann.done("/configs/drafts/2/merge")
    web.ann.done("/configs/drafts/2/publish")
    assert web.store.entries()[DEFAULT].text == SHARED.replace("What", "All that").replace("50", "80")


@pytest.mark.integration
def test_a_form_of_an_older_revision_changes_only_what_was_changed_in_it(web: WebApp) -> None:
    stored(web.store.location, {DEFAULT: SHARED.replace("What", "All that")}, "bob")
    web.ann.done(f"/configs/edit/{DEFAULT}", **WAS, **{RATE: "0.1", TREES: "60"})
    draft = web.store.drafts()[-1]
    assert draft.changes[0].is_stale
    web.ann.done(f"/configs/drafts/{draft.number}/merge")
    after = web.store.draft(draft.number).changes[0].after
    assert after == SHARED.replace("What", "All that").replace("50", "60")


@pytest.mark.integration
def test_conflicts_are_shown_side_by_side_and_decided(web: WebApp) -> None:
    web.ann.done(f"/configs/edit/{DEFAULT}", **WAS, **{RATE: "0.2", TREES: "50"})
    stored(web.store.location, {DEFAULT: SHARED.replace("0.1", "0.3")}, "bob")
    answer = web.ann.submit("/configs/drafts/2/merge")
    words = words_of(answer.text)
    assert answer.status_code == 200
    assert "<<<<<<< yours learning_rate: 0.2 ======= learning_rate: 0.3 >>>>>>> published" in words
    base, seen = (re.findall(rf'name="{name}" value="(\d+)"', answer.text)[-1] for name in ("base", "seen"))
    text = SHARED.replace("0.1", "0.25")
    web.ann.done(f"/configs/edit/{DEFAULT}", draft="2", base=base, seen=seen, text=text)
    web.ann.done("/configs/drafts/2/publish")
    assert web.store.entries()[DEFAULT].text == text


@pytest.mark.integration
def test_two_editors_of_one_draft_are_told_and_keep_their_texts(web: WebApp) -> None:
    web.ann.done(f"/configs/edit/{DEFAULT}", **WAS, **{RATE: "0.2", TREES: "50"})
    page = web.bob.page(f"/configs/edit/{DEFAULT}?draft=2&as=text")
    seen = re.findall(r'name="seen" value="(\d+)"', page)[0]
    web.ann.done(f"/configs/edit/{DEFAULT}", draft="2", base="1", seen=seen, text=SHARED.replace("0.1", "0.4"))
    mine = SHARED.replace("0.1", "0.6")
    answer = web.bob.submit(f"/configs/edit/{DEFAULT}", draft="2", base="1", seen=seen, text=mine)
    assert answer.status_code == 403
    assert "'ann' has edited customer/default in draft 2 meanwhile" in words_of(answer.text)
    assert "learning_rate: 0.6" in answer.text


@pytest.mark.integration
def test_roles_and_protected_entries_hold_as_for_the_commands(web: WebApp) -> None:
    _roles(web, ann=Role.ADMIN, bob=Role.PROPOSE)
    with web.store.writing() as connection:
        people.set_rules(connection, Rules(protected=("customer/d*",)), "ann")
    web.bob.done(f"/configs/edit/{DEFAULT}", **WAS, **{RATE: "0.2", TREES: "50"})
    page = web.bob.page("/configs/drafts/2")
    assert "/publish" not in page
    assert "You may propose , not publish" in words_of(page).replace("propose,", "propose ,")
    for path, needed in (("publish", "publish"), ("review", "approve")):
        answer = web.bob.submit(f"/configs/drafts/2/{path}", verdict="approve", edit="2")
        assert (answer.status_code, f"needs {needed}" in answer.text) == (403, True)
    web.ann.done(f"/configs/edit/{DEFAULT}", draft="2", base="1", seen=_edit(web), text=SHARED.replace("0.1", "0.3"))
    assert "approve" in words_of(web.ann.submit("/configs/drafts/2/publish").text), "ann has edited it as well"
    _roles(web, bob=Role.APPROVE)
    edit = _edit(web)
    web.bob.done("/configs/drafts/2/review", verdict="approve", edit=edit)
    assert web.ann.submit("/configs/drafts/2/publish").status_code == 403, "bob has edited it as well"
    _roles(web, carl=Role.APPROVE)
    web.store.user = "carl"
    web.store.review(2, "fine", int(edit), approves=True)
    assert "Revision 2 is published." in web.ann.done("/configs/drafts/2/publish")
    assert web.store.history()[0].reviewers == ("bob", "carl")


@pytest.mark.integration
def test_a_stale_review_is_refused_and_a_draft_discarded(web: WebApp) -> None:
    web.ann.done(f"/configs/edit/{DEFAULT}", **WAS, **{RATE: "0.2", TREES: "50"})
    answer = web.bob.submit("/configs/drafts/2/review", verdict="approve", edit="1")
    assert (answer.status_code, "has been edited meanwhile" in answer.text) == (403, True)
    web.bob.done("/configs/drafts/2/review", verdict="reject", edit=_edit(web), comment=EVIL)
    page = web.ann.page("/configs/drafts/2")
    assert "rejected by bob" in words_of(page)
    assert EVIL not in page
    web.ann.done("/configs/drafts/2/discard")
    assert "discarded" in words_of(web.ann.page("/configs/drafts?all=yes"))
    assert "No drafts are open" in web.ann.page("/configs/drafts")


@pytest.mark.integration
def test_entries_are_added_and_removed(web: WebApp) -> None:
    assert web.ann.get("/configs/new?name=customer/core").headers["location"] == "/configs/edit/customer/core?as=text"
    assert "# @package _global_" in web.ann.page("/configs/edit/customer/core?as=text")
    web.ann.done("/configs/edit/customer/core", text="# @package _global_\n# Core\ndefaults: [default]\n")
    assert "new" in words_of(web.ann.page("/configs/drafts/2"))
    web.ann.done(f"/configs/remove/{ACMES}")
    web.ann.done("/configs/drafts/3/publish")
    assert ACMES not in web.store.entries()


@pytest.mark.integration
def test_names_that_are_none_are_refused(web: WebApp) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "hydra/launcher/x", "a b", "x" * 500):
        answer = web.ann.submit(f"/configs/edit/{name}", text="a: 1\n")
        assert answer.status_code in (404, 422)
        assert "root:" not in answer.text
    assert not web.store.drafts()


@pytest.mark.integration
def test_texts_of_people_are_text_on_all_pages(web: WebApp) -> None:
    evil = f"# @package _global_\n# {EVIL}\ndefaults: [default]\nmodel_name: '{EVIL}'\n"
    web.store.publish(web.store.edit({ACMES: evil}, {ACMES: 1}, EVIL), lambda _: None)
    web.store.edit({ACMES: f"{evil}# {EVIL}\n"}, {ACMES: 2}, EVIL)
    paths = (
        "",
        "/entries/customer/acme",
        "/edit/customer/acme",
        "/edit/customer/acme?as=text",
        "/matrix-table/customer",
    )
    for path in (*paths, "/drafts", "/drafts/3", "/drafts/3/evidence", "/history", "/history/2", "/history/2/reach"):
        page = web.ann.page(f"/configs{path}")
        assert EVIL not in page, path
        assert not re.search(r"<script(?! src=)|<style| on\w+=| style=", page), path


def test_each_change_needs_the_token_of_its_session(web: WebApp) -> None:
    posts = [route for route in SECTION.routes if "POST" in (getattr(route, "methods", None) or ())]
    assert len(posts) >= 7
    for route in posts:
        path = getattr(route, "path", "").replace("{path:path}", ACMES).replace("{number:small}", "1")
        assert web.ann.post(path, data={"text": "a: 1"}).status_code == 403
        assert web.visitor.post(path, data={"text": "a: 1"}).status_code == 401
    assert not web.store.drafts()


def test_a_preview_shows_the_text_that_the_form_comes_to(web: WebApp) -> None:
    fields = {**WAS, RATE: "0.2", TREES: "50"}
    assert "learning_rate: 0.2" in web.ann.submit(f"/configs/preview/{DEFAULT}", **fields).text
    assert not web.store.drafts()


@pytest.mark.integration
def test_a_store_that_is_not_there_yet_begins_with_its_first_entry(tmp_path: Path, own_home: Path) -> None:
    app = WebApp(tmp_path, own_home, {})
    try:
        assert "No entries yet" in app.ann.page("/configs")
        for path in ("/configs/drafts", "/configs/history", "/configs/new", "/configs/edit/customer/core?as=text"):
            app.ann.page(path)
        app.ann.done("/configs/edit/customer/core", text="# @package _global_\nm_param:\n  learning_rate: 0.2\n")
        app.ann.done("/configs/drafts/1/publish")
        assert "customer 1" in words_of(app.ann.page("/configs"))
    finally:
        app.close()


@pytest.mark.integration
def test_forms_of_other_groups_have_their_types_and_no_secret(web: WebApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PW", "value-of-the-secret")
    server = "# @package cluster\n_target_: when_ml_pipeline_meets_hydra.deploy.clusters.http.Http\nname: shop\n"
    server += "url: https://models.acme.com\nid: ann\npw: ${oc.env:SHOP_PW}\ntimeout: 9\n"
    depth = "# @package m_param\nmax_depth: 3\n"
    texts = {"deployment/cluster/shop": server, "modeling/param/linear/shop": "# @package m_param\nalpha: 2\n"}
    stored(web.store.location, {**texts, "modeling/param/hist_gradient_boosting/shop": depth})
    page = web.ann.page("/configs/edit/deployment/cluster/shop")
    assert "cluster.url" in page
    assert "value:cluster.pw" not in page
    assert "a secret, which is never shown nor kept here" in page
    fields = {"base": "2", "value:cluster.timeout": "12", "was:cluster.timeout": "9"}
    web.ann.done("/configs/edit/deployment/cluster/shop", **fields)
    assert web.store.drafts()[-1].changes[0].after == server.replace("9", "12")
    draft = f"drafts/{web.store.drafts()[-1].number}"
    for path in ("entries/deployment/cluster/shop", "edit/deployment/cluster/shop", draft, f"{draft}/evidence"):
        assert "value-of-the-secret" not in web.ann.page(f"/configs/{path}")
    assert "cluster.timeout 9 12" in words_of(web.ann.page(f"/configs/{draft}/evidence"))
    refused = web.ann.submit("/configs/edit/deployment/cluster/shop", **{**fields, "value:cluster.timeout": "soon"})
    assert "cluster.timeout=soon : expected" in words_of(refused.text)
    leaked = {"base": "2", "added": "cluster.pw", "added-value": "s3cret-of-shop"}
    refused = web.ann.submit("/configs/edit/deployment/cluster/shop", **leaked)
    assert "a secret is never kept in a config store" in words_of(refused.text)
    assert "m_param.alpha" in web.ann.page("/configs/edit/modeling/param/linear/shop")
    fields = {"base": "2", "value:m_param.max_depth": "0", "was:m_param.max_depth": "3"}
    refused = web.ann.submit("/configs/edit/modeling/param/hist_gradient_boosting/shop", **fields)
    assert "m_param.max_depth=0 : expected a whole number" in words_of(refused.text)


@pytest.mark.integration
def test_odd_requests_are_refused_in_words(web: WebApp) -> None:
    big = "9" * 30
    gets = ["drafts/" + big, "history/" + big, "drafts/0", "history/0", "history?before=" + big, "history?before=x"]
    gets += ["entries/%00", "edit/%00", "edit/customer/acme?draft=" + big, "edit/customer/acme?draft=77", "?q=%5B*%00"]
    gets += ["new?name=..%2F..", "matrix/%F0%9F%98%80", "drafts/1/evidence?plan=nothing", "matrix-table/customer?q=%5B"]
    for path in gets:
        response = web.ann.get(f"/configs/{path}" if not path.startswith("?") else f"/configs{path}")
        assert response.status_code in (200, 404, 422), path
        assert "Traceback" not in response.text
    posts = [{"draft": big}, {"base": big, "text": "a: 1\n"}, {"seen": "-1"}, {"base": "x"}, {"value:": "1"}]
    posts += [{"value:a.b.c": "1"}, {"unset": "no.such.key"}, {"added": "a b", "added-value": "{"}, {"text": "\0"}]
    for fields in posts:
        response = web.ann.submit("/configs/edit/customer/acme", **fields)
        assert response.status_code in (303, 404, 422), fields
        assert "Traceback" not in response.text
    for path in ("history/99/revert", "drafts/99/publish", "drafts/99/merge", "drafts/99/discard", "drafts/99/review"):
        assert web.ann.submit(f"/configs/{path}", edit="x").status_code in (403, 404, 422), path
