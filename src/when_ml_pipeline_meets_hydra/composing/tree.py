"""The config tree on disk: groups, options, stages and their descriptions, read without Hydra so that help is fast."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.composing.limits import MOST_BYTES, check_text
from when_ml_pipeline_meets_hydra.errors import Problem, did_you_mean
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

PRIMARY = Path(__file__).parents[1] / "config"
STAGES = "c"
HELP = "help"
MOST_ENTRIES = 5_000  # in a folder of option files or of code, with its subfolders

# In a defaults list, a file in the folder that has the name of the option chosen in a group: ${modeling/model}/small
_CHOICE = re.compile(r"\$\{([\w/]+)\}")
#: The folder of the files for options without a folder of their own.
ANY_OPTION = "default"

_HEADER = re.compile(r"\s*#\s*@")
_PACKAGE = re.compile(r"\s*#\s*@package\s+(\S+)")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option file: ``group`` is its folder (``modeling/param``), ``package`` where its keys land."""

    group: str
    name: str
    file: Path

    def text(self) -> str:
        """The file's content, as much of it as an option file may have."""
        with self.file.open(encoding="utf-8-sig", errors="replace") as stream:
            return stream.read(MOST_BYTES)

    @property
    def description(self) -> str:
        """The file's first comment line that is not a header."""
        return described_by(self.text())

    @property
    def package(self) -> str:
        """The package in the ``# @package`` header, otherwise Hydra's default: the group with dots."""
        return package_of(self.text()) or self.group.replace("/", ".")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A named place in the pipeline: the stages that it comes after, and its default subcommand."""

    name: str
    after: tuple[str, ...] = ()
    subcommand: str | None = None

    @property
    def group(self) -> str:
        """The group of its subcommands."""
        return f"{STAGES}/{self.name}_sub"


def described_by(text: str) -> str:
    """The first comment line of a config file that is not a header."""
    for line in text.splitlines():
        if line.startswith("#") and not _HEADER.match(line):
            return line.lstrip("# ").rstrip()
        if line.strip() and not line.startswith("#"):
            break
    return ""


def package_of(text: str) -> str | None:
    """The package in the header of a config file; as in Hydra, the header ends at the first other line."""
    for line in text.splitlines():
        if found := _PACKAGE.match(line):
            return found.group(1)
        if line.strip() and not _HEADER.match(line):
            break
    return None


def is_job_file(entry: str) -> bool:
    """Return whether an entry of a search path is a job file: a user's primary config, whose folder is meant."""
    return "://" not in entry and entry.endswith(".yaml")


def folder_of(entry: str) -> Path | None:
    """The folder of a search path entry; None for a scheme of a plugin's.

    Entries are ``DIR``, ``file://DIR``, ``pkg://package.folder``, ``configs://STORE`` for the checkout of a config
    store, and a job file, whose folder is meant. Raises ``BadInput`` if a store cannot be read.
    """
    scheme, sep, rest = entry.partition("://")
    if is_job_file(entry):
        return Path(entry).expanduser().parent
    if not sep or scheme == "file":
        return Path(rest if sep else entry).expanduser()
    if scheme == "configs":
        from when_ml_pipeline_meets_hydra.composing.checkouts import checkout

        return checkout(entry)
    if scheme != "pkg":
        return None
    top, *below = re.split(r"[./]", rest)
    spec = importlib.util.find_spec(top) if top else None  # of a top-level package, which is not imported for that
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0], *below) if places else None


class TooManyFiles(Exception):
    """A folder has so many files that checking them takes longer than a cache saves."""


def files_below(folder: Path, ending: str | tuple[str, ...]) -> Iterator[tuple[str, os.stat_result]]:
    """The files below a folder, each with its ``stat``. Raises ``TooManyFiles``, and ``OSError``."""
    todo, count = [str(folder)], 0
    while todo:
        with os.scandir(todo.pop()) as found:
            entries = sorted(islice(found, MOST_ENTRIES), key=lambda e: e.name)
        if (count := count + len(entries)) >= MOST_ENTRIES:
            raise TooManyFiles
        for entry in entries:
            if entry.is_dir():
                todo += [] if entry.name.startswith((".", "__pycache__")) else [entry.path]
            elif entry.name.endswith(ending) and entry.is_file():  # reading a pipe would wait for its writer
                yield entry.path, entry.stat()


