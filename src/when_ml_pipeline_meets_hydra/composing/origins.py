"""Finds the origin of each value of a composed config: the override, or the file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.composing.checkouts import place_of, shown_entry
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
        for path, package, wanted, file in self._misplaced:
            group, _, name = path.rpartition("/")
            is_empty = file is not None and not Path(file).read_text(encoding="utf-8-sig").strip()
            header = f"its file has no package header, so its keys would be in the package '{package}'"
            yield Problem(
                key=f"{group}={name}",
                message="its file is empty" if is_empty else header,
                origin=place_of(Path(file)) if file else None,
                remedy=f"Make '# @package {wanted}' the first line of the file" + ", followed by keys" * is_empty,
            )

    @cached_property
    def _misplaced(self) -> list[tuple[str, str, str, str | None]]:
        """Name, package, usual package and path of such option files."""
        found = []
        for path, package, file in self._option_files:
            group = path.rpartition("/")[0]
            if package.endswith(group.replace("/", ".")):
                wanted = _usual_package(group) or self._siblings_package(group)
                found += [(path, package, wanted, file)] if wanted and package != wanted else []
        return found

    def is_misplaced(self, key: str) -> bool:
        """Whether an option file that is reported by ``misplaced`` was meant for ``key``."""
        return any(wanted == key for _, _, wanted, _ in self._misplaced)

    def header_fix(self, key: str) -> str | None:
        """The remedy for an option file that was meant for ``key`` but lacks the package header."""
        for path, package, file in self._option_files:
            group = path.rpartition("/")[0]
            if package != key and package.endswith(group.replace("/", ".")) and group.endswith(f"/{key}"):
                return f"Make '# @package {key}' the first line of {place_of(Path(file)) if file else path}"
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
                place = f"{shortened_path(Path(file))}, line {line}"
                return self._by_override(Path(file), rest, place) or place
        return None

    def _by_override(self, file: Path, key: str, place: str) -> str | None:
        """The origin of a key that a file takes from another one (``seed: ${seed}``), which an override sets."""
        node = _node_of(file, key)
        taken = _INTERPOLATION.fullmatch(str(node[0].value)) if node else None
        override = self._override(taken[1]) if taken else None
        return f"{override}, which {place} takes" if override else None

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


def line_of_default(file: Path, name: str) -> int | None:
    """The line of the entry of a file's defaults list for a group or option (``modeling/param/small``)."""
    items = [(item, list(_named_by(item))) for item in _defaults(file)]
    exact = (item for item, named in items if name in named)
    relative = (item for item, named in items if any(name.endswith(f"/{own}") for own in named))
    found = next(exact, None) or next(relative, None)
    return int(found.start_mark.line) + 1 if found else None


def defaults_of(file: Path) -> Iterator[str]:
    """Yield the groups and options in a file's defaults list: ``modeling/param``, ``modeling/param/small``."""
    for item in _defaults(file):
        yield from _named_by(item)


def _defaults(file: Path) -> Sequence[Any]:
    found = _node_of(file, "defaults")
    return found[0].value if found and isinstance(found[0].value, list) else ()


def _named_by(item: Any) -> Iterator[str]:
    """The group, and the options with it, that an entry of a defaults list names."""
    for name, value in item.value if isinstance(item.value, list) else ():
        group = _KEYWORDS.sub("", str(getattr(name, "value", ""))).lstrip("/").partition("@")[0]
        yield group
        for option in value.value if isinstance(value.value, list) else (value,):
            yield f"{group}/{getattr(option, 'value', '')}"
    if isinstance(item.value, str):
        yield item.value.lstrip("/").partition("@")[0]


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
_INTERPOLATION = re.compile(r"\$\{([\w.]+)\}")
_KEYWORDS = re.compile(r"^(?:(?:override|optional) +)*")


def _word(value: str) -> str | None:
    """A value without quotes, brackets or interpolations."""
    return value.strip() if value.strip() and not re.search(r"[\[\]{}()'\"\\$,]", value) else None


def shortened_path(file: Path) -> str:
    """The name of an entry of a config store, or a path relative to the program's config folder or this folder."""
    if entry := shown_entry(file):
        return entry
    for base, shown in ((PRIMARY.parent, ""), (Path.cwd(), "")):
        if file.is_relative_to(base):
            return shown + str(file.relative_to(base))
    return str(file)
