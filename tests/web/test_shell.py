"""Signing in, sessions, what every page has, and attacks on these."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from conftest import Cli
from web_app import FAILED_LOGINS, WebApp, serving, token_in, words_of
from when_ml_pipeline_meets_hydra.serving.http.users import Role, Users
from when_ml_pipeline_meets_hydra.web import sessions

EVIL = "<script>alert(1)</script>"


def test_pages_need_a_session_and_lead_back_after_signing_in(web: WebApp) -> None:
    answer = web.visitor.get("/configs?q=acme")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/configs%3Fq%3Dacme")
    page = web.visitor.page(answer.headers["location"])
    assert 'value="/configs?q=acme"' in page
    signed = web.visitor.submit("/sign-in", "/sign-in", name="ann", password="password-of-ann", next="/configs?q=acme")
    assert (signed.status_code, signed.headers["location"]) == (303, "/configs?q=acme")
    assert "acme" in words_of(web.visitor.page("/configs?q=acme"))


def test_signing_in_leads_to_no_other_site(web: WebApp) -> None:
    for target in ("//evil.org", "/\\evil.org", "https://evil.org", "javascript:x", "/sign-in", "/\n/x", ""):
        browser = web.browser()
        signed = browser.submit("/sign-in", "/sign-in", name="ann", password="password-of-ann", next=target)
        assert signed.headers["location"] == "/"


def test_a_session_gets_a_new_id_which_only_its_cookie_has(web: WebApp) -> None:
    web.visitor.page("/sign-in")
    web.visitor.cookies.set(web.cookie(), "chosen-by-somebody-else", domain="127.0.0.1", path="/")
    answer = web.visitor.sign_in("ann")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    identity = cookie.partition("=")[2].partition(";")[0]
    assert len(identity) > 40
    assert identity not in ("chosen-by-somebody-else", web.visitor.cookies.get(web.cookie("visitor")))
    assert identity not in web.visitor.page("/configs")
    first = web.ann.cookies.get(web.cookie())
    web.ann.sign_in("ann")
    assert web.ann.cookies.get(web.cookie()) != first
    old = web.browser()
    old.cookies.set(web.cookie(), first or "", domain="127.0.0.1", path="/")
    assert old.get("/configs").status_code == 303, "the session of before has ended"


def test_signing_out_ends_the_session(web: WebApp) -> None:
    cookie = web.ann.cookies.get(web.cookie()) or ""
    assert web.ann.submit("/sign-out").headers["location"] == "/sign-in"
    thief = web.browser()
    thief.cookies.set(web.cookie(), cookie, domain="127.0.0.1", path="/")
    assert thief.get("/configs").status_code == 303


def test_a_session_ends_with_time_and_with_its_user(web: WebApp, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = web.ann, web.bob
    monkeypatch.setattr(sessions, "IDLE_SECONDS", 0)
    time.sleep(0.01)
    assert ann.get("/configs").status_code == 303
    monkeypatch.undo()
    Users(web.repository).add("carl", Role.PREDICT, "password-of-carl")  # the first user of the repository's own
    assert bob.get("/configs").status_code == 303


def test_wrong_passwords_are_refused_and_too_many_are_not_looked_at(web: WebApp) -> None:
    for _ in range(FAILED_LOGINS):
        wrong = web.visitor.sign_in("ann", "wrong")
        assert (wrong.status_code, "Wrong id or password." in wrong.text) == (401, True)
    blocked = web.visitor.sign_in("ann")
    assert (blocked.status_code, "Too many wrong passwords. Try again in" in blocked.text) == (429, True)
    assert web.cookie() not in web.visitor.cookies


def test_a_form_is_taken_from_our_own_pages_only(web: WebApp) -> None:
    token = token_in(web.ann.page("/configs"))
    bobs = token_in(web.bob.page("/configs"))
    for sent in ({}, {"csrf": ""}, {"csrf": bobs}, {"csrf": token[:-1]}):
        answer = web.ann.post("/sign-out", data=sent)
        assert (answer.status_code, "This is not allowed" in answer.text) == (403, True)
    for headers in ({"origin": "https://evil.org"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert web.ann.post("/sign-out", data={"csrf": token}, headers=headers).status_code == 403
    assert web.visitor.post("/sign-out", data={"csrf": token}).status_code == 401
    assert "Configs" in web.ann.page("/configs")
    own = {"origin": web.url, "sec-fetch-site": "same-origin"}
    assert web.ann.post("/sign-out", data={"csrf": token}, headers=own).status_code == 303


def test_other_bodies_are_refused(web: WebApp) -> None:
    form = "application/x-www-form-urlencoded"
    for kind, body, status in (
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        (form, b"a=" + b"b" * 4_000_001, 413),
        (form, b"a=1&" * 6_000, 400),
        (form, b"a=%ff", 400),
        (form, b"a=\xff", 400),
    ):
        answer = web.ann.post("/sign-out", content=body, headers={"content-type": kind})
        assert (answer.status_code, "Traceback" in answer.text) == (status, False)


def test_what_is_not_there_is_a_page_of_its_own(web: WebApp) -> None:
    for path in ("/nothing", "/static/../app.py", "/static/%2e%2e/app.py", f"/{EVIL}", "/static/"):
        page = web.ann.page(path, 404)
        assert "There is no such page" in page
        assert EVIL not in page


def test_every_response_has_a_strict_policy_and_no_page_is_kept(web: WebApp) -> None:
    for path in ("/sign-in", "/configs", "/nothing", "/static/web.css"):
        headers = web.ann.get(path).headers
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
    assert web.ann.get("/configs").headers["cache-control"] == "no-store"


def test_pages_load_nothing_from_elsewhere_and_have_no_inline_code(web: WebApp) -> None:
    page = web.ann.page("/configs")
    assert not re.search(r"(src|href|action)=\"(https?:)?//", page)
    assert not re.search(r"<script(?! src=)|<style| on\w+=| style=|javascript:", page)


def test_a_link_from_another_site_keeps_the_session(web: WebApp) -> None:
    answer = web.visitor.get("/configs", headers={"sec-fetch-site": "cross-site"})
    assert 'http-equiv="refresh" content="0"' in answer.text
    assert "set-cookie" not in answer.headers


def test_names_are_text_on_pages(web: WebApp) -> None:
    answer = web.visitor.sign_in(EVIL, "x")
    assert EVIL not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_an_unexpected_error_is_a_page_without_a_traceback(web: WebApp, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = web.ann

    def broken(*_: object) -> None:
        raise RuntimeError("something of ours")

    monkeypatch.setattr("when_ml_pipeline_meets_hydra.web.configs.entries.render", broken)
    page = ann.page("/configs", 500)
    assert "something of ours" not in page
    assert "The server's log says what" in words_of(page)


def test_a_server_needs_a_password_or_users(cli: Cli) -> None:
    done = cli("web", "--port", "0", "--id", "ann")
    assert done.code == 2
    assert "$WMH_WEB_PW: the server needs a password, or users" in done.err


def test_the_command_serves_the_app_and_stops(web: WebApp, tmp_path: Path) -> None:
    import httpx

    with serving(web, log := tmp_path / "log.txt") as url, httpx.Client(base_url=url) as client:
        token = token_in(client.get("/sign-in").text)
        fields = {"csrf": token, "name": "ann", "password": "password-of-ann", "next": "/configs"}
        page = client.post("/sign-in", data=fields, follow_redirects=True)
        assert "What all customers share" in page.text
    assert "Stopped." in log.read_text()
    assert "password-of-ann" not in log.read_text()


@pytest.mark.integration
def test_over_tls_the_cookie_is_for_this_host_and_for_tls_alone(web: WebApp, tmp_path: Path) -> None:
    import ssl

    import httpx
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    words = ("--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    with serving(web, tmp_path / "log.txt", *words) as url, httpx.Client(base_url=url, verify=trusting) as client:
        assert url.startswith("https://")
        page = client.get("/sign-in")
        fields = {"csrf": token_in(page.text), "name": "ann", "password": "password-of-ann", "next": "/configs"}
        answer = client.post("/sign-in", data=fields)
        assert answer.status_code == 303
        name, _, attributes = answer.headers["set-cookie"].partition("=")
        assert name.startswith("__Host-wmh-session-")
        assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes.split("; "))
        assert answer.headers["strict-transport-security"]
        assert "customer" in client.get("/configs").text


@pytest.mark.integration
def test_thousands_of_wrong_passwords_are_refused_and_sessions_go_on(web: WebApp) -> None:
    ann = web.ann
    token = token_in(web.visitor.page("/sign-in"))
    answers = [
        web.visitor.post("/sign-in", data={"csrf": token, "name": "ann", "password": f"wrong-{n}", "next": "/"})
        for n in range(2_000)
    ]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert sum(answer.status_code == 401 for answer in answers) <= 3 * FAILED_LOGINS
    assert "customer" in ann.page("/configs")


def test_a_process_that_is_killed_is_one_failed_page(web: WebApp) -> None:
    import os
    import signal

    from when_ml_pipeline_meets_hydra.errors import StepFailed
    from when_ml_pipeline_meets_hydra.web.apart import Apart

    apart = Apart()
    with pytest.raises(StepFailed, match="Load the page again"):
        apart.run(os.kill, apart.run(os.getpid), signal.SIGKILL)
    assert apart.run(max, 1, 2) == 2
    apart.close()
