"""Make the pictures of the docs from real runs: ``python docs/pictures.py [NAME …]``, all of them without a name.

Needs the extra "testing"; those of pages also need Chromium on the path, that of a search Optuna, those of the web
app and of Dagster Playwright. Each run has an empty folder.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
from PIL import Image
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from playwright.sync_api import Page

PROGRAM = "wmh"
PREFIX = "WMH_"  # of the environment variables
STATIC = Path(__file__).parent / "_static"
COLUMNS, LINES = 80, 24
MOST = 150_000  # bytes of a picture; a test has the same limit
PAGE = 900, 1245  # pixels of a page
SEARCH_PAGE = 900, 1540

RUN = (
    "c=preprocessing,modeling,deployment --multirun",
    "plan c=deployment m_param.learning_rate=0.2",
    "c=modeling modeling/model=forest m_param.learning_rate=1.5",
)
SWEEP = "c=modeling preprocessing/dataset=cars,planes m_param.seed=1,2,3 hydra.launcher.n_jobs=2 --multirun"
# Two steps that run, each with between 10 and 99 % done, after two data sets and a model.
UNDER_WAY = re.compile(r" [1-9]\d% [^\n]*\n[^\n]* [1-9]\d% [^\n]*\n\d+ of \d+ steps[^\n]*\n.* [3-9] done .*about")
SEARCH = (
    "c=modeling modeling/model=choice(linear,gradient_boosting) m_param.alpha=tag(log,interval(0.001,100))"
    " m_param.learning_rate=tag(log,interval(0.02,0.5)) m_param.n_estimators=range(10,81)"
    " objective.metric=r2 hydra/sweeper=optuna hydra.sweeper.n_trials=40 hydra.sweeper.study_name=cars"
)
REPORT = "c=analysis preprocessing/dataset=breast_cancer modeling/model=linear"
DAGSTER = "c=modeling modeling/param=small,medium modeling/model=linear hydra/launcher=dagster --multirun"
PASSWORD, PORT = "only-we-know", 8087
ENTRIES = {
    "default": "# What all customers share\nm_param:\n  learning_rate: 0.1\n  n_estimators: 50\n",
    "acme": "# Acme\ndefaults: [default, _self_]\nm_param:\n  learning_rate: 0.05\n",
}


def run(folder: Path) -> None:
    """Three commands and their output: a first run, a plan, and an error message."""
    shown = []
    for words in RUN:
        # The place of a progress bar that is gone is an empty line.
        lines = [line for line in output(folder, words).expandtabs(4).splitlines() if line.strip()]
        shown += [Text(f"$ {PROGRAM} {words}", "bold"), Text.from_ansi("\n".join(lines)), Text()]
    draw(shown, "run.svg")


def sweep(folder: Path) -> None:
    """The live view of a sweep, with two steps running."""
    screen = terminal(folder, SWEEP, lambda shown: bool(UNDER_WAY.search(shown)))
    draw([Text(f"$ {PROGRAM} {SWEEP}", "bold"), *screen, Text()], "sweep.svg")


def report(folder: Path) -> None:
    """The upper part of the report page of a model, as a browser shows it."""
    output(folder, REPORT)
    browse(next(folder.glob("**/report.html")), folder / "report.png", PAGE)


def search(folder: Path) -> None:
    """The upper part of the page of a search, as a browser shows it."""
    output(folder, SEARCH)
    browse(next(folder.glob("**/search.html")), folder / "search.png", SEARCH_PAGE)


def browse(page: Path, picture: Path, size: tuple[int, int]) -> None:
    """Keep the upper part of a page as a picture."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit(f"{picture.name} needs Chromium on the path")
    words = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size[0]},{size[1]}"]
    subprocess.run([browser, *words, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True)
    shrink(picture)


def drift(folder: Path) -> None:
    """The plot of a model that is asked kilowatts where horsepower is meant."""
    cluster = f"deployment/cluster=http cluster.url=http://127.0.0.1:{PORT}"
    repository = folder / "models"
    repository.mkdir()
    server = subprocess.Popen(
        command(f"serve --repository {repository} --port {PORT}"),
        cwd=folder,
        env=environment(folder),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr
    try:
        next(line for line in server.stderr if line.startswith("Serving"))
        output(folder, f"c=deployment {cluster} modeling/param=small model_name=mpg")
        rows = json.loads((repository / "mpg/versions/1/smoke.json").read_text(encoding="utf-8"))["rows"]
        for _ in range(5):
            ask([{**row, "Horsepower": 0.7457 * (row["Horsepower"] or 100)} for row in rows])
        time.sleep(6)  # counts are written every few seconds
        output(folder, f"cluster drift mpg {cluster} --picture drift.png")
        shrink(folder / "drift.png")
    finally:
        server.terminate()
        server.communicate()


def compare(folder: Path) -> None:
    """The plot of a sweep: a metric against each key that was swept."""
    output(folder, "c=modeling modeling/model=gradient_boosting,random_forest m_param.n_estimators=5,20,80 --multirun")
    output(folder, f"runs compare last --metric r2 --picture {STATIC / 'compare.svg'}")


def web(folder: Path) -> None:
    """The form of an entry in the web app, while a value is changed."""
    with signed_in(folder) as page:
        page.goto(f"http://127.0.0.1:{PORT}/configs/edit/customer/acme")
        page.get_by_label("m_param.learning_rate").fill("0.08")
        page.locator("#preview").get_by_text("learning_rate: 0.08").wait_for()
        page.screenshot(path=folder / "web.png")
    shrink(folder / "web.png")


def launch(folder: Path) -> None:
    """Options that are chosen in the web app, with the command line that they come to, and its plan."""
    output(folder, "c=preprocessing")
    with signed_in(folder, "--launch-users ann") as page:
        page.goto(f"http://127.0.0.1:{PORT}/launch")
        page.get_by_role("checkbox", name="modeling Train").check()
        page.get_by_label("customer").select_option("acme")
        page.locator("details", has_text="modeling 6 groups").locator("summary").click()
        page.get_by_label("modeling/model").select_option("gradient_boosting")
        page.get_by_role("heading", name="Plan").wait_for()
        page.locator("code", has_text="gradient_boosting").wait_for()
        page.screenshot(path=folder / "launch.png")
    shrink(folder / "launch.png")


@contextmanager
def signed_in(folder: Path, more: str = "") -> Iterator[Page]:
    """A page of the web app over a store with two entries, in which Ann has signed in."""
    from playwright.sync_api import sync_playwright

    group = folder / "configs" / "customer"
    group.mkdir(parents=True)
    for name, text in ENTRIES.items():
        (group / f"{name}.yaml").write_text(f"# @package _global_\n{text}", encoding="utf-8")
    output(folder, "config import configs --publish")
    words = command(f"web --id ann --port {PORT} {more}")
    server = subprocess.Popen(words, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True)
    assert server.stderr
    try:
        next(line for line in server.stderr if line.startswith("The web app"))
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1100, "height": 800})
            page.goto(f"http://127.0.0.1:{PORT}/")
            page.fill("#name", "ann")
            page.fill("#password", PASSWORD)
            page.click("button[type=submit]")
            yield page
            browser.close()
    finally:
        server.terminate()
        server.communicate()


