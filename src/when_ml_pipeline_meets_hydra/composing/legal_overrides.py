"""Parses overrides, and finds those that must not be composed, with what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.composing import config_loader, override_grammar
from when_ml_pipeline_meets_hydra.composing.config_loader import HydraException, Loader
from when_ml_pipeline_meets_hydra.composing.job import SEARCHES
from when_ml_pipeline_meets_hydra.composing.origins import line_of, shortened_path
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override
from when_ml_pipeline_meets_hydra.composing.tree import STAGES, folder_of
from when_ml_pipeline_meets_hydra.composing.wrong_names import option_without_group, wrong_options
from when_ml_pipeline_meets_hydra.errors import Problem, did_you_mean

MOST_JOBS = 100_000
SWEEPER_GROUP, SWEEPER = "hydra/sweeper", "plan"
LAUNCHER_GROUP = "hydra/launcher"
PLANS = "hydra_plugins.when_ml_pipeline_meets_hydra.PlanSweeper"
# The message of a command that turns out to be a search.
IS_SEARCH = "is a search, which proposes its trials one after the other: they are not known beforehand"
# The signatures of Hydra's sweep functions.
_SWEEP_SIGNATURES = {
    "choice": "choice(a,b,…)",
    "glob": "glob(pattern) or glob([pattern,…],exclude=[pattern,…])",
    "interval": "interval(start,end)",
    "range": "range(stop), range(start,stop) or range(start,stop,step), with numbers",
    "shuffle": "shuffle(a,b,…) or shuffle(range(…))",
    "sort": "sort(a,b,…) or sort(a,b,…,reverse=true), with values of one kind",
    "tag": "tag(name,choice(a,b,…)) or tag(name,range(…))",
}


def parse(overrides: Iterable[str], loader: Loader, problems: list[Problem]) -> Iterator[Override]:
    """Parse overrides; those that do not follow the grammar are appended to ``problems``."""
    for line in overrides:
        key, equals, value = line.partition("=")
        try:
            if not key.lstrip("+~") or "\0" in line:
                raise HydraException(line)
            yield loader.parse(line)
        except (*config_loader.CompositionError, ValueError):  # ValueError: a number of thousands of digits
            problems.append(
                Problem(
                    key=key.lstrip("+~") or key,
                    message="this does not follow Hydra's grammar" if equals else "neither a command nor key=value",
                    remedy=_how_to_write(key, value) if equals else _value_or_help(key),
                )
            )


def _value_or_help(word: str) -> str:
    """The remedy for a word that is no override: it may be a key or a group without its value."""
    return f"Write {word}=…, or see --help" if re.fullmatch(r"[a-z_]\w*(?:[./]\w+)+", word) else "See --help"


def _how_to_write(key: str, value: str) -> str:
    """The remedy for a value that does not follow the grammar, without the value: it may be a secret."""
    if not key.strip("+~"):
        return "Write key=value, without blanks around ="
    sweep = _SWEEP_SIGNATURES.get(value.partition("(")[0].strip())
    if sweep:
        return f"Write {sweep}"
    return f"Quote values with special characters, also letters such as ä: '{key}=\"…\"'"


def no_folder(path: str, config_dirs: Sequence[str], job_file: Path | None = None) -> Problem:
    """The problem of an entry of the search path that is no folder; it may come from a job file."""
    is_flag = any(path in (entry, str(folder_of(entry))) for entry in config_dirs)
    if job_file and not is_flag and (line := line_of(job_file, override_grammar.SEARCH_PATH)):
        origin = f"{shortened_path(job_file)}, line {line}"
        remedy = f"Start in the folder that holds {path}, or give another one: {override_grammar.SEARCH_PATH}=[DIR]"
        message = f"no such folder in {Path.cwd()}"
        return Problem(key=override_grammar.SEARCH_PATH, value=path, message=message, origin=origin, remedy=remedy)
    key = "--config-dir" if is_flag else override_grammar.SEARCH_PATH
    if path.startswith("structured://"):
        message, remedy = "its options are made by code, which would be imported", "Write them into files of a folder"
        return Problem(key=key, value=path, message=message, remedy=remedy)
    return Problem(key=key, value=path, message="no such folder")


def needs_multirun(override: Override, loader: Loader) -> Problem:
    """The problem of a sweep in a command without ``--multirun``."""
    key, remedy = override.key_or_group, "Add --multirun to run one job for each"
    if not loader.is_group(key):  # the value is not shown: it may be a secret
        remedy += f", or write {key}=[…] for a list"
        return Problem(key=key, message="several values need --multirun", remedy=remedy)
    shown = str(override.input_line).partition("=")[2]
    return Problem(key=key, value=shown, message="several values need --multirun", remedy=remedy)


def is_illegal(override: Override, loader: Loader, problems: list[Problem], *, searches: bool = False) -> bool:
    """Append the problems of one parsed override; True where it must not be composed.

    A search draws from an interval, and from a range of any size.
    """
    before = len(problems)
    key = override.key_or_group
    if key == override_grammar.SEARCH_PATH and (override.is_delete() or override_grammar.names_folders(override)):
        return True  # it is in the loader already
    if key == override_grammar.SEARCH_PATH:
        problems.append(Problem(key=key, message="expected a list of folders", remedy=f"Write {key}=[DIR,DIR]"))
    elif override.is_hydra_override() and (forbidden := _forbidden(override)):
        problems.append(Problem(key=key, message=forbidden[0], remedy=forbidden[1]))
    elif override.is_sweep_override() and (wrong := _wrong_sweep(override, loader, searches=searches)):
        problems.append(wrong)
    elif override_grammar.has_nested_sweep(override):
        message = "a sweep cannot be inside a list or another function"
        problems.append(Problem(key=key, message=message))
    elif key.partition("/")[0] == STAGES and isinstance(override.value(), list):
        remedy = f"For one job each write {key}={','.join(override_grammar.names(override))} --multirun"
        problems.append(Problem(key=key, message="takes one name, not a list", remedy=remedy))
    elif override.is_delete() and loader.is_choice(override) and not isinstance(override.value(), str | None):
        message = "a deletion takes the name of one option, or none"
        problems.append(Problem(key=key, message=message, remedy=f"Write ~{key}"))
    elif loader.is_group(key) and (loader.options(key) or "/" in key or loader.is_choice(override)):
        problems += wrong_options(override, loader)
    elif "/" in key or override.package is not None:
        message = "there is no such config group"
        problems.append(Problem(key=key, message=message, remedy=did_you_mean(key, _filled_groups(loader))))
    elif unchosen := option_without_group(override, loader):
        problems.append(unchosen)
    return len(problems) > before


def _forbidden(override: Override) -> tuple[str, str | None] | None:
    """The message and remedy for an override of Hydra's own config that is not supported."""
    key = override.key_or_group
    if override.is_sweep_override() and key.partition(".")[0] != "hydra.sweeper":
        return "is the same for all jobs, so it cannot be swept", None
    if key == "hydra.mode":
        return "is set by a flag", "Add --multirun, or leave it out"
    return None


