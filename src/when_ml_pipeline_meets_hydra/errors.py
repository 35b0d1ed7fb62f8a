"""The exceptions, and the exit code that each of them means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says when it ends."""

    DONE = 0
    STEP_FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with the input.

    ``key`` is the config key (``m_param.learning_rate``) or the word of the command line that is meant,
    ``value`` what stands there (already masked where it is a secret), ``origin`` the override or the file and
    line that it comes from, ``message`` what is wrong and what is allowed, ``remedy`` what to do, ``jobs`` the numbers
    of the jobs of a sweep that it concerns (empty: all of them).
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
        """The jobs that it concerns: ``job 3``, ``jobs 3, 5, 7, 9, 11 and 20 more``."""
        shown = ", ".join(map(str, self.jobs[:5])) + (f" and {len(self.jobs) - 5} more" if len(self.jobs) > 5 else "")
        return f"job{'s' if len(self.jobs) > 1 else ''} {shown}"

    def masked(self, mask: Callable[[str], str]) -> Problem:
        """A copy whose texts went through ``mask``."""
        texts = {n: mask(getattr(self, n) or "") or None for n in ("value", "origin", "remedy")}
        return replace(self, message=mask(self.message), **texts)  # type: ignore[arg-type]


def merged(problems: Iterable[Problem], jobs: int | None = None) -> tuple[Problem, ...]:
    """Each problem once, with all jobs that it concerns; ``jobs`` is how many there are."""
    found: dict[Problem, dict[int, None] | None] = {}
    for problem in problems:
        numbers = found.setdefault(problem, {} if problem.jobs else None)
        if numbers is not None:
            found[problem] = numbers | dict.fromkeys(problem.jobs) if problem.jobs else None
    return tuple(replace(p, jobs=() if n is None or len(n) == jobs else tuple(n)) for p, n in found.items())


class PipelineError(Exception):
    """What this package raises on purpose; it is shown as one message, never as a traceback."""

    exit_code = ExitCode.STEP_FAILED


class BadInput(PipelineError):
    """Something that a person can put right, found before anything ran; carries all that was found."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class StepFailed(PipelineError):
    """A step could not do its work; the message is for the person who runs it."""


class Refused(PipelineError):
    """A cluster or a quality gate said no. ``key`` names the config key that has to change."""

    exit_code = ExitCode.REFUSED

    def __init__(self, key: str, message: str) -> None:
        super().__init__(key, message)
        self.key, self.message = key, message

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


def briefly(error: Exception) -> str:
    """The kind of an error and what it says, the same for the same trouble with another (temporary) file."""
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"


def first_line(error: Exception) -> str:
    """The first line of what an error says, and not too much of it."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def did_you_mean(word: str, allowed: Iterable[str], *, most: int = 3) -> str | None:
    """The remedy for a misspelt word: its close matches, otherwise all that is allowed."""
    import difflib  # only where something is wrong: `--help` does not pay for it

    words = sorted(set(allowed))
    place = word[: word.rfind(".") + 1]
    place = place if all(w.startswith(place) for w in words) else ""  # what all have in common makes no word close
    below = [w[len(place) :] for w in words]
    if close := difflib.get_close_matches(word[len(place) :], below, n=most, cutoff=0.6):
        return "Did you mean " + " or ".join(f"'{place}{w}'" for w in close) + "?"
    return f"Allowed: {', '.join(words)}" if words else None
