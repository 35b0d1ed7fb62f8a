"""Composes, checks and plans a run before it is started, in the process that computes for pages."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE, HOME
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.pipeline import prepare
from when_ml_pipeline_meets_hydra.web.launch.rules import for_pages, refused_run, refused_words

DEPLOYMENT = "deployment"


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A row of a plan."""

    title: str
    action: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The plan of a command line, or what is wrong with it.

    ``secret_keys`` are those that are secret by their types; ``deploys``: it may change what is deployed.
    """

    problems: tuple[Problem, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    notes: tuple[str, ...] = ()
    jobs: int = 0
    deploys: bool = False
    secret_keys: frozenset[str] = frozenset()

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of steps with each action."""
        return Counter(step.action for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where runs are started: the home, the folders of option files, and the config store, "" for none."""

    home: Path
    config_dirs: tuple[str, ...] = ()
    store: str = ""
    own: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        store = {CONFIG_STORE: self.store} if self.store else {}
        object.__setattr__(self, "own", {HOME: str(self.home), **store})


def check(where: Surroundings, words: Sequence[str], multirun: bool) -> Checked:
    """Return the plan of a command line, with the messages of the command line where it cannot be run."""
    if problems := refused_words(words):
        return Checked(problems=tuple(problems))
    try:
        with _variables(where.own):
            prepared = prepare(words, multirun=multirun, config_dirs=where.config_dirs)
    except BadInput as error:
        return Checked(problems=for_pages(error.problems))
    if refused := tuple(refused_run(prepared, words, where.home)):
        return Checked(problems=refused, secret_keys=prepared.bound.secret_keys)
    mask, steps = prepared.bound.redactor.text, prepared.plan.steps
    return Checked(
        steps=tuple(PlannedStep(title=s.call.title, action=str(s.action), reason=mask(s.reason)) for s in steps),
        notes=tuple(map(mask, prepared.notes)),
        jobs=len(prepared.bound.calls),
        deploys=any(step.call.stage == DEPLOYMENT for step in steps),
    )


@contextmanager
def _variables(given: Mapping[str, str]) -> Iterator[None]:
    """Environment variables as a launched run has them; this process computes one thing at a time."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
