"""A web app over a config store with customers, and browsers of people who are signed in to it.

The fixture ``web`` (``conftest.py``) serves one from a thread of this process, made anew for each test: ``web.ann`` and
``web.bob`` are signed in, ``web.visitor`` is not. ``web.ann.page("/configs")`` returns the HTML of a page, and
``web.ann.submit("/configs/…", key="value")`` sends a form with the token of the session. ``web.store`` is the config
store of the app, ``web.home`` its home, ``web.url`` its URL, also for Chromium. ``serving(web, log)`` is ``wmh web``.
"""

from __future__ import annotations

import atexit
import html
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, cached_property
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import httpx
import uvicorn

from config_stores import stored
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.serving.http.listening import listening
from when_ml_pipeline_meets_hydra.serving.http.users import Role, User, Users, new_user
from when_ml_pipeline_meets_hydra.web.launch.queue import Launches
from when_ml_pipeline_meets_hydra.web.server import config
from when_ml_pipeline_meets_hydra.web.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

FAILED_LOGINS = 3
PASSWORDS = {"ann": "password-of-ann", "bob": "password-of-bob"}
ROLES = {"ann": Role.DEPLOY, "bob": Role.PREDICT}
SHARED = "# @package _global_\n# What all customers share\nm_param:\n  learning_rate: 0.1\n  n_estimators: 50\n"
ACME = "# @package _global_\n# Acme\ndefaults: [default, _self_]\nm_param:\n  learning_rate: 0.05\n"
BOLT = "# @package _global_\n# Bolt\ndefaults: [default]\n"
CUSTOMERS = {"customer/default": SHARED, "customer/acme": ACME, "customer/bolt": BOLT}


class Browser(httpx.Client):
    """Keeps cookies, and sends forms as a page of the app does."""

    def page(self, path: str, status: int = 200) -> str:
        """The HTML of a page, which has this status."""
        response = self.get(path, follow_redirects=True)
        assert response.status_code == status, response.text
        return response.text

    def submit(self, path: str, page: str = "/configs", /, **fields: str) -> httpx.Response:
        """The answer to a form, sent with the token of a page."""
        return self.post(path, data={"csrf": token_in(self.page(page)), **fields})

    def done(self, path: str, /, **fields: str) -> str:
        """Send a form, which is accepted; returns the page that follows."""
        response = self.submit(path, **fields)
        assert response.status_code == 303, words_of(response.text)
        return self.page(response.headers["location"])

    def sign_in(self, name: str, password: str | None = None) -> httpx.Response:
        """Sign in by the form."""
        password = PASSWORDS.get(name, "") if password is None else password
        return self.submit("/sign-in", "/sign-in", name=name, password=password, next="/")


class WebApp:
    """The app, its store and its people."""

    def __init__(self, folder: Path, home: Path, texts: Mapping[str, str | None] = CUSTOMERS) -> None:
        self.home, self.repository = home, folder / "models"
        file = folder / "configs.db"
        if texts:
            shutil.copy(_published(tuple(texts.items())), file)
        self.store = ConfigStore(str(file), "ann")
        self.settings = Settings(
            home=home,
            port=0,
            repository=self.repository,
            store=self.store.location,
            sole=_users(),
            failed_logins=FAILED_LOGINS,
            launch_users=frozenset({"ann"}),
        )
        self.launches = Launches(self.settings.launch_limit)
        self._started = ExitStack()

    @cached_property
    def url(self) -> str:
        """The URL of the app, which is started when it is needed first."""
        listener, url = self._started.enter_context(listening(self.settings))
        server = uvicorn.Server(config(self.settings, self.launches))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        self._started.callback(thread.join)
        self._started.callback(setattr, server, "should_exit", True)
        return url

    def close(self) -> None:
        """Stop it."""
        self._started.close()

    @cached_property
    def visitor(self) -> Browser:
        """Somebody who has not signed in."""
        return self.browser()

    @cached_property
    def ann(self) -> Browser:
        """Ann is signed in; the models are hers to deploy."""
        return self.browser("ann")

    @cached_property
    def bob(self) -> Browser:
        """Bob is signed in."""
        return self.browser("bob")

    def browser(self, name: str = "") -> Browser:
        """A browser without cookies, in which somebody may sign in."""
        browser = self._started.enter_context(Browser(base_url=self.url, timeout=60))
        if name:
            assert browser.sign_in(name).status_code == 303
        return browser

    def cookie(self, kind: str = "session") -> str:
        """The name of a cookie of the app."""
        return f"wmh-{kind}-{httpx.URL(self.url).port}"


@contextmanager
def serving(web: WebApp, log: Path, *more: str) -> Iterator[str]:
    """A server of the same store, home and people in a process of its own; ``more`` are further words."""
    users = Users(web.repository)
    for name, password in PASSWORDS.items():
        users.add(name, ROLES[name], password)
    program = Path(sys.executable).parent / "wmh"
    words = ["web", "--port", "0", "--store", web.store.location, "--repository", str(web.repository), *more]
    with log.open("w") as stderr:
        process = subprocess.Popen([program, *words], stderr=stderr)
    try:
        yield _url(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(1200):
        if found := re.search(r"https?://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@contextmanager
def signed_in(
    chromium: Chromium, web: WebApp, name: str, *, width: int = 1280, scheme: str = "light"
) -> Iterator[Page]:
    """A page in which somebody has signed in, by the keyboard alone; nothing may be said on its console."""
    said: list[str] = []
    context = chromium.new_context(
        base_url=web.url, viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto("/")
    for words, key in ((name, "Tab"), (PASSWORDS[name], "Enter")):
        page.keyboard.type(words)
        page.keyboard.press(key)
    page.wait_for_url("**/configs")
    yield page
    assert not [line for line in said if "the server responded with a status of 4" not in line]
    context.close()


def token_in(page: str) -> str:
    """The token in a page of a session."""
    found = re.search(r'name="csrf" value="(\w+)"', page)
    assert found, page
    return found[1]


def words_of(page: str) -> str:
    """The words of a page, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@cache
def _published(texts: tuple[tuple[str, str | None], ...]) -> Path:
    """The file of a store with these texts, made once in this process: its tables take a third of a second."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    stored(str(folder / "configs.db"), dict(texts))
    return folder / "configs.db"


@cache
def _users() -> dict[str, User]:
    return {name: new_user(ROLES[name], password) for name, password in PASSWORDS.items()}