def wrong_sweeper(hydra: Mapping[str, Any], *, searches: bool) -> Problem | None:
    """The problem of a sweeper that does not plan a sweep, or search; ``hydra`` is Hydra's own config."""
    key, target = SWEEPER_GROUP, hydra["sweeper"].get("_target_") if hydra else None
    if target is None or target == (SEARCHES if searches else PLANS):
        return None
    if target == SEARCHES:
        remedy = "The command line without the word plan runs it, and so does search(…) from Python"
        return Problem(key=key, message=IS_SEARCH, remedy=remedy)
    message = f"sweeps are planned as a whole, which only '{SWEEPER}' does"
    return Problem(key=key, message=message, remedy=f"Leave it out, or write {key}={SWEEPER}")


def _wrong_sweep(override: Override, loader: Loader, *, searches: bool) -> Problem | None:
    """The problem of a sweep that has no values, or too many."""
    key = override.key_or_group
    if not override.is_discrete_sweep() and loader.is_group(key):
        return Problem(key=key, message="an interval is for numbers", remedy=f"Write {key}=choice(…) with its options")
    if not override.is_discrete_sweep():
        message = "an interval is for a search; a sweep takes a list, range(…) or glob(…)"
        remedy = "Add hydra/sweeper=random or optuna to search"
        return None if searches else Problem(key=key, message=message, remedy=remedy)
    if override_grammar.has_nested_sweep(override):
        return Problem(key=key, message="a sweep cannot be inside a list or another function")
    message = _wrong_size(override, loader)
    is_range = override.is_range_sweep()
    return Problem(key=key, message=message) if message and not (searches and is_range and "more" in message) else None


def _wrong_size(override: Override, loader: Loader) -> str:
    """The message for a sweep that has no values, or too many."""
    try:
        size = override_grammar.size(override, MOST_JOBS)
    except ValueError:
        return "a range goes from number to number, in steps that are not 0"
    if size == 0 and override_grammar.is_glob(override):
        is_group = loader.is_group(override.key_or_group)
        return "no option matches the glob(…)" if is_group else "glob(…) is for the options of a group"
    if 0 < size <= MOST_JOBS:
        return ""
    return f"makes more than {MOST_JOBS} jobs" if size else "makes no job"


def _filled_groups(loader: Loader) -> list[str]:
    return [g for g in loader.groups() if not g.startswith("hydra") and loader.options(g)]
