"""Checks the option files of folders: each composes and binds in some combination, and is read by some stage."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from when_ml_pipeline_meets_hydra.binding.bind import bind
from when_ml_pipeline_meets_hydra.binding.bind_cache import BindCache
from when_ml_pipeline_meets_hydra.binding.settings import NAMES
from when_ml_pipeline_meets_hydra.checking.files import OptionFiles, lonely_stages, read_files
from when_ml_pipeline_meets_hydra.checking.received_keys import received_keys
from when_ml_pipeline_meets_hydra.composing.compose import compose_with_problems
from when_ml_pipeline_meets_hydra.composing.job import UNRESOLVED, VALUE_NEEDED, Composed, Job
from when_ml_pipeline_meets_hydra.composing.legal_overrides import IS_SEARCH
from when_ml_pipeline_meets_hydra.composing.origins import line_of
from when_ml_pipeline_meets_hydra.composing.tree import HELP, PRIMARY, STAGES, load_yaml, package_of
from when_ml_pipeline_meets_hydra.config_store.checks import problems_of_defaults
from when_ml_pipeline_meets_hydra.config_store.combinations import (
    Combination,
    combinations,
    composed_sweep,
    name_of,
)
from when_ml_pipeline_meets_hydra.config_store.entries import included
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, merged

_NAMED = re.compile(r"\$\{\.*([A-Za-z_]\w*)[.}\[]")
_LEFT_OPEN = (VALUE_NEEDED, UNRESOLVED)  # a value that the command line gives
_TEMPLATE = "stages.template"  # its functions take whatever they receive
_ADDED = "No match in the defaults list"  # Hydra's words for a group that another option adds
_CHOICE_NEEDED = "You must specify"  # Hydra's words for an option that the command line chooses


def check_folders(folders: Sequence[str], *, is_own: bool = False) -> tuple[Problem, ...]:
    """Return everything that is wrong with the option files of folders; ``is_own``: with those of the program itself.

    Values and variables that are given on the command line or where the pipeline runs may be missing, and data may.
    """
    found = read_files(folders, is_own=is_own)
    search = () if is_own else tuple(folders)
    options = {path: text for path, text in found.texts.items() if _is_checked(path)}
    problems = [*found.problems, *lonely_stages(found)]
    checker = _Checker(search, found, options)
    problems += checker.problems()
    problems += _hydra_options(found, search)
    problems += checker.unread({p.key for p in problems})
    return merged(problems)


def check_job_file(config_dirs: Sequence[str]) -> tuple[Problem, ...]:
    """Return everything that is wrong with a job file, the first of ``config_dirs``, and with what it includes."""
    found: list[Problem] = []
    composed = None
    try:
        composed = compose_with_problems((), config_dirs=config_dirs)
        bind(composed, BindCache(reads_data=False))
    except BadInput as error:
        found += error.problems
    jobs = {job.number: job for job in composed.jobs} if composed else {}
    return merged(replace(p, jobs=()) for p in found if not _is_left_open(p, jobs))


def _is_checked(path: str) -> bool:
    return "/" in path and not path.startswith("hydra/") and path != f"{STAGES}/{HELP}"


class _Checker:
    """Composes and binds each option with the defaults of all others, and if that does not fit, with others."""

    def __init__(self, search: Sequence[str], found: OptionFiles, options: Mapping[str, str]) -> None:
        self._search, self._found, self._options = search, found, options
        self._received: set[str] = set()
        self._included = {path: included(path, text) for path, text in options.items()}

    def problems(self) -> Iterator[Problem]:
        """The problems of options that fit in no combination."""
        known = problems_of_defaults(self._search, BindCache(reads_data=False))
        open_stages = {stage for stages in known.values() for stage in stages}  # each of their jobs has a problem
        for combination, paths in combinations(self._options, self._options, self._search):
            own = combination.group.lstrip("+").partition("/")[0]
            stages = [stage for stage in combination.stages if stage == own or stage not in open_stages]
            first = [own] if own in stages else stages[-1:]
            found = self._wrong(combination, paths, known, first)
            others = [stage for stage in stages if stage not in first]
            if others and (rest := [path for path, wrong in found.items() if wrong is None or wrong]):
                again = self._wrong(combination, rest, known, others)
                found |= {
                    path: [*(found[path] or ()), *wrong] if wrong else []
                    for path, wrong in again.items()
                    if wrong is not None
                }
            for path, wrong in found.items():
                if wrong and not self._fits_a_subcommand(combination, path, known):
                    yield from (self._with_origin(problem, path) for problem in wrong)

    def _wrong(
        self,
        combination: Combination,
        paths: Sequence[str],
        known: Collection[tuple[str, str]],
        stages: Sequence[str],
    ) -> dict[str, list[Problem] | None]:
        """The problems of each option in one combination; none where it fits with a stage that reads it.

        None: none of the ``stages`` reads it.
        """
        found: list[Problem] = []
        composed = composed_sweep(combination.overrides(map(name_of, paths), stages), self._search, found)
        jobs = {job.number: job for job in composed.jobs} if composed else {}
        reads: dict[int, frozenset[str]] = {}
        if composed and jobs:
            bound, reads = _bound(composed, {number for problem in found for number in problem.jobs})
            found += bound
            self._received |= {key for keys in reads.values() for key in keys}
        real = [p for p in found if (p.key, p.message) not in known and not _is_left_open(p, jobs)]
        faulty = {number for problem in real for number in problem.jobs or jobs}
        own = _jobs_by_option(combination, paths, jobs)
        wrong: dict[str, list[Problem] | None] = {}
        for path in paths:
            tops = set() if package_of(self._options[path]) == "_global_" else self._tops(path)
            fits = [n for n in own[path] if n not in faulty and (n not in reads or tops <= reads[n])]
            others = set(jobs) - set(own[path])
            mine = [replace(p, jobs=()) for p in real if _is_of(p, path, combination, own[path], others)]
            wrong[path] = [] if fits else mine or None
        return wrong

    def _fits_a_subcommand(self, combination: Combination, path: str, known: Collection[tuple[str, str]]) -> bool:
        """Whether an option fits with another subcommand of the stage that its group is named for."""
        stage = path.partition("/")[0]
        subcommands = f"{STAGES}/{stage}_sub"
        if stage == STAGES or combination.others or stage not in combination.stages:
            return False
        names = {p.rpartition("/")[2] for p in self._options if p.rpartition("/")[0] == subcommands}
        files = (PRIMARY / subcommands).glob("*.yaml")
        names |= {f.stem for f in files if self._search == () or _TEMPLATE not in f.read_text(encoding="utf-8")}
        tried = (replace(combination, others=(f"{subcommands}={name}",)) for name in sorted(names))
        return any(self._wrong(other, [path], known, [stage])[path] == [] for other in tried)

    def _with_origin(self, problem: Problem, path: str) -> Problem:
        """The problem with the file of the option where it has no place of its own, and with the option's name."""
        group, _, name = path.rpartition("/")
        file = self._found.files[path]
        if problem.origin is None or problem.origin.startswith("the override"):
            key = problem.key.rpartition(".")[2]
            problem = replace(problem, origin=self._found.origin(path, line_of(file, key)))
        elif not problem.origin.startswith(self._found.origin(path)) and problem.key != f"{group}={name}":
            problem = replace(problem, message=f"{problem.message} (with {group}={name})")
        return problem

    def unread(self, wrong: Collection[str]) -> Iterator[Problem]:
        """The problems of options whose keys no stage reads; ``wrong`` are keys that have problems already."""
        reached = {name for names in self._included.values() for name in names}
        primary = load_yaml((PRIMARY / "config.yaml").read_text(encoding="utf-8"))
        named = {key for text in self._all_texts() for key in _NAMED.findall(text)}
        known = {*self._received, *named, *NAMES, *primary}
        doubtful = [path for path in self._options if path not in reached and self._tops(path) - known]
        if doubtful:
            known |= {key.partition(".")[0] for _, keys in received_keys(self._search) for key in keys}
        for path in doubtful:
            group, _, name = path.rpartition("/")
            top = group.replace("/", ".") + "."
            for key in sorted(self._tops(path) - known):
                if f"{group}={name}" in wrong or any(w.startswith((f"{key}.", top)) or w == key for w in wrong):
                    continue
                line = line_of(self._found.files[path], key if package_of(self._options[path]) == "_global_" else "")
                yield Problem(
                    key=f"{group}={name}",
                    message=f"no stage reads its keys at '{key}'",
                    origin=self._found.origin(path, line or 1),
                    remedy="Is its package header right? '# @package KEY' says where its keys are",
                )

    def _all_texts(self) -> Iterator[str]:
        own = (file.read_text(encoding="utf-8") for file in PRIMARY.rglob("*.yaml"))
        return chain(self._options.values(), own)

    def _tops(self, path: str) -> set[str]:
        """The top-level keys at which the keys of an option are."""
        text, group = self._options[path], path.rpartition("/")[0]
        if group == STAGES or group.startswith(f"{STAGES}/"):
            return set()
        package = package_of(text) or group.replace("/", ".")
        if package not in ("_global_", "_here_"):
            return {package.removeprefix("_global_.").partition(".")[0]}
        content = load_yaml(text)
        return set(map(str, content)) - {"defaults", "hydra"} if isinstance(content, dict) else set()


