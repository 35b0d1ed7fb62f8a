"""Checks entries before they are published: every combination that uses one is composed and bound."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.binding.bind_cache import BindCache
from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job
from when_ml_pipeline_meets_hydra.composing.tree import HELP, PRIMARY, STAGES
from when_ml_pipeline_meets_hydra.config_store.combinations import (
    Combination,
    combinations,
    composed_sweep,
    name_of,
    parts_of,
    users_of,
)
from when_ml_pipeline_meets_hydra.config_store.entries import included, secrets_in
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, merged
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

_REMEDY = "If the entry is made for another choice, say so in its header: '# @with GROUP=OPTION'"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The problems of changed entries and of those that use them, and a composed job of each."""

    problems: tuple[Problem, ...]
    jobs: Mapping[str, Job]

    def without_problems(self) -> Checked:
        """Return self. Raises ``BadInput`` with all problems."""
        if self.problems:
            raise BadInput(*self.problems)
        return self


def check(changed: Collection[str], texts: Mapping[str, str], search: Sequence[str], *, alone: bool = False) -> Checked:
    """Check changed entries, and those that use them, in every combination.

    ``texts`` are all entries as they will be, ``search`` the search path on which they are. An entry that others use is
    checked in these; ``alone``, only the changed ones are checked.
    """
    problems = [*_shadowed(changed, texts)]
    tops = (set(changed) if alone else users_of(changed, texts)) & set(texts)
    inner = {path for path in tops if any(path in included(other, texts[other]) for other in tops if other != path)}
    outer = tops - inner
    outer |= tops.difference(*(parts_of(path, texts) for path in outer))  # those in a circle, which nothing else uses
    without = problems_of_defaults(search)
    jobs: dict[str, Job] = {}
    for combination, paths in combinations(outer, texts, search):
        found: list[Problem] = []
        composed = composed_sweep(combination.overrides(map(name_of, paths)), search, found)
        jobs |= _by_entry(composed, combination, paths)
        found += _problems(composed, changed, texts) if composed and not found else ()
        named = (_named(problem, composed, f"{combination.group.lstrip('+')}=", paths) for problem in found)
        problems += (p for p in named if (p.key, p.message) not in without)
    return Checked(problems=merged(problems), jobs=jobs)


def _by_entry(composed: Composed | None, combination: Combination, paths: Sequence[str]) -> dict[str, Job]:
    """A job of each entry: the jobs of a sweep differ in the stage first, then in the entry."""
    jobs = composed.jobs if composed else ()
    expected = len(paths) * max(len(combination.stages), 1)
    return dict(zip(paths, jobs[: len(paths)], strict=True)) if len(jobs) == expected else {}


def check_secrets(texts: Mapping[str, str], search: Sequence[str]) -> None:
    """Check that no text has a secret, by the names of keys and by the types that read them. Raises ``BadInput``.

    The texts are the first ones on the search path. What else is wrong with them is reported when they are published.
    """
    found = [problem for path, text in texts.items() for problem in secrets_in(path, text)]
    if found:
        raise BadInput(*found)
    for combination, paths in combinations(texts, texts, search):
        composed = composed_sweep(combination.overrides(map(name_of, paths), (HELP,)), search, [])
        typed = find_secrets(composed)[0] if composed else frozenset()
        found += [problem for path in paths for problem in secrets_in(path, texts[path], typed)]
    if found:
        raise BadInput(*merged(found))


def _shadowed(changed: Collection[str], texts: Mapping[str, str]) -> Iterator[Problem]:
    for path in changed:
        if path in texts and (PRIMARY / f"{path}.yaml").is_file():
            message = "the program has an option of this name, which comes first"
            yield Problem(key=path, message=message, remedy="Give the entry another name")


def problems_of_defaults(search: Sequence[str], cache: BindCache | None = None) -> dict[tuple[str, str], set[str]]:
    """Return key and message of the problems of the defaults, each with its stages: values that these ask for."""
    stages = [stage.name for stage in Loader(search).stages]
    composed = composed_sweep([f"{STAGES}={','.join(stages)}"], search, [])
    found: dict[tuple[str, str], set[str]] = {}
    try:
        if composed:
            bind(composed, cache)
    except BadInput as wrong:
        for problem in wrong.problems:
            named = {job.stage for job in composed.jobs if job.number in problem.jobs} if composed else set()
            found.setdefault((problem.key, problem.message), set()).update(named or stages)
    return found


def _problems(composed: Composed, changed: Collection[str], texts: Mapping[str, str]) -> Sequence[Problem]:
    """The problems of composed jobs when they are bound, or the secrets in changed entries."""
    typed = find_secrets(composed)[0]
    if secret := [p for path in changed if path in texts for p in secrets_in(path, texts[path], typed)]:
        return secret
    try:
        bind(composed)
    except BadInput as wrong:
        return wrong.problems
    return ()


def _named(problem: Problem, composed: Composed | None, group: str, paths: Sequence[str]) -> Problem:
    """The problem with the entries in whose combinations it is, in place of the numbers of jobs."""
    jobs = {job.number: job for job in composed.jobs} if composed else {}
    overrides = [jobs[number].overrides for number in problem.jobs if number in jobs]
    shown = list(dict.fromkeys(line for lines in overrides for line in lines if line.lstrip("+").startswith(group)))
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    is_needed = bool(shown) and len(shown) < len(paths)
    which = f" (with {', '.join(shown[:3])}{more})" if is_needed else ""
    is_unknown = "unknown" in problem.message or "no such key" in problem.message
    remedy = problem.remedy or (_REMEDY if is_unknown else None)
    return replace(problem, message=f"{problem.message}{which}", remedy=remedy, jobs=())