def groups_in(path: str) -> list[str]:
    """The groups whose chosen options are part of a path in a defaults list: ``${modeling/model}/small``."""
    return _CHOICE.findall(path)


def by_choice(
    path: str,
    chosen: Mapping[str, str],
    extended: Callable[[str, str], Iterable[str]],
    exists: Callable[[str], bool],
) -> str | None:
    """The option file that a path such as ``modeling/param/${modeling/model}/small`` stands for; None if there is none.

    It is in the folder named as the chosen option, otherwise as one that this option extends, otherwise ``default``.
    ``extended(group, option)`` lists the options of the group in the defaults list of ``option``.
    """
    group = next(iter(groups_in(path)))
    names = [chosen[group]] if group in chosen else []
    for name in names:
        names += [other for other in extended(group, name) if other not in names]
    found = (_CHOICE.sub(name, path) for name in (*names, ANY_OPTION))
    return next(filter(exists, found), None)


def extended(group: str, paths: Iterable[str]) -> list[str]:
    """The options of a group among the files in a defaults list of one of its options."""
    names = (path.removeprefix(f"/{group}/") for path in paths)
    return [name for name in names if "/" not in name and name != "_self_"]


def is_option_file(file: Path) -> bool:
    """Return whether a YAML file is an option: no hidden one, as editors (``.#mine.yaml``) and systems write them."""
    return not file.name.startswith(".") and file.is_file()


def read_options(search_path: Sequence[str] = ()) -> dict[str, dict[str, Option]]:
    """All groups with their options; of equal names the first on the path wins.

    The program's own come first; with a job file, which takes the place of the program's primary config, last.
    """
    groups: dict[str, dict[str, Option]] = {}
    folders = [f for e in search_path if (f := folder_of(e)) is not None]
    for folder in [*folders, PRIMARY] if any(map(is_job_file, search_path)) else [PRIMARY, *folders]:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group != "." and not group.startswith("hydra") and is_option_file(file):
                option = Option(group=group, name=file.stem, file=file)
                groups.setdefault(group, {}).setdefault(file.stem, option)
    return groups


def shown_groups(groups: Mapping[str, Mapping[str, Option]]) -> list[str]:
    """The groups to choose from: without folders of files that another choice selects (``modeling/param/linear``)."""
    dependent = {g for g, options in groups.items() if any(map(_paths_by_choice, options.values()))}
    return [group for group in groups if group.rpartition("/")[0] not in dependent]


def with_included(
    option: Option, chosen: Mapping[str, str], groups: Mapping[str, Mapping[str, Option]]
) -> Iterator[Option]:
    """The files in an option's defaults list, and the option itself; ``chosen`` maps each group to its option."""

    def found(path: str) -> Option | None:
        group, _, name = path.rpartition("/")
        return groups.get(group, {}).get(name)

    def names(group: str, name: str) -> list[str]:
        other = groups.get(group, {}).get(name)
        return extended(group, _paths(other)) if other else []

    for path in _paths(option):
        named = path[1:] if path.startswith("/") else f"{option.group}/{path}"
        if groups_in(named):
            named = by_choice(named, chosen, names, lambda p: found(p) is not None) or ""
        if (inner := found(named)) and inner != option:
            yield from with_included(inner, chosen, groups)
    yield option


def _paths(option: Option) -> list[str]:
    """The files in the option's defaults list."""
    text = option.text()
    defaults = (load_yaml(text) or {}).get("defaults") if "defaults:" in text else None
    return [d for d in defaults if isinstance(d, str) and d != "_self_"] if isinstance(defaults, list) else []


def _paths_by_choice(option: Option) -> list[str]:
    return _CHOICE.findall(option.text()) if "defaults:" in option.text() else []


