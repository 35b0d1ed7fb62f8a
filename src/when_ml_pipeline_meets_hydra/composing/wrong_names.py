"""Problems of options and keys that do not exist, with those that do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.composing import override_grammar
from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
from when_ml_pipeline_meets_hydra.composing.dependent_defaults import content, groups_behind
from when_ml_pipeline_meets_hydra.composing.job import NO_SUCH_KEY
from when_ml_pipeline_meets_hydra.composing.origins import defaults_of, line_of, line_of_default, shortened_path
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override
from when_ml_pipeline_meets_hydra.composing.tree import STAGES
from when_ml_pipeline_meets_hydra.composing.values import first_line
from when_ml_pipeline_meets_hydra.errors import Problem, did_you_mean

MOST_SHOWN = 20  # invalid options of one override
_IN_FILE = re.compile(r"(?:In )?'?([^':\s]+)'?: ")  # the beginning of Hydra's messages about a defaults list
_QUOTED = re.compile(r"'([^'\s:]+)")


def wrong_options(override: Override, loader: Loader) -> Iterator[Problem]:
    """The options in an override that its group does not have."""
    group = override.key_or_group
    allowed, chosen = loader.options(group), list(override_grammar.names(override))
    if group != STAGES and not set(chosen) <= set(allowed):
        allowed = [*allowed, *_nested_options(group, loader)]
    leaves_out = override.is_delete() and override.value() is None
    wrong = [] if leaves_out else [name for name in chosen if name not in allowed]
    for name in wrong[:MOST_SHOWN]:
        yield Problem(
            key=group,
            value=name,
            message="there is no such option",
            origin=f"the override {override.input_line}",
            remedy=(_file_remedy(name, group, loader) or _options_remedy(name, allowed))
            if allowed
            else "The group has no options",
        )
    if more := len(wrong[MOST_SHOWN:]):
        yield Problem(key=group, message=f"{more} more of its values are not options either")


def option_without_group(override: Override, loader: Loader) -> Problem | None:
    """The problem of ``model=linear``, in which ``model`` is where the keys of an option land, and no group."""
    key = override.key_or_group
    if "." in key or loader.is_group(key) or override.is_delete() or isinstance(override.value(), dict | None):
        return None
    if key in loader.file_content(loader.config_name):
        return None
    groups = (g for g in loader.groups() if not g.startswith(("hydra", f"{STAGES}/")))
    group = next((g for g in groups if loader.options(g) and loader.package(g) == key), None)
    if group is None:
        return None
    shown, allowed = str(override.input_line).partition("=")[2], loader.options(group)
    wrong = [name for name in override_grammar.names(override) if name not in allowed]
    remedy = f"Write {group}=…. {_options_remedy(wrong[0], allowed)}" if wrong else f"Write {group}={shown}"
    message = "holds the keys of an option, which is chosen by its group"
    return Problem(key=key, value=None if wrong else shown, message=message, remedy=remedy)


def in_defaults_list(error: BaseException, loader: Loader, chosen: Sequence[str]) -> Problem | None:
    """The problem of a name in the defaults list of an option file, with its line; None for any other error.

    ``chosen`` are the options of a job (``experiment/mine``), whose files may replace those of others.
    """
    text = first_line(error)
    named = _IN_FILE.match(text)
    if named is None:
        return None
    path, rest = named[1], text[named.end() :]
    if missing := getattr(error, "missing_cfg_file", None):
        if missing.startswith(f"{STAGES}/") and (subcommand := _no_subcommand(missing, loader)):
            return subcommand
        path = _naming(missing, chosen, loader) or path
    if (file := loader.source_file(path)) is None:
        return None
    message, remedy = f"its defaults list is wrong: {rest.rstrip(':')}", None
    if missing and loader.is_group(group := missing.rpartition("/")[0]):
        message = f"its defaults list names {group}={missing.rpartition('/')[2]}, and there is no such option"
        remedy = _options_remedy(missing.rpartition("/")[2], loader.options(group)) if loader.options(group) else None
    names = [missing] if missing else _QUOTED.findall(rest)
    lines = (line_of_default(Path(file), name) for name in names)
    line = next((f", line {line}" for line in lines if line), "")
    own, _, name = path.rpartition("/")
    return Problem(
        key=f"{own}={name}" if own else path,
        message=message,
        origin=f"{shortened_path(Path(file))}{line}",
        remedy=remedy,
    )


def _no_subcommand(missing: str, loader: Loader) -> Problem | None:
    """The problem of a subcommand in a stage's file that is not there: ``c/own_sub/go``."""
    group, _, name = missing.rpartition("/")
    stage = group.removesuffix("_sub")
    file = loader.source_file(stage)
    if file is None or not (line := line_of(Path(file), "subcommand")):
        return None
    return Problem(
        key=f"{STAGES}={stage.removeprefix(f'{STAGES}/')}",
        message=f"its subcommand is {name}, and there is no such option of {group}",
        origin=f"{shortened_path(Path(file))}, line {line}",
        remedy=_options_remedy(name, loader.options(group)) if loader.options(group) else None,
    )


