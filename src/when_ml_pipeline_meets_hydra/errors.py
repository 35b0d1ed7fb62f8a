"""The exceptions and their exit codes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from pathlib import Path

from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass, field


class ExitCode(IntEnum):
    """Exit code of the process."""

    DONE = 0
    STEP_FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One error in the input.

    ``key`` is the config key (``m_param.learning_rate``) or the argument of the command line, ``value`` its value
    (secrets masked), ``origin`` the override, or the file and line, that set it, ``message`` the error and the allowed
    values, ``remedy`` a sentence on how to fix it, ``jobs`` the numbers of the affected jobs of a sweep (empty: all).
    Example: ``Problem(key="m_param.depth", value="0", message="expected a whole number, at least 1")``.
    """

    key: str
    message: str
    value: str | None = None
    origin: str | None = None
    remedy: str | None = None
    jobs: tuple[int, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        shown = self.key if self.value is None else f"{self.key}={self.value}"
        text = f"{shown}: {self.message}" if shown else self.message
        if self.origin:
            text += f" (from {self.origin})"
        if self.jobs:
            text += f" (in {self.concerned})"
        return f"{text}. {self.remedy}" if self.remedy else text

    @property
    def concerned(self) -> str:
        """The affected jobs as text: ``job 3``, ``jobs 3, 5, 7, 9, 11 and 20 more``."""
        shown = ", ".join(map(str, self.jobs[:5])) + (f" and {len(self.jobs) - 5} more" if len(self.jobs) > 5 else "")
        return f"job{'s' if len(self.jobs) > 1 else ''} {shown}"

    def masked(self, mask: Callable[[str], str]) -> Problem:
        """Return a copy with ``mask`` applied to its texts."""
        from dataclasses import replace

        texts = {n: mask(getattr(self, n) or "") or None for n in ("value", "origin", "remedy")}
        return replace(self, message=mask(self.message), **texts)  # type: ignore[arg-type]


def merged(problems: Iterable[Problem], jobs: int | None = None) -> tuple[Problem, ...]:
    """Return each problem once, with all affected jobs (empty if these are all ``jobs``, a count)."""
    from dataclasses import replace

    found: dict[Problem, dict[int, None] | None] = {}
    for problem in problems:
        numbers = found.setdefault(problem, {} if problem.jobs else None)
        if numbers is not None:
            found[problem] = numbers | dict.fromkeys(problem.jobs) if problem.jobs else None
    return tuple(replace(p, jobs=() if n is None or len(n) == jobs else tuple(n)) for p, n in found.items())


class PipelineError(Exception):
    """Base class of the expected errors, which are shown as one message without a traceback."""

    exit_code = ExitCode.STEP_FAILED


class BadInput(PipelineError):
    """Errors in the user's input, found before anything is executed; ``problems`` are all of them."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class StepFailed(PipelineError):
    """A step cannot continue; raise it in a subcommand, with a message for the user."""


class Pruned(PipelineError):
    """A training stops early; raise it in a subcommand when ``progress.report`` has returned True."""


class Refused(PipelineError):
    """A cluster or a quality gate refused. ``key`` is the config key to change."""

    exit_code = ExitCode.REFUSED

    def __init__(self, key: str, message: str) -> None:
        super().__init__(key, message)
        self.key, self.message = key, message

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


def shortened(text: str, most: int) -> str:
    """Return a text of more than ``most`` characters without its middle part, whose length it says."""
    if len(text) <= most:
        return text
    left_out = len(text) - most
    return f"{text[: most * 3 // 4]} … {left_out:,} characters left out … {text[-(most // 4) :]}"


def briefly(error: Exception) -> str:
    """Return the type and message of an error, without the file name of an ``OSError``."""
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 300 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def did_you_mean(word: str, allowed: Iterable[str], *, most: int = 3) -> str | None:
    """Return the remedy for a misspelt ``word``: at most ``most`` close matches, otherwise all ``allowed`` ones.

    ``did_you_mean("fold", ["folds", "seed"])`` is ``"Did you mean 'folds'?"``; None if nothing is allowed.
    """
    import difflib  # here, so that commands without errors do not load it

    words = sorted(set(allowed))
    place = word[: max(word.rfind("."), word.rfind("/")) + 1]
    if not any(w.startswith(place) for w in words):
        place = ""
    below = [w[len(place) :] for w in words if w.startswith(place)]  # a common prefix is no similarity
    same = [w for w in below if w.casefold() == word[len(place) :].casefold()]
    if close := same or difflib.get_close_matches(word[len(place) :], below, n=most, cutoff=0.6):
        return "Did you mean " + " or ".join(f"'{place}{w}'" for w in close) + "?"
    return f"Allowed: {', '.join(words)}" if words else None


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")


def local_path(text: str) -> Path:
    """Return the path of a file or folder of this machine. Raises ``ValueError`` for anything else."""
    if not text or "\0" in text:
        raise ValueError("expected a path, not empty")
    if scheme := _SCHEME.match(text):
        raise ValueError(f"{scheme[1]}:// is not supported here: expected the path of a file or folder of this machine")
    return Path(text).expanduser() if text.startswith("~") else Path(text)
