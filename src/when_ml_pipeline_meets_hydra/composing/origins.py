"""Finds the origin of each value of a composed config: the override, or the file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY, STAGES, Option
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.masking import Redactor

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader


class Origins:
    """The origins of the values of one job, looked up on demand."""

    def __init__(
        self, loader: Callable[[], Loader], choices: Sequence[str], overrides: Sequence[str], masks: Redactor
    ) -> None:
        self._get_loader, self._overrides, self._masks = loader, overrides, masks
        self.choices = tuple(choices)

    def of(self, key: str) -> str | None:
        """The origin of a key: ``the override m_param.a=2`` or ``…/medium.yaml, line 4``; None for a default."""
        return self._override(key) or self._file_and_line(key)

    def written(self, key: str) -> str | None:
        """The text of a number or truth value as it was written; None where that is not one unquoted word."""
        for line in reversed(self._overrides):
            name, _, value = line.partition("=")
            if (name := name.lstrip("+~")) == _dotted(key):
                return _word(value)
            if (inside := _ITEM.fullmatch(_dotted(key).removeprefix(name))) and _dotted(key).startswith(name):
                items = value.strip()[1:-1].split(",")
                return _word(items[int(inside[1])]) if _LIST.fullmatch(value) and int(inside[1]) < len(items) else None
            if _dotted(key).startswith(f"{name}."):
                return None
        for _, package, file in reversed(self._option_files):
            rest = key if not package else key.removeprefix(f"{package}.")
            if not (package and rest == key) and file and (node := _node_of(Path(file), rest)):
                return str(node[0].value) if isinstance(node[0].value, str) and not node[0].style else None
        return None

    def deletion(self, key: str) -> tuple[str, str | None] | None:
        """The group at ``key`` that an override deletes (``~modeling/param``), and its default option."""
        for line in self._overrides:
            group = line.removeprefix("~").partition("=")[0]
            if line.startswith("~") and self._loader.is_group(group) and self._loader.package(group) == key:
                return group, self._loader.default_option(group)
        return None

    def misplaced(self) -> Iterator[Problem]:
        """The problems of option files without the ``# @package`` header that the other options of their group have."""
        for path, package, file in self._option_files:
            group, _, name = path.rpartition("/")
            if not package.endswith(group.replace("/", ".")):
                continue
            wanted = _usual_package(group) or self._siblings_package(group)
            if wanted and package != wanted:
                yield Problem(
                    key=f"{group}={name}",
                    message=f"its file has no package header, so its keys would be in the package '{package}'",
                    origin=file,
                    remedy=f"Make '# @package {wanted}' the first line of the file",
                )

    def header_fix(self, key: str) -> str | None:
        """The remedy for an option file that was meant for ``key`` but lacks the package header."""
        for path, package, file in self._option_files:
            group = path.rpartition("/")[0]
            if package != key and package.endswith(group.replace("/", ".")) and group.endswith(f"/{key}"):
                return f"Make '# @package {key}' the first line of {file}"
        return None

    def _siblings_package(self, group: str) -> str | None:
        """The package of the other options of a user's group."""
        found = {self._loader.package(f"{group}/{name}") for name in self._loader.options(group)}
        return next((p for p in sorted(found) if p != group.replace("/", ".")), None)

    def stage_file(self, stage: str) -> str | None:
        """The option file of a stage."""
        return self._loader.source_file(f"{STAGES}/{stage}")

    @property
    def _loader(self) -> Loader:
        return self._get_loader()

    def _override(self, key: str) -> str | None:
        for line in reversed(self._overrides):
            name = line.partition("=")[0].lstrip("+~")
            if _dotted(key) == name or _dotted(key).startswith(f"{name}."):
                return f"the override {self._masks.override(line)}"
        return None

    def _file_and_line(self, key: str) -> str | None:
        for _, package, file in reversed(self._option_files):
            rest = key if not package else key.removeprefix(f"{package}.") if key != package else ""
            if package and rest == key:
                continue
            if file and (line := line_of(Path(file), rest)):
                return f"{shortened_path(Path(file))}, line {line}"
        return None

    @cached_property
    def _option_files(self) -> list[tuple[str, str, str | None]]:
        found = self._loader.defaults(self.choices)
        return [(str(d.config_path), d.package or "", self._loader.source_file(str(d.config_path))) for d in found]