def _naming(missing: str, chosen: Sequence[str], loader: Loader) -> str | None:
    """The option, of the chosen ones and those in their defaults lists, that names a missing one."""
    todo, seen = list(chosen), set(chosen)
    while todo:
        path = todo.pop(0)
        if (file := loader.source_file(path)) is None:
            continue
        named = set(defaults_of(Path(file)))
        if missing in named:
            return path
        todo += named - seen
        seen |= named
    return None


def _file_remedy(name: str, group: str, loader: Loader) -> str | None:
    """The option that reads a file of the user's, where its name was given as that of an option."""
    option = name.rpartition(".")[2]
    path = f"{group}/{option}"
    if option == name or option not in loader.options(group) or "path" not in loader.file_content(path):
        return None
    return f"For a file write {group}={option} {loader.package(path)}.path={name}"


def _options_remedy(name: str, options: Sequence[str]) -> str:
    named = [option for option in options if "/" not in option] or options  # those inside are for single choices
    close, every = did_you_mean(name, options, most=3) or "", f"Allowed: {', '.join(sorted(named))}"
    return every if close.startswith("Allowed") else f"{close} {every}"


def _nested_options(group: str, loader: Loader) -> Iterator[str]:
    """The options in folders inside a group's folder, as Hydra names them: ``cmnist/cnn``.

    Not those whose keys land inside the group's, as ``hydra/sweeper/sampler`` has them: they are a group of their own.
    """
    inside = f"{loader.package(group)}."
    for inner in loader.groups(group):
        names = (name for name in loader.options(inner) if not loader.header(f"{inner}/{name}").startswith(inside))
        yield from (f"{inner.removeprefix(f'{group}/')}/{name}" for name in names)


def with_owners(problem: Problem, chosen: Mapping[str, str], loader: Loader) -> Problem:
    """Say which keys the chosen option has, and which other options of its group have the key that it lacks."""
    top, _, rest = problem.key.partition(".")
    groups = [g for g in chosen if "@" not in g and not g.startswith(("hydra", f"{STAGES}/"))]
    group = next((g for g in groups if rest and loader.package(f"{g}/{chosen[g]}") == top), None)
    if problem.message != NO_SUCH_KEY:
        return problem
    if group is None:
        owners = _global_owners(problem.key, tuple(groups), loader)
        return replace(problem, remedy=f"{problem.key} is a key of {' and '.join(owners)}") if owners else problem
    option = f"{group}/{chosen[group]}"
    own = content(option, chosen, loader)
    if _holds_new_names(own, rest):
        return replace(problem, message="this is a new name", remedy=f"Add it with a plus: +{problem.key}=…")
    known = sorted(f"{top}.{k}" for k in own if not k.startswith("_"))
    behind = groups_behind(option, loader)
    place = " of ".join(f"{g}={chosen.get(g)}" for g in (group, *behind))
    owners = [f"{group}={o}" for o in loader.options(group) if _has(content(f"{group}/{o}", chosen, loader), rest)]
    owners += [f"{g}={o}" for g in behind for o in _with_key(rest, option, g, chosen, loader)]
    close = problem.remedy if (problem.remedy or "").startswith("Did you") else None
    allowed = f"Allowed: {', '.join(known)} ({place})" if known else problem.remedy
    others = f"{problem.key} is a key of {' and '.join(owners)}" if owners else None
    text = "; ".join(part for part in (allowed, others) if part)
    return replace(problem, remedy=" ".join(part for part in (close, text) if part) or None)


@lru_cache(maxsize=16)  # the same for each job of a sweep
def _global_owners(key: str, groups: tuple[str, ...], loader: Loader) -> list[str]:
    return [f"{g}={o}" for g in groups for o in loader.options(g) if _gives(f"{g}/{o}", key, loader)]


def _gives(path: str, key: str, loader: Loader) -> bool:
    """Whether an option with the package ``_global_``, or one that it includes, has a key."""
    read = loader.read(path) if loader.package(path) == "_global_" else None
    if read is None or _has(loader.file_content(path), key):
        return read is not None
    included: Any = read.defaults_list or ()
    return any(
        _has(loader.file_content(f"{group}/{name}"), key.removeprefix(f"{d.package}."))
        for d in included
        if getattr(d, "package", None) and key.startswith(f"{d.package}.")
        for group in [d.group.removeprefix("/")]
        for name in ([d.value] if d.value in loader.options(group) else loader.options(group))
    )


def _with_key(key: str, option: str, group: str, chosen: Mapping[str, str], loader: Loader) -> Iterator[str]:
    """The options of a group with which another option, that depends on it, has the key; without mere examples."""
    for name in loader.options(group):
        is_example = "_target_" not in content(f"{group}/{name}", chosen, loader)
        if not is_example and _has(content(option, {**chosen, group: name}, loader), key):
            yield name


def _holds_new_names(found: Mapping[str, Any], key: str) -> bool:
    """Whether a key lies in a mapping without any key of its own, to which names are added."""
    *parents, _ = key.split(".")
    for part in parents:
        found = found.get(part, None) if isinstance(found, Mapping) else None
    return bool(parents) and isinstance(found, Mapping) and not found


def _has(found: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return True