def _bound(composed: Composed, faulty: Collection[int]) -> tuple[Sequence[Problem], dict[int, frozenset[str]]]:
    """Bind the jobs of a sweep: the problems, and the keys that each of the others reads."""
    cache = BindCache(reads_data=False)
    fit = tuple(job for job in composed.jobs if job.number not in faulty)
    problems: list[Problem] = []
    while fit:
        try:
            bound = bind(replace(composed, jobs=fit, problems=()), cache)
        except BadInput as error:
            problems += error.problems
            wrong = {number for problem in error.problems for number in problem.jobs}
            all_have_jobs = all(problem.jobs for problem in error.problems)
            fit = tuple(job for job in fit if job.number not in wrong) if wrong and all_have_jobs else ()
            continue
        reads = {job.number: frozenset(replace(bound, calls=((job, call),)).received) for job, call in bound.calls}
        return problems, reads
    return problems, {}


def _jobs_by_option(combination: Combination, paths: Sequence[str], jobs: Mapping[int, Job]) -> dict[str, list[int]]:
    """The numbers of the jobs of each option."""
    found: dict[str, list[int]] = {path: [] for path in paths}
    by_name = {name_of(path): path for path in paths}
    for number, job in jobs.items():
        for line in job.overrides:
            key, _, value = line.partition("=")
            if key == combination.group and (path := by_name.get(value.strip("'"))):
                found[path].append(number)
    return found


