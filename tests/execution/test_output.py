"""Secrets that a step's code leaks in every usual way are in no file; its standard streams are streams."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from conftest import PROGRAM, Cli
from small_pipeline import PACKAGES, forget, inside, write
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.masking import MASK

PEM = "\n".join(
    [
        "-----BEGIN PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
        "QwT7z/1+KkYb0ZpXh3Vd5sLmN8aGq2Rf",
        "Zm9vYmFyYmF6",
    ]
)
SECRETS = (
    "hunter22",
    "correcthorse",
    'it\'s "both" kinds',
    "back\\slash\\\\es",
    "a b+c&d=e/f?g#h%25",
    "ключ-от-всего",
    "käse & brötchen",
    "12345678",
    "ends-with-=equals==",
    "{not: yaml, [really]}",
    PEM,
)
LEAKY = '''
from __future__ import annotations
import base64, json, logging, os, subprocess, sys, warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, quote_plus
from pydantic import Field, SecretStr
from when_ml_pipeline_meets_hydra.contracts import Artifact, Progress, effect, frozen

@frozen
class Vault:
    keys: tuple[SecretStr, ...]
    note: str = ""

@frozen
class Told(Artifact):
    note: str
    inner: tuple[str, ...]
    metrics: Mapping[str, float]

def tell(vault: Vault, *, out: Path, progress: Progress) -> Told:
    """Tell all."""
    secrets = [key.get_secret_value() for key in vault.keys]
    log = logging.getLogger("leaky")
    for s in secrets:
        print(s, repr(s), [s], json.dumps({"s": s}), json.dumps(s, ensure_ascii=False), sep="\\n")
        print(quote(s), quote(s, safe=""), quote_plus(s), repr(json.dumps([s])))
        for text in (s, "user:" + s, "me:" + s, "x:" + s):
            print("Basic", base64.b64encode(text.encode()).decode(), base64.urlsafe_b64encode(text.encode()).decode())
        print("in lines", base64.encodebytes(s.encode()).decode(), sep="\\n")
        for line in s.splitlines():
            print("line", line)
        for char in s:  # in small pieces
            sys.stderr.write(char)
        sys.stderr.write("\\n")
        sys.stdout.buffer.write(b"bytes " + s.encode() + b"\\n")
        sys.stdout.buffer.flush()
        log.info("logged %s", s)
        log.warning("logged %r", {"key": s})
        warnings.warn(f"warned {s}")
        os.write(1, f"descriptor {s}\\n".encode())
        os.write(2, b"in "); os.write(2, s.encode()[:5]); os.write(2, s.encode()[5:] + b"\\n")
        progress(1, 2, s)
        child = "printf 'child %s\\n' \\"$S\\"; printf 'error of a child %s\\n' \\"$S\\" >&2"
        subprocess.run(child, shell=True, env={"S": s}, check=True)
        subprocess.run(["printf", "of a child's stream %s\\n", s], check=True, stdout=sys.stdout, stderr=sys.stderr)
    print("no newline at the end", secrets[0], end="")
    metrics = {f"acc_{s}": 1.0 for s in secrets} | {"plain": 2.0}
    return Told(path=out, note=f"knows {secrets} {vault.note}", inner=tuple(secrets), metrics=metrics)

@effect
def fail(vault: Vault) -> None:
    """Fail with all."""
    from contextlib import ExitStack
    secrets = [key.get_secret_value() for key in vault.keys]
    error: Exception = KeyError(secrets[0])
    for s in secrets:
        cause, error = error, ValueError(f"no entry {s} or {s!r} in {json.dumps([s])}")
        error.__cause__ = cause
    raise error

def name(vault: Vault, *, out: Path) -> Told:
    """Name files."""
    for key in vault.keys:
        if "/" not in key.get_secret_value():
            (out / f"of {key.get_secret_value()}.txt").write_text("x")
    return Told(path=out, note="", inner=(), metrics={})
'''


@pytest.fixture
def leaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A pipeline that leaks, and the words that run it with the secrets from the environment."""
    write(tmp_path.parent / f"{tmp_path.name}-py", {"leaky.py": LEAKY})
    python = str(tmp_path.parent / f"{tmp_path.name}-py")
    monkeypatch.syspath_prepend(python)
    monkeypatch.setenv("PYTHONPATH", python)
    monkeypatch.setenv(PACKAGES, "leaky")
    keys = []
    for number, secret in enumerate(SECRETS):
        monkeypatch.setenv(f"LEAKY_{number}", secret)
        keys.append(f"  - ${{oc.env:LEAKY_{number}}}")
    vault = "# @package vault\n# d\n_target_: leaky.Vault\nkeys:\n" + "\n".join(keys)
    vault += "\nnote: at " + " and ".join(f"${{.keys[{n}]}}" for n in range(len(SECRETS))) + "\n"
    subs = {
        f"c/leak_sub/{n}.yaml": f"# @package leak_sub\n# d\n_target_: leaky.{n}\n" for n in ("tell", "fail", "name")
    }
    folder = write(tmp_path / "conf", {"c/leak.yaml": "# d\nsubcommand: tell\n", **subs, "leak/vault/all.yaml": vault})
    yield ["c=leak", "leak/vault=all", "--config-dir", folder]
    forget("leaky")