class OverriddenKeys:
    """Finds the keys whose values may not come from the program's own option files."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._packages: dict[tuple[str, str], str | None] = {}
        self._changed: dict[int, tuple[Mapping[str, str], frozenset[str] | None]] = {}

    def of(self, chosen: Mapping[str, str], values: Sequence[str]) -> frozenset[str] | None:
        """The top-level keys that overrides or other option files may have changed; None if any key may have been."""
        if id(chosen) not in self._changed:  # jobs share them
            self._changed[id(chosen)] = chosen, self._by_options(chosen)
        tops = self._changed[id(chosen)][1]
        return None if tops is None else tops | {_top(line.partition("=")[0].lstrip("+~")) for line in values}

    def _by_options(self, chosen: Mapping[str, str]) -> frozenset[str] | None:
        options = ((group, name) for group, name in chosen.items() if not group.startswith("hydra/"))
        packages = [package for option in options if (package := self._package(*option)) is not None]
        if any(package.startswith("_") or not package for package in packages):
            return None
        return frozenset(map(_top, packages))

    def _package(self, group: str, option: str) -> str | None:
        """The package of an option, "" if it may set any key; None if its file is the program's own."""
        if (group, option) not in self._packages:
            name, _, explicit = group.partition("@")
            path = f"{name}/{option}"
            file = self._loader.source_file(path)
            if file is not None and Path(file).is_relative_to(PRIMARY):
                package = None
            elif file is None or ((read := self._loader.read(path)) and read.defaults_list):
                package = ""
            else:
                package = explicit or self._loader.package(path)
            self._packages[group, option] = package
        return self._packages[group, option]


def _top(key: str) -> str:
    return re.split(r"[.\[]", key, maxsplit=1)[0]


def _dotted(key: str) -> str:
    """A key in the form of overrides: ``columns.0.name`` for ``columns[0].name``."""
    return re.sub(r"\[(\d+)\]", r".\1", key)


def _usual_package(group: str) -> str | None:
    """The package of a group's options: that of subcommands by rule, otherwise that of the program's own options."""
    if group.startswith(f"{STAGES}/") and group.endswith("_sub"):
        return group.removeprefix(f"{STAGES}/")
    own = next(iter(sorted((PRIMARY / group).glob("*.yaml"))), None) if group else None
    return Option(group=group, name=own.stem, file=own).package if own else None


def line_of(file: Path, key: str) -> int | None:
    """The line in ``file`` that sets ``key`` (1 for the file itself)."""
    found = _node_of(file, key.partition("[")[0])
    return found[1] if found else None


def written_option(file: Path, number: int, key: str) -> str | None:
    """The option in an item of a file's defaults list, as it is written: ``007``, ``1e3``."""
    found = _node_of(file, f"defaults.{number}")
    pairs = found[0].value if found else ()
    return next((str(value.value) for name, value in pairs if name.value == key), None)


def _node_of(file: Path, key: str) -> tuple[Any, int] | None:
    """The YAML node of ``key`` in ``file``, and its line."""
    import yaml  # only where there is something to report

    node, line = _nodes(file.read_text(encoding="utf-8-sig")), 1
    for part in _dotted(key).split(".") if key else ():
        if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
            continue
        if not isinstance(node, yaml.MappingNode):
            return None
        for name, value in node.value:
            if name.value == part:
                node, line = value, name.start_mark.line + 1
                break
        else:
            return None
    return node, line


@lru_cache(maxsize=256)  # each problem of each job asks for the same few files
def _nodes(text: str) -> Any:
    """The YAML nodes of an option file."""
    import yaml

    return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


_LIST = re.compile(r"\s*\[[^\[\]{}()'\"\\]*\]\s*")
_ITEM = re.compile(r"\.(\d+)")


def _word(value: str) -> str | None:
    """A value without quotes, brackets or interpolations."""
    return value.strip() if value.strip() and not re.search(r"[\[\]{}()'\"\\$,]", value) else None


def shortened_path(file: Path) -> str:
    """Shorten a path: relative to the program's config folder or to the current directory."""
    for base, shown in ((PRIMARY.parent, ""), (Path.cwd(), "")):
        if file.is_relative_to(base):
            return shown + str(file.relative_to(base))
    return str(file)
