"""What all tests share: a home of their own, and the console script as a person runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import settings

from mlflow_server import MlflowServer, mlflow_server
from needed import need

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from web_app import WebApp

for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):  # people have not set them
    os.environ.pop(name, None)

settings.register_profile("unhurried", deadline=None)  # a machine may be busy
settings.load_profile("unhurried")

HOME = "WMH_HOME"
PROGRAM = Path(sys.executable).parent / "when_ml_pipeline_meets_hydra"


class Finished(NamedTuple):
    """A process that has ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Finished]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that no process ends with one of them while the others have nothing left."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_configure(config: pytest.Config) -> None:
    """Leave out what ``tox -e integration`` runs, unless a file, a test or ``-m`` is given."""
    if not config.option.markexpr and all(Path(word).is_dir() for word in config.args):
        config.option.markexpr = "not integration"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for what the test's marks say that it needs."""
    for mark in item.iter_markers("integration"):
        need(*mark.args)
    if item.get_closest_marker("lightgbm"):
        need("lightgbm")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests out of anybody's real store, and out of the checkout."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    home = tmp_path / "home"
    monkeypatch.setenv(HOME, str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("WMH_PACKAGES", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return home


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The MLflow server of all tests of the ``xdist_group`` "mlflow"."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@pytest.fixture
def web(tmp_path: Path, own_home: Path) -> Iterator[WebApp]:
    """A web app in this process, with two people who are signed in."""
    from web_app import WebApp

    app = WebApp(tmp_path, own_home)
    yield app
    app.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def cli() -> Cli:
    """Run the console script in a process of its own: ``code, out, err = cli("c=modeling", …)``."""

    def run(*words: str, timeout: float = 120, env: Mapping[str, str] | None = None) -> Finished:
        done = subprocess.run(
            [PROGRAM, *words], capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})}
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