def spellings(secret: str) -> set[str]:
    """What is looked for: written independently of what masks it."""
    found = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found |= {quote(secret), quote(secret, safe=""), quote_plus(secret), *secret.splitlines()}
    found |= {base64.b64encode(t.encode()).decode().rstrip("=") for t in (secret, f"user:{secret}", f"me:{secret}")}
    found |= {base64.urlsafe_b64encode(f"x:{secret}".encode()).decode().rstrip("=")}
    found |= {line.rstrip("=") for line in base64.encodebytes(secret.encode()).decode().splitlines()}
    return {text for text in found if len(text) >= 8}


def traces(folder: Path, *texts: str) -> list[str]:
    """Each secret that can be read in a file below ``folder`` or in a text, and where."""
    contents = {
        str(f.relative_to(folder)): f.read_bytes().decode("utf-8", "replace") for f in folder.rglob("*") if f.is_file()
    }
    contents |= {f"text {n}": text for n, text in enumerate(texts)}
    wanted = [(s, spelling) for s in SECRETS for spelling in spellings(s)]
    return [
        f"{place}: {s[:12]!r} as {spelling[:40]!r}"
        for place, text in contents.items()
        for s, spelling in wanted
        if spelling in text
    ]


@pytest.mark.parametrize("n_jobs", [1, 2], ids=["in process", "in a worker"])
def test_a_step_that_leaks_in_every_way_leaks_nothing(leaky: list[str], tmp_path: Path, cli: Cli, n_jobs: int) -> None:
    done = cli(*leaky, f"hydra.launcher.n_jobs={n_jobs}", "+extra.x=1,2", "--multirun")
    assert done.code == 0, done.err
    assert traces(tmp_path, done.out, done.err) == []
    for text in ("bytes", "logged", "descriptor", "in", "child", "error of a child", "line", "no newline at the end"):
        assert f"{text} {MASK}" in done.out, text
    assert f"acc_{MASK}=1" in done.err
    again = cli(*leaky, "--json")
    assert (again.code, traces(tmp_path, again.out, again.err)) == (0, [])
    assert f"acc_{MASK}" in again.out


@pytest.mark.parametrize("n_jobs", [1, 2], ids=["in process", "in a worker"])
def test_an_error_and_its_causes_leak_nothing(leaky: list[str], tmp_path: Path, n_jobs: int) -> None:
    done = inside(*leaky, "c/leak_sub=fail", f"hydra.launcher.n_jobs={n_jobs}")
    assert done.code == ExitCode.STEP_FAILED
    assert f"ValueError: no entry {MASK} or" in done.err
    assert traces(tmp_path, done.out, done.err) == []


@pytest.mark.parametrize("n_jobs", [1, 2], ids=["in process", "in a worker"])
def test_a_file_is_not_named_after_a_secret(leaky: list[str], tmp_path: Path, n_jobs: int) -> None:
    done = inside(*leaky, "c/leak_sub=name", f"hydra.launcher.n_jobs={n_jobs}")
    assert done.code == ExitCode.STEP_FAILED
    assert f"of a file that it wrote contains a secret: of {MASK}.txt. Give it another name" in done.err
    assert traces(tmp_path, done.out, done.err) == []


