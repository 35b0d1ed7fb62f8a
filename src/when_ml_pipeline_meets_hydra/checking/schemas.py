"""JSON Schemas of option files, by which editors complete and check them: one for each group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.binding.keys import several_fields
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages, locate_class
from when_ml_pipeline_meets_hydra.binding.validation import field_schema, schema
from when_ml_pipeline_meets_hydra.checking.received_keys import received_keys
from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY, STAGES, Option, load_yaml, read_options
from when_ml_pipeline_meets_hydra.errors import BadInput

DIALECT = "http://json-schema.org/draft-07/schema#"  # what language servers of YAML read
_TARGET = "_target_"
_LATER = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}  # an interpolation, or a value that is given later
_DEFAULTS = {
    "description": "Other option files that this one includes, in order; _self_ is its own place",
    "type": "array",
    "items": {"anyOf": [{"type": "string"}, {"type": "object"}]},
}
_NO_HEADER = ("_global_", "_here_", "")


def group_schemas(search: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of the option files of each group on a search path: group → schema."""
    groups = read_options(search)
    options = [option for found in groups.values() for option in found.values()]
    contents = {(o.group, o.name): _content(o) for o in options}
    classes: dict[str, dict[str, type]] = {}
    free: dict[str, list[set[str]]] = {}
    for option in options:
        content = contents[option.group, option.name]
        if isinstance(target := content.get(_TARGET), str):
            if cls := _located(target):
                classes.setdefault(option.package, {})[target] = cls
        elif option.file.is_relative_to(PRIMARY) and "defaults" not in content:
            free.setdefault(option.package, []).append(set(content))
    hints = _hints(search)
    return {group: _of_group(group, found.values(), classes, hints, free) for group, found in groups.items()}


def _content(option: Option) -> Mapping[str, Any]:
    import yaml

    try:
        content = load_yaml(option.text())
    except yaml.YAMLError:
        return {}  # a broken file is reported by the check
    return content if isinstance(content, dict) else {}


def _located(target: str) -> type | None:
    try:
        return locate_class(target, allowed_packages(), key="", origin=lambda _: None)
    except BadInput:
        return None


def _hints(search: Sequence[str]) -> dict[str, Any]:
    """The types of config keys that the subcommands of all stages receive."""
    found: dict[str, Any] = {}
    for job, keys in received_keys(search):
        for key, hint in keys.items():
            value = job.config.get(key)
            if not (isinstance(value, dict) and _TARGET in value) and field_schema(hint, []).get("properties"):
                found.setdefault(key, hint)
    return found


def _of_group(
    group: str,
    options: Iterable[Option],
    classes: Mapping[str, Mapping[str, type]],
    hints: Mapping[str, Any],
    free: Mapping[str, Sequence[set[str]]],
) -> dict[str, Any]:
    packages = sorted({option.package for option in options})
    whole: dict[str, Any] = {"$schema": DIALECT, "title": f"Options of {group}"}
    if group == STAGES:
        return {**whole, **_STAGE}
    if group.startswith(f"{STAGES}/"):
        return {**whole, **_SUBCOMMAND}
    definitions: dict[str, Any] = {}
    branches: list[dict[str, Any]] = []
    is_mixed = bool(set(packages) & set(_NO_HEADER))
    packages = [package for package in packages if package not in _NO_HEADER]
    for package in packages:
        targets = classes.get(package, {})
        branches += (_of_class(cls, target, definitions) for target, cls in targets.items())
        if not targets and package in hints:
            branches.append(_of_class(hints[package], None, definitions))
    known = {name for branch in branches for name in branch["properties"]}
    examples = (keys for package in packages for keys in free.get(package, ()) if not keys <= known)
    if branches:
        branches += [_keys({**{key: {} for key in sorted(keys)}, "defaults": _DEFAULTS}) for keys in examples]
    if named := {target for package in packages for target in classes.get(package, ())}:
        branches.append(_of_another_class(named))
    if branches and is_mixed:  # an option without a package of its own, whose keys may be anywhere
        branches.append({"type": ["object", "null"], "properties": {_TARGET: False, "defaults": _DEFAULTS}})
    if not branches:
        return {**whole, "type": ["object", "null"], "properties": {"defaults": _DEFAULTS}}
    return {**whole, "anyOf": branches, **({"definitions": definitions} if definitions else {})}


_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_STAGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "The name of the stage"},
        "after": {**_TEXTS, "description": "The stages that it comes after"},
        "subcommand": {"type": "string", "description": "Its default subcommand"},
        "defaults": _DEFAULTS,
    },
}
_SUBCOMMAND: dict[str, Any] = {
    "type": "object",
    "properties": {
        _TARGET: {"type": "string", "description": "The function of the subcommand: package.module.function"},
        "defaults": _DEFAULTS,
    },
}


def _of_class(hint: Any, target: str | None, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of an option of a class; what it refers to is added to ``definitions``."""
    found = schema(hint)
    for name, part in found.get("$defs", {}).items():
        definitions[name] = _relaxed(part)
    several = several_fields(hint) if isinstance(hint, type) else {}
    part = found
    if "$ref" in part:
        part = found["$defs"][part["$ref"].rpartition("/")[2]]
    named = {k: v for k, v in part.get("properties", {}).items() if not v.get("chosen")}
    properties = {k: _later(v) for k, v in named.items()} | {k: {"type": ["object", "null"]} for k in several}
    about = {"description": part["description"]} if "description" in part else {}
    if target:
        properties = {_TARGET: {"const": target, "description": "The class of the option"}, **properties}
    branch = _keys({**properties, "defaults": _DEFAULTS})
    if "properties" not in part or part.get("additionalProperties") not in (False, None):
        branch["additionalProperties"] = True
    return {**branch, **about}


def _keys(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "properties": dict(properties),
        "patternProperties": {"^_[a-z_]*_$": {}},  # marks for the program
        "additionalProperties": False,
    }


def _of_another_class(targets: Iterable[str]) -> dict[str, Any]:
    """An option of a class that no option file has named yet."""
    other = {"type": "string", "not": {"enum": sorted(targets)}}
    return {"type": "object", "required": [_TARGET], "properties": {_TARGET: other}}


def _later(field: Mapping[str, Any]) -> dict[str, Any]:
    """A field whose value may be an interpolation; what an editor shows of it stands beside."""
    shown = {k: field[k] for k in ("description", "default", "title") if k in field}
    return {**shown, "anyOf": [_relaxed({k: v for k, v in field.items() if k not in shown}), _LATER]}


def _relaxed(part: Any) -> Any:
    """A part of a schema in which no key is needed, since an option file may extend another one."""
    if isinstance(part, list):
        return [_relaxed(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {k: _relaxed(v) for k, v in part.items() if k not in ("required", "chosen", "properties", "discriminator")}
    if isinstance(found.get("$ref"), str):
        found["$ref"] = found["$ref"].replace("#/$defs/", "#/definitions/")
    if isinstance(names := part.get("properties"), dict):
        found["properties"] = {name: _later(value) for name, value in names.items()}
    return found


def globs(groups: Iterable[str], folders: Sequence[str], root: Path) -> dict[str, list[str]]:
    """The files of each group, as patterns relative to ``root``: group → ``conf/modeling/model/*.yaml``."""
    places = [Path(folder) for folder in folders if "://" not in folder]
    shown = [p.relative_to(root).as_posix() if p.is_relative_to(root) else p.as_posix() for p in places]
    return {group: [f"{'' if place == '.' else f'{place}/'}{group}/*.yaml" for place in shown] for group in groups}
