"""Checks entries before they are published: every combination that uses one is composed and bound."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
from when_ml_pipeline_meets_hydra.composing.job import Composed
from when_ml_pipeline_meets_hydra.composing.tree import HELP, PRIMARY, STAGES
from when_ml_pipeline_meets_hydra.config_store.combinations import (
    Combination,
    combinations,
    composed_sweep,
    users_of,
)
from when_ml_pipeline_meets_hydra.config_store.entries import included, secrets_in
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, merged

_REMEDY = "If the entry is made for another choice, say so in its header: '# @with GROUP=OPTION'"


def check(changed: Collection[str], texts: Mapping[str, str], search: Sequence[str]) -> None:
    """Check changed entries, and those that use them. Raises ``BadInput`` with all problems.

    ``texts`` are all entries as they will be, ``search`` the search path on which they are.
    """
    problems = [*_shadowed(changed, texts)]
    tops = users_of(changed, texts) & set(texts)
    inner = {path for path in tops if any(path in included(other, texts[other]) for other in tops if other != path)}
    without = _without_entries(search)
    for combination, paths in combinations(tops - inner, texts, search):
        found = _problems(combination, paths, changed, texts, search)
        problems += (p for p in found if (p.key, p.message) not in without)
    if problems:
        raise BadInput(*merged(problems))


def check_secrets(texts: Mapping[str, str], search: Sequence[str]) -> None:
    """Check that no text has a secret, by the names of keys and by the types that read them. Raises ``BadInput``.

    The texts are the first ones on the search path. What else is wrong with them is reported when they are published.
    """
    found = [problem for path, text in texts.items() for problem in secrets_in(path, text)]
    if found:
        raise BadInput(*found)
    for combination, paths in combinations(texts, texts, search):
        names = [path.rpartition("/")[2] for path in paths]
        composed = composed_sweep(combination.overrides(names, (HELP,)), search, [])
        typed = find_secrets(composed)[0] if composed else frozenset()
        found += [problem for path in paths for problem in secrets_in(path, texts[path], typed)]
    if found:
        raise BadInput(*merged(found))


def _shadowed(changed: Collection[str], texts: Mapping[str, str]) -> Iterator[Problem]:
    for path in changed:
        if path in texts and (PRIMARY / f"{path}.yaml").is_file():
            message = "the program has an option of this name, which comes first"
            yield Problem(key=path, message=message, remedy="Give the entry another name")


def _without_entries(search: Sequence[str]) -> set[tuple[str, str]]:
    """The problems of the program's own defaults: values that a stage asks for on the command line."""
    stages = (stage.name for stage in Loader(search).stages)
    composed = composed_sweep([f"{STAGES}={','.join(stages)}"], search, [])
    try:
        if composed:
            bind(composed)
    except BadInput as wrong:
        return {(problem.key, problem.message) for problem in wrong.problems}
    return set()


def _problems(
    combination: Combination,
    paths: Sequence[str],
    changed: Collection[str],
    texts: Mapping[str, str],
    search: Sequence[str],
) -> Iterator[Problem]:
    """The problems of all entries of a combination, in all stages."""
    found: list[Problem] = []
    names = [path.rpartition("/")[2] for path in paths]
    composed = composed_sweep(combination.overrides(names), search, found)
    if composed and not found:
        typed = find_secrets(composed)[0]
        secret = [p for path in changed if path in texts for p in secrets_in(path, texts[path], typed)]
        if secret:
            yield from secret
            return
        try:
            bind(composed)
        except BadInput as wrong:
            found += wrong.problems
    for problem in found:
        yield _named(problem, composed, f"{combination.group.lstrip('+')}=", paths)


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