def read_stages(
    names: Iterable[str], load: Callable[[str], Mapping[str, Any]], subcommands: Callable[[str], Sequence[str]]
) -> tuple[Stage, ...]:
    """The stages in order. ``load`` reads a stage's file, ``subcommands`` lists the options of its group."""
    stages = []
    for name in names:
        options = subcommands(f"{STAGES}/{name}_sub")
        if name == HELP or not options:
            continue
        content = load(name)
        after, subcommand = content.get("after") or (), content.get("subcommand")
        stages.append(
            Stage(
                name=name,
                after=tuple(map(str, after)) if isinstance(after, list | tuple) else (str(after),),
                subcommand=str(subcommand) if subcommand else options[0] if len(options) == 1 else None,
            )
        )
    return in_order(stages)


def in_order(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Sort the stages topologically by ``after``; unknown stages and cycles are ignored."""
    todo = {stage.name: stage for stage in stages}
    done: list[Stage] = []

    def place(name: str) -> None:
        if stage := todo.pop(name, None):
            for before in stage.after:
                place(before)
            done.append(stage)

    for name in sorted(todo, key=lambda n: (bool(todo[n].after), n)):
        place(name)
    return tuple(done)


def all_before(stage: str, stages: Mapping[str, Stage]) -> tuple[str, ...]:
    """The stages that ``stage`` comes after, directly or not."""
    found: dict[str, None] = {}
    todo = list(stages[stage].after)
    while todo:
        if (name := todo.pop()) in stages and name not in found:
            found[name] = None
            todo += stages[name].after
    return tuple(found)


def misplaced(stage: Stage, stages: Mapping[str, Stage]) -> Iterator[Problem]:
    """The problems of a stage's ``after``: unknown stages, and cycles."""
    key = f"{STAGES}={stage.name}"
    if stage.name in all_before(stage.name, stages):
        yield Problem(key=key, message="the stage comes after itself", remedy="Correct its 'after: …'")
    for name in stage.after:
        if name not in stages:
            message = f"it comes after '{name}', which is not a stage"
            yield Problem(key=key, message=message, remedy=did_you_mean(name, stages))


def broken_file(key: str, file: Path, error: Exception) -> Problem:
    """The problem of a config file that cannot be read."""
    from when_ml_pipeline_meets_hydra.composing.checkouts import place_of  # here, as most commands need no config store

    mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    place = f"{place_of(file)}, line {mark.line + 1}" if mark else place_of(file)
    return Problem(key=key, message=f"its file cannot be read: {reason.splitlines()[0]}", origin=place)


def default_choices(subcommands: Iterable[Option] = ()) -> dict[str, str]:
    """The default option of each group, from the primary config and the defaults lists of subcommands."""
    content = load_yaml((PRIMARY / "config.yaml").read_text(encoding="utf-8"))
    choices = _choices(content["defaults"])
    for option in subcommands:
        choices |= choices_by(option)
    return choices


def choices_by(option: Option) -> dict[str, str]:
    """The options of other groups that an option's own defaults list chooses."""
    return _choices(load_yaml(option.text()).get("defaults")) if "defaults:" in option.text() else {}


def load_yaml(text: str) -> Any:
    """Parse YAML, with libyaml where it is installed. Raises ``YAMLError``, also for a text with too many values."""
    import yaml

    try:
        check_text(text)
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def dump_yaml(content: Any, width: int = 80, *, flow: bool = False) -> str:
    """Format plain values as YAML that Hydra reads as they are, without sorting keys; with ``flow`` in one line."""
    import yaml

    style: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "default_flow_style": flow, "width": width}
    return str(yaml.dump(content, Dumper=_dumper(), **style))


@lru_cache(maxsize=1)
def _dumper() -> Any:
    """A dumper that quotes texts such as ``1e3``, which are numbers to Hydra and texts to YAML 1.1."""
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        pass

    number = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.[\d_]+)[eE][-+]?\d+$", re.ASCII)
    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return Dumper


def _choices(defaults: Any) -> dict[str, str]:
    entries = [entry for entry in defaults if isinstance(entry, dict)] if isinstance(defaults, list) else []
    named = (
        (str(group).removeprefix("override ").strip("/"), str(o)) for entry in entries for group, o in entry.items()
    )
    return {group.partition("@")[0]: option for group, option in named if not group.startswith("hydra/")}
