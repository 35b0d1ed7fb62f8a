"""The docs build without a warning, and the commands in them do what the pages say.

Commands stand in ``console`` blocks. All those of one page run in one bash, in order, in a folder of their own that
holds ``examples/``. How a page is read:

- A line that starts with ``$ `` is a command; a line that ends with a backslash, or an open quote, goes on below.
- The lines below a command have to appear in its output (stdout and stderr), in that order; further lines may stand
  between them. ``…`` stands for anything. Durations, dates, run ids and keys match any other, and a decimal number
  one that is at most a tenth away.
- A command has to end with 0, unless the next one is ``$ echo $?``.
- A command that ends with `` &`` stays until the end of the page; the next one waits for its expected lines.
- Ports 8080 to 8089 stand for free ones.
- A page with commands that begin with ``curl`` is skipped where there is none.
- The pages are run by ``tox -e integration``; ``<!-- needs NAME, … -->`` at the top of one names packages that it
  needs.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from needed import need
from when_ml_pipeline_meets_hydra.cli import COMMANDS
from when_ml_pipeline_meets_hydra.cli.arguments import FLAGS
from when_ml_pipeline_meets_hydra.errors import ExitCode

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCES = ROOT / "src" / "when_ml_pipeline_meets_hydra"
PAGES = [
    ROOT / "README.md",
    *sorted(p for p in DOCS.rglob("*.md") if not {"_build", "examples"} & set(p.relative_to(DOCS).parts)),
]
# .ci/run runs the README's first three blocks itself: they make environments and install into them.
SKIPPED = {ROOT / "README.md": 3}
SECONDS = 300

_NEEDS = re.compile(r"^<!-- needs ([\w, ]+) -->$", re.MULTILINE)
_BLOCK = re.compile(r"^( *)```console\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_TOOK = re.compile(r" in \d+\.\d s\b")  # not said where it took no time
# What differs from run to run, first the longer patterns; the last one is compared by its value.
_ANY = re.compile(
    r"…|\d{8}-\d{6}(?:-[0-9a-f]{4})?|\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?|\b\d+\.\d+ s\b"
    r"|\b[0-9a-f]{12}(?:[0-9a-f]{52})?\b|(?<![.\d])(?P<number>\d+\.\d+(?:e-?\d+)?)(?![.\d])"
)


@dataclass(frozen=True)
class Command:
    """A command of a page, and the lines that its output has to have."""

    line: int
    text: str
    expected: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Whether it is a server that runs until the end of the page."""
        return self.text.endswith(" &")


def commands_of(page: Path) -> list[Command]:
    """The commands of a page, without those blocks that something else runs."""
    text = page.read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))[SKIPPED.get(page, 0) :]
    return [c for b in blocks for c in _commands(b[2], text.count("\n", 0, b.start(2)) + 1, len(b[1]))]


def _commands(block: str, first: int, indent: int) -> Iterator[Command]:
    lines = [line[indent:] for line in block.splitlines()]
    assert not lines or lines[0].startswith("$ "), f"line {first}: a console block begins with a command"
    while lines:
        number, text = first, lines.pop(0).removeprefix("$ ")
        while lines and (text.endswith("\\") or text.count("'") % 2 or text.count('"') % 2):
            text += "\n" + lines.pop(0)
            first += 1
        end = next((i for i, line in enumerate(lines) if line.startswith("$ ")), len(lines))
        yield Command(number, text, tuple(line.rstrip() for line in lines[:end] if line.strip()))
        first += 1 + end
        lines = lines[end:]


def missing(expected: Sequence[str], output: str) -> str | None:
    """The first of the expected lines that does not follow in the output; None where all do."""
    lines = iter(output.splitlines())
    return next((e for e in expected if not any(matches(e, line.rstrip()) for line in lines)), None)


def matches(expected: str, line: str) -> bool:
    """Whether a line is as a page says."""
    expected, line = _TOOK.sub("", expected), _TOOK.sub("", line)
    pattern, numbers, end = "", [], 0
    for found in _ANY.finditer(expected):
        pattern += re.escape(expected[end : found.start()])
        pattern += r"(-?\d+\.?\d*(?:e-?\d+)?)" if found["number"] else ".*" if found[0] == "…" else r"[-0-9a-f.: s]+"
        numbers += [float(found["number"])] if found["number"] else []
        end = found.end()
    # Tables are as wide as their cells: any run of spaces is like any other.
    pattern = re.sub(r"(?:\\ )+", " +", pattern + re.escape(expected[end:]))
    same = re.fullmatch(pattern, line)
    if same is None:
        return False
    return all(abs(float(g) - n) <= abs(n) / 10 for g, n in zip(same.groups(), numbers, strict=True))