def dagster(folder: Path) -> None:
    """The page of a run in Dagster, with the steps over time and the metadata of a model."""
    from playwright.sync_api import Error, sync_playwright

    output(folder, DAGSTER)
    home = folder / ".pipeline" / "dagster"
    (home / "dagster.yaml").write_text("nux:\n  enabled: false\n", encoding="utf-8")  # no dialogue about a newsletter
    words = ["-m", "dagster_webserver", "--empty-workspace", "-h", "127.0.0.1", "-p", str(PORT)]
    variables = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1"}
    server = subprocess.Popen([sys.executable, *words], env=environment(folder) | variables, stderr=subprocess.DEVNULL)
    try:
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 820})
            while True:
                try:
                    page.goto(f"http://127.0.0.1:{PORT}/runs")
                    break
                except Error:  # it does not answer yet
                    time.sleep(0.5)
            page.locator("a[href*='/runs/']").first.click()
            page.get_by_text("RUN_SUCCESS").first.wait_for()
            page.locator("input[placeholder^='Filter']").fill("type:STEP_OUTPUT")
            page.wait_for_timeout(2000)
            page.screenshot(path=folder / "dagster.png")
            browser.close()
        shrink(folder / "dagster.png")
    finally:
        server.terminate()
        server.communicate()


PICTURES: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (run, sweep, report, search, drift, compare, web, launch, dagster)
}