def _is_of(
    problem: Problem, path: str, combination: Combination, own: Collection[int], others: Collection[int]
) -> bool:
    """Whether a problem is one of an option: of its jobs, of its name, or of all options."""
    if problem.jobs and (set(problem.jobs) & set(own) or set(problem.jobs) & set(others)):
        return bool(set(problem.jobs) & set(own))
    name = name_of(path)
    group = combination.group.lstrip("+")
    is_named = problem.value is not None and problem.key == group
    return problem.value == name if is_named else "=" not in problem.key or problem.key == f"{group}={name}"


def _is_left_open(problem: Problem, jobs: Mapping[int, Job]) -> bool:
    """Whether a problem is that a value is not given, which the command line or the environment gives."""
    if problem.message in _LEFT_OPEN or _CHOICE_NEEDED in problem.message:
        return True
    numbers = problem.jobs or tuple(jobs)
    part: object = jobs[numbers[0]].raw if numbers and numbers[0] in jobs else None
    for name in problem.key.split("."):
        part = part.get(name) if isinstance(part, Mapping) else None
    return isinstance(part, str) and "${oc.env:" in part


def _hydra_options(found: OptionFiles, search: Sequence[str]) -> Iterator[Problem]:
    """The problems of options of Hydra's own groups, such as launchers, which compose or do not."""
    for path in found.texts:
        group, _, name = path.rpartition("/")
        if not group.startswith("hydra/"):
            continue
        try:
            wrong = compose_with_problems([f"{STAGES}={HELP}", f"{group}={name}"], config_dirs=search).problems
        except BadInput as error:
            wrong = error.problems
        real = (p for p in wrong if p.message not in (*_LEFT_OPEN, IS_SEARCH) and _ADDED not in p.message)
        yield from (replace(p, jobs=(), origin=p.origin or found.origin(path)) for p in real)