class Shell:
    """One bash for one page."""

    def __init__(self, folder: Path, text: str) -> None:
        self._folder, self._count = folder, 0
        self._ports = {port: str(_free_port()) for port in sorted(set(re.findall(r"\b808\d\b", text)))}
        hidden = ("WMH_", "COLUMNS")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            cwd=folder / "page",
            env={**environment, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1"},
            text=True,
            start_new_session=True,
        )

    def ports(self, text: str) -> str:
        """``text`` with the ports that are free here."""
        return re.sub(r"\b808\d\b", lambda found: self._ports[found[0]], text)

    def run(self, command: Command) -> tuple[int, str]:
        """Run one command: its exit code and output."""
        self._count += 1
        out, ended = self._folder / f"{self._count}.out", self._folder / f"{self._count}.code"
        assert self._bash.stdin
        self._bash.stdin.write(
            f"{{\n(exit ${{code:-0}})\n{self.ports(command.text)}\n}} >{out} 2>&1 </dev/null; code=$?\n"
            f"echo $code >{ended}.new && mv {ended}.new {ended}\n"
        )
        self._bash.stdin.flush()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and self._bash.poll() is None:
            said = out.read_text(encoding="utf-8") if out.exists() else ""
            expected = [self.ports(line) for line in command.expected]
            if ended.exists() and not (command.stays and missing(expected, said)):
                return int(ended.read_text()), out.read_text(encoding="utf-8")
            time.sleep(0.05)
        raise AssertionError(f"line {command.line}: {command.text}\nhas not ended, or not said what it should:\n{said}")

    def close(self) -> None:
        """End the shell, and what still runs in it."""
        assert self._bash.stdin
        if self._bash.poll() is None:
            self._bash.stdin.write("kill $(jobs -p) 2>/dev/null; wait\nexit\n")
            self._bash.stdin.flush()
        try:
            self._bash.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(self._bash.pid, 9)
            self._bash.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _pages() -> Iterator[Any]:
    for page in PAGES:
        needed = _NEEDS.match(page.read_text(encoding="utf-8"))
        marks = [pytest.mark.integration(*(needed[1].split(", ") if needed else ()))]
        if commands_of(page):
            yield pytest.param(page, id=_name(page), marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("page", list(_pages()))
def test_commands_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    commands = commands_of(page)
    if any(command.text.startswith("curl ") for command in commands):
        need("curl")
    (tmp_path / "shell" / "page").mkdir(parents=True)
    shutil.copytree(DOCS / "examples", tmp_path / "shell" / "page" / "examples")
    shell = Shell(tmp_path / "shell", page.read_text(encoding="utf-8"))
    try:
        for command, after in zip(commands, [*commands[1:], None], strict=True):
            code, out = shell.run(command)
            place = f"{_name(page)}, line {command.line}: {command.text}\n{out}"
            assert code == 0 or (after and after.text == "echo $?"), f"exit code {code} of {place}"
            line = missing([shell.ports(e) for e in command.expected], out)
            assert line is None, f"'{line}' is not in the output of {place}"
    finally:
        shell.close()


@pytest.mark.integration
def test_docs_build_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d"]
    words += [str(tmp_path / "trees"), str(DOCS), str(tmp_path / "html")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_pictures_are_small_and_have_a_text() -> None:
    shown = {
        name: alt
        for p in PAGES
        for alt, name in re.findall(r"!\[([^]]*)\]\([^)]*_static/([^)]+)\)", p.read_text(encoding="utf-8"))
    }
    assert shown.keys() == {file.name for file in (DOCS / "_static").iterdir()}
    assert all(len(alt) > 20 for alt in shown.values())
    assert all(file.stat().st_size < 150_000 for file in (DOCS / "_static").iterdir())


def _reference(page: str) -> str:
    return (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")


def test_every_exit_code_is_explained() -> None:
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", _reference("exit-codes"), re.MULTILINE)}
    assert shown == set(ExitCode)


def test_every_environment_variable_is_explained() -> None:
    sources = [f.read_text(encoding="utf-8") for kind in ("py", "yaml") for f in SOURCES.rglob(f"*.{kind}")]
    used = {name for text in sources for name in re.findall(r"WMH_[A-Z_]+", text)}
    assert used == set(re.findall(r"WMH_[A-Z_]+", _reference("environment")))


def test_every_flag_and_command_is_explained() -> None:
    flags = {flag for names, _ in FLAGS for flag in re.findall(r"--[a-z-]+", names)}
    assert not {word for word in (*COMMANDS, *flags) if f"`{word}" not in _reference("command-line")}


def test_every_route_is_explained() -> None:
    from when_ml_pipeline_meets_hydra.serving.http import index, inference, management, metrics

    page = _reference("rest-api").replace("NAME", "{model}")
    routers = (index.router, inference.router, management.router, metrics.router)
    routes = [r for router in routers for r in router.routes if isinstance(r, APIRoute)]
    said = [(m, r.path.replace("/versions/{version}", "")) for r in routes for m in r.methods or ()]
    assert said
    assert not {f"{method} {path}" for method, path in said if f"{method} {path}`" not in page}


@pytest.mark.parametrize(
    ("expected", "line", "same"),
    [
        ("modeling train: done in 1.3 s (new)", "modeling train: done in 22.0 s (new)", True),
        ("push: done in 0.1 s (new)", "push: done (new)", True),
        ("r2=0.868", "r2=0.8501", True),
        ("r2=0.868", "r2=0.61", False),
        ("run 20260102-030405-00ff: 1 done", "run 20271112-131415-abcd: 1 done", True),
        ("a … z", "a b c z", True),
        ("step  key  why", "step      key why", True),
        ("version 1", "version 2", False),
    ],
)
def test_what_matches(expected: str, line: str, same: bool) -> None:
    assert matches(expected, line) is same


def test_lines_have_to_come_in_order() -> None:
    assert missing(["a", "c"], "a\nb\nc\n") is None
    assert missing(["c", "a"], "a\nb\nc\n") == "a"