def shrink(picture: Path) -> None:
    """Keep a picture of pixels, with as few colours as a palette has."""
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256).save(STATIC / picture.name, optimize=True)


def ask(rows: list[dict[str, object]]) -> None:
    """Send rows to the model ``mpg``."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v2/models/mpg/predict", json.dumps({"rows": rows}).encode()
    )
    request.add_header("Authorization", f"Basic {base64.b64encode(f'pipeline:{PASSWORD}'.encode()).decode()}")
    urllib.request.urlopen(request).close()


def command(words: str) -> list[str]:
    """The command line of the program in this environment."""
    return [str(Path(sys.executable).parent / PROGRAM), *words.split()]


def environment(folder: Path) -> dict[str, str]:
    """Colours, a narrow terminal, an empty home, and the password of the server."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS") and not k.startswith(PREFIX)}
    settings = {"HOME": str(folder / ".pipeline"), "SERVE_PW": PASSWORD, "CLUSTER_PW": PASSWORD, "WEB_PW": PASSWORD}
    return {**kept, "TERM": "xterm-256color", **{PREFIX + name: value for name, value in settings.items()}}


def output(folder: Path, words: str) -> str:
    """Everything that a command prints, with colours, as wide as the terminal."""
    narrow = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        command(words),
        cwd=folder,
        env=environment(folder) | narrow,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def terminal(folder: Path, words: str, until: Callable[[str], bool]) -> list[Text]:
    """The screen of a command that runs in a terminal, at the first moment when ``until`` holds for its text."""
    process, ours = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execve(command(words)[0], command(words), environment(folder))
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    found: list[Text] = []
    while written := _read(ours):
        stream.feed(written)
        if not found and until("\n".join(screen.display)):
            found = [_line(screen, number) for number in range(LINES)]
    os.waitpid(process, 0)
    if not found:
        sys.exit(f"the screen never looked as it should: {words}")
    return found


def _read(ours: int) -> bytes:
    try:
        return os.read(ours, 65536)
    except OSError:  # how Linux says that the other side has gone
        return b""


def _line(screen: pyte.Screen, number: int) -> Text:
    line = Text()
    for column in range(COLUMNS):
        cell = screen.buffer[number][column]
        colour = {"default": "", "brown": "yellow"}.get(cell.fg, cell.fg)
        if re.fullmatch("[0-9a-f]{6}", colour):
            colour = f"#{colour}"
        elif colour.startswith("bright"):
            colour = f"bright_{colour.removeprefix('bright').replace('brown', 'yellow')}"
        line.append(cell.data, f"{'bold ' if cell.bold else ''}{colour}".strip())
    line.rstrip()
    return line


def draw(lines: Iterable[Text], name: str) -> None:
    """Write lines of a terminal as a picture."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in lines:
            console.print(line)
        (STATIC / name).write_text(console.export_svg(title=PROGRAM), encoding="utf-8")


def main(names: Sequence[str]) -> None:
    """Make the pictures of these names, otherwise all."""
    for name in names or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            PICTURES[name](Path(folder))
        written = next(STATIC.glob(f"{name}.*"))
        size = written.stat().st_size
        sys.stdout.write(f"{written.name}: {size:,} bytes\n")
        if size > MOST:
            sys.exit(f"{written.name} is larger than {MOST:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
