"""Forms of entries: a field for each key, by the types of the options that read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from when_ml_pipeline_meets_hydra.binding.bind import describe
from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
from when_ml_pipeline_meets_hydra.binding.validation import allowed, field_schema
from when_ml_pipeline_meets_hydra.composing.hydra_config import read_text
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job
from when_ml_pipeline_meets_hydra.composing.tree import HELP, load_yaml
from when_ml_pipeline_meets_hydra.config_store.combinations import combinations, composed_sweep, name_of
from when_ml_pipeline_meets_hydra.config_store.effective import EffectiveValue, values_in
from when_ml_pipeline_meets_hydra.config_store.yaml_edits import one_line
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.masking import is_secret_name
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

_SCALARS = {"boolean": "bool", "integer": "integer", "number": "number", "string": "text"}


@dataclass(frozen=True, kw_only=True)
class Field:
    """A key of a form.

    ``text`` is its effective value as it is edited, empty where there is none; ``kind`` is bool, choice, integer,
    number, text, yaml or secret. ``choices`` are the texts that may be chosen; ``allowed`` says what may be written.
    """

    key: str
    kind: str
    text: str
    origin: str | None
    is_own: bool
    is_optional: bool
    choices: tuple[str, ...]
    allowed: str
    description: str

    def written(self, text: str) -> str:
        """A text of the field as a value in YAML. Texts that are no YAML are texts, which types may refuse."""
        text = text.strip() if self.kind != "text" else text
        if not text:
            return "null" if self.is_optional else "''"
        if self.kind in ("text", "choice") and not (self.is_optional and text == "null"):
            return one_line(text)
        try:
            content = load_yaml(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            return one_line(text)
        if isinstance(content, dict | list):
            return one_line(_as_hydra_reads(text, content))
        return one_line(content) if self.kind == "yaml" and "\n" in text else text


def _as_hydra_reads(text: str, content: Any) -> Any:
    """The value of a text that is a list or keys; ``content`` where Hydra cannot read it, which its check reports."""
    try:
        return read_text(text)
    except ValueError:
        return content


@dataclass(frozen=True, kw_only=True)
class EntryForm:
    """The fields of the keys that an entry is about, the names of all other keys, and its effective values."""

    fields: tuple[Field, ...]
    others: tuple[Field, ...]
    values: tuple[EffectiveValue, ...]

    def field(self, key: str) -> Field | None:
        """The field of a key."""
        return next((field for field in (*self.fields, *self.others) if field.key == key), None)


def form_of(path: str, texts: Mapping[str, str], search: Sequence[str]) -> EntryForm:
    """Return the form of an entry. Raises ``BadInput`` if it cannot be composed."""
    problems: list[Problem] = []
    for combination, members in combinations([path], texts, search):
        composed = composed_sweep(combination.overrides(map(name_of, members), (HELP,)), search, problems)
        if composed and composed.jobs and not problems:
            return _form(composed, composed.jobs[0], path, texts)
    raise BadInput(*problems or [Problem(key=path, message="it is in no group, so no choice uses it")])


def _form(composed: Composed, job: Job, path: str, texts: Mapping[str, str]) -> EntryForm:
    values = values_in(job, path, texts)
    own = {value.key: value for value in values}
    secret = find_secrets(composed)[0]
    hints = _typed(composed, job)
    found = {key: (schema, value) for n, hint in hints.items() for key, schema, value in _leaves(n, hint, job)}
    about = {key.partition(".")[0] for key in own}
    fields: list[Field] = []
    others: list[Field] = []
    for key in sorted({*found, *own}, key=lambda key: (key not in own, key)):
        schema, value = found.get(key, ({}, own[key].value if key in own else None))
        origin = own[key].origin if key in own else job.origins.of(key)
        is_own = key in own and own[key].is_own
        is_hidden = key in secret or is_secret_name(key) or schema.get("format") == "password"
        field = _field(key, {"format": "password"} if is_hidden else schema, value, origin, is_own=is_own)
        (fields if key.partition(".")[0] in about else others).append(field)
    return EntryForm(fields=tuple(fields), others=tuple(others), values=tuple(values))


def _typed(composed: Composed, job: Job) -> dict[str, Any]:
    """The type of each config key that a subcommand reads."""
    hints: dict[str, Any] = {}
    for stage in composed.stages:
        try:
            hints |= describe(job, composed.stages, stage).keys
        except BadInput:
            continue  # reported when the entry is checked
    return hints


def _leaves(key: str, hint: Any, job: Job) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Yield the keys of a type that have no further ones, each with its schema and value as it is written."""
    raw: Any = job.raw
    for part in key.split("."):
        raw = raw.get(part, {}) if isinstance(raw, Mapping) else {}
    yield from _below(key, hint, [], raw)


def _below(key: str, hint: Any, loc: list[int | str], value: Any) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    field = field_schema(hint, loc)
    inner: Mapping[str, Any] = field.get("properties", {})
    if not inner:
        if loc or not isinstance(value, Mapping):
            yield key, field, value
        return
    for name, found in inner.items():
        if not (name.startswith("_") and name.endswith("_")) and not found.get("chosen"):
            below = value.get(name) if isinstance(value, Mapping) else None
            yield from _below(f"{key}.{name}", hint, [*loc, name], below)


def _field(key: str, schema: Mapping[str, Any], value: Any, origin: str | None, *, is_own: bool) -> Field:
    kind, is_optional, choices = _kind(schema)
    if kind == "secret":
        text = ""
    elif isinstance(value, str):
        text = value if kind != "yaml" else one_line(value)
    else:
        text = "" if value is None else one_line(value)
    if choices and text and text not in choices:  # such as an interpolation
        choices = (text, *choices)
    return Field(
        key=key,
        kind=kind,
        text=text,
        origin=origin,
        is_own=is_own,
        is_optional=is_optional,
        choices=(*choices, *([""] if choices and is_optional else [])),
        allowed=allowed(schema) if schema and kind != "secret" else "",
        description=str(schema.get("description") or ""),
    )


def _kind(schema: Mapping[str, Any]) -> tuple[str, bool, tuple[str, ...]]:
    """The kind of a field, whether it may be null, and what may be chosen."""
    if schema.get("format") == "password":
        return "secret", False, ()
    alternatives = schema.get("anyOf")
    if alternatives:
        rest = [a for a in alternatives if a.get("type") != "null"]
        kind, _, choices = _kind(rest[0]) if len(rest) == 1 else ("yaml", False, ())
        return kind, len(rest) < len(alternatives), choices
    if options := schema.get("enum"):
        return "choice", False, tuple(map(str, options))
    kind = _SCALARS.get(str(schema.get("type")), "yaml")
    return kind, False, ("true", "false") if kind == "bool" else ()
