"""What may not be started from a page, and why: the command line of the server's own project is all that may."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.composing.job import LOCAL_LAUNCHER
from when_ml_pipeline_meets_hydra.composing.legal_overrides import IS_SEARCH
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.masking import MASK, Redactor, is_secret_name

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.runs import Prepared

MOST_JOBS, MOST_WORDS, LONGEST_WORD = 1_000, 200, 2_000
RUN_FOLDER = "${run_folder:}"
AT_A_TERMINAL = "Start it on the command line"
_ALLOWED = ("hydra/launcher=local", "hydra.launcher.n_jobs=")
_REFUSED = {
    "home": "launched runs stay in the home of this server",
    "packages": "whose code may run is decided where the server is started",
    "show_secrets": "secrets are never shown on pages",
}
_PLAIN = re.compile(r"\$\{[\w.\[\]]*\}")


def refused_words(words: Sequence[str]) -> list[Problem]:
    """Return the problems of overrides that are refused as they are written."""
    if len(words) > MOST_WORDS:
        return [Problem(key="overrides", message=f"at most {MOST_WORDS} can be given here", remedy=AT_A_TERMINAL)]
    return [problem for word in words if (problem := _refused(word))]


def _refused(word: str) -> Problem | None:
    key, equals, value = word.partition("=")
    name = key.strip().lstrip("+~").strip()
    top = re.split(r"[./@]", name)[0]
    if word.startswith("-"):
        remedy = "Tick 'Several jobs' for --multirun; other folders and job files are those of the server"
        return Problem(key=key, message="flags cannot be given here", remedy=remedy)
    if len(word) > LONGEST_WORD or not word.isprintable():
        message = f"expected at most {LONGEST_WORD:,} printable characters"
        return Problem(key=name[:50], message=message, remedy=AT_A_TERMINAL)
    if not equals and not word.startswith("~"):
        return Problem(key=key, message="expected key=value or group=option", remedy="Write one in each line")
    if holds_secret(word):
        return secret(name)
    if top in _REFUSED:
        return Problem(key=name, message=f"cannot be set here: {_REFUSED[top]}", remedy=AT_A_TERMINAL)
    if top == "hydra" and not word.lstrip("+").startswith(_ALLOWED):
        message = "Hydra's own settings cannot be changed here: launched runs are local, and write to the server's home"
        return Problem(key=name, message=message, remedy="Only hydra.launcher.n_jobs=N can be given")
    if "${" in _PLAIN.sub("", value):
        message = "only other keys can be named here, ${key}: anything else may read the server's environment"
        return Problem(key=name, message=message, remedy="Write it into an option file")
    return None


def refused_run(prepared: Prepared, words: Iterable[str], home: Path) -> Iterator[Problem]:
    """Yield the problems of a composed run that leaves the server's home, or this machine, or shows a secret."""
    bound, hydra = prepared.bound, prepared.hydra
    for word in words:
        if holds_secret(word, bound.redactor, bound.secret_keys):
            yield secret(word.partition("=")[0].lstrip("+~"))
    if prepared.home.absolute() != home.absolute():
        yield Problem(key="home", value=str(prepared.home), message=_REFUSED["home"], remedy=AT_A_TERMINAL)
    if (hydra["run"]["dir"], hydra["sweep"]["dir"]) != (RUN_FOLDER, RUN_FOLDER):
        yield Problem(key="hydra.run.dir", message="launched runs write to the server's home", remedy=AT_A_TERMINAL)
    if hydra["launcher"].get("_target_") != LOCAL_LAUNCHER:
        yield Problem(key="hydra/launcher", message="launched runs are computed on this machine", remedy=AT_A_TERMINAL)
    if len(bound.calls) > MOST_JOBS:
        message = f"{len(bound.calls):,} jobs, of which at most {MOST_JOBS:,} can be started here"
        yield Problem(key="c", message=message, remedy=AT_A_TERMINAL)


def holds_secret(word: str, redactor: Redactor | None = None, keys: Iterable[str] = ()) -> bool:
    """Whether an override has the value of a secret: by the name of a key, by its type (``keys``), or in a URL."""
    key, _, value = word.partition("=")
    is_named = bool(value) and value != "???" and is_secret_name(key.strip().lstrip("+~").strip())
    masked = (redactor or Redactor()).override(word, [*keys])
    return is_named or masked != word or MASK in word


def secret(key: str) -> Problem:
    """Return the problem of a secret that was given."""
    message = "a secret cannot be given here: command lines and pages would show it"
    return Problem(key=key, message=message, remedy="Set it in the server's environment")


def for_pages(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return problems of a command line, for people without one: searches are not started here."""
    message = "a search is not started here"
    return tuple(
        Problem(key=p.key, message=message, remedy=AT_A_TERMINAL) if p.message == IS_SEARCH else p for p in problems
    )