@pytest.mark.parametrize("what", ["job", "hydra", "all"])
def test_configs_are_shown_without_them(leaky: list[str], tmp_path: Path, what: str) -> None:
    """From the command line, quoted, beside those of the environment."""
    lines = [f'++globals.p{n}.pw="{s}"'.replace('"both"', '\\"both\\"') for n, s in enumerate(SECRETS)]
    for words in ([], ["--resolve"] if what == "job" else []):
        done = inside(*leaky, *lines, "--cfg", what, *words)
        assert (done.code, traces(tmp_path, done.out, done.err)) == (0, []), done.err
    assert done.out.count(MASK) >= len(SECRETS)


def test_show_secrets_shows_what_a_descriptor_receives_on_the_terminal_only(leaky: list[str], tmp_path: Path) -> None:
    done = inside(*leaky, "show_secrets=true")
    assert "descriptor hunter22" in done.out
    assert traces(tmp_path) == []


STREAMS = '''
from __future__ import annotations
import os, subprocess, sys, threading, time
from when_ml_pipeline_meets_hydra.contracts import effect

@effect
def use(how: str) -> None:
    """Use the standard streams as programs do."""
    print("first")
    os.write(1, b"second\\n")
    print("third", sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.encoding)
    subprocess.run(["echo", "fourth"], check=True, stdout=sys.stdout, stderr=sys.stderr)
    sys.stdout.buffer.write("fünfth\\n".encode())
    sys.stdout.reconfigure(line_buffering=True)
    sys.stdout.writelines(["sixth\\n"])
    print("\\ud800 seventh")
    if how == "much":
        os.write(1, b"x" * 5_000_000 + b"\\n")
    if how == "fork":
        if (child := os.fork()) == 0:
            print("from a fork", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    if how == "outlive":
        subprocess.Popen("sleep 0.3; echo late; sleep 0.2; echo later > told", shell=True)
'''


@pytest.fixture
def streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    write(tmp_path / "py", {"streams.py": STREAMS})
    monkeypatch.syspath_prepend(str(tmp_path / "py"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "py"))
    monkeypatch.setenv(PACKAGES, "streams")
    sub = "# @package use_sub\n# d\n_target_: streams.use\n"
    folder = write(tmp_path / "conf", {"c/use.yaml": "# d\n", "c/use_sub/run.yaml": sub})
    yield ["c=use", "--config-dir", folder]
    forget("streams")


LINES = ["first", "second", "third 1 2 False utf-8", "fourth", "fünfth", "sixth", "\\ud800 seventh"]


@pytest.mark.parametrize("n_jobs", [1, 2], ids=["in process", "in a worker"])
def test_the_standard_streams_of_a_step_are_streams(streams: list[str], n_jobs: int, own_home: Path) -> None:
    done = inside(*streams, "+how=plain", f"hydra.launcher.n_jobs={n_jobs}")
    assert done.code == 0, done.err
    assert sorted(done.out.splitlines()) == sorted(LINES)
    if n_jobs == 1:
        assert done.out.splitlines() == LINES
    (log,) = own_home.glob("runs/*/logs/use*.log")
    assert sorted(log.read_text().splitlines()) == sorted(LINES)


def test_much_output_of_a_library_is_passed_on(streams: list[str]) -> None:
    done = inside(*streams, "+how=much")
    assert "x" * 5_000_000 in done.out


def test_a_forked_process_prints_too(streams: list[str]) -> None:
    assert "from a fork" in inside(*streams, "+how=fork").out.splitlines()


def test_a_process_that_outlives_its_step_is_not_stopped(streams: list[str]) -> None:
    done = inside(*streams, "+how=outlive")
    assert done.code == 0
    for _ in range(100):
        if Path("told").exists():
            break
        subprocess.run(["sleep", "0.05"], check=True)
    assert Path("told").read_text() == "later\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(streams: list[str], closed: str, own_home: Path) -> None:
    command = f'"$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, "sh", PROGRAM, *streams, "+how=plain"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Unexpected" in done.stderr) == (0, False)
    (log,) = own_home.glob("runs/*/logs/use*.log")
    assert log.read_text().splitlines() == LINES
    assert not list(own_home.glob("errors/*"))
