"""The values of a run by name, as filters see them: of the run, and of each of its combinations.

Encoded as lines ``name<TAB>value``, of which a filter decodes only those that it names. A value is JSON; where it
differs between combinations, the line has the distinct values and the place of each combination's among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.records.record import live_status

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.record import Record

# Names of the whole run; keys of the config, groups and metrics of the same name are written key["…"].
RUN_NAMES = {
    "id": "the run's id",
    "status": "done, failed, interrupted, killed or running",
    "started": "when it was started",
    "seconds": "how long it took",
    "stages": "the requested stages",
    "jobs": "the number of its jobs",
    "command": "its overrides, as typed",
    "tags": "its tags",
    "note": "its note",
}
STARTED = "started"
KEY = ":"  # begins the name of a config key, group or metric in the encoded lines
MISSING = object()
_PROCESS, _SEVERAL = "process", "*"
_NAME = re.compile(rb"\n:([^\t\n]+)\t")
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode
_decode = json.JSONDecoder().decode


def fact_name(name: str) -> str:
    """Return what a name is called in ``Facts``: one of ``RUN_NAMES``, or that of a key, a group or a metric."""
    return name if name in RUN_NAMES or name.startswith(KEY) else f"{KEY}{name}"


def decoded_name(name: bytes) -> str:
    """Return a name as a person writes it."""
    return str(json.loads(b'"%s"' % name))


class Facts:
    """The values of a run, each decoded when it is read."""

    def __init__(self, text: bytes) -> None:
        self._text = b"\n" + text

    def encoded_names(self) -> list[bytes]:
        """Return all names of config keys, groups and metrics, for ``decoded_name``."""
        return _NAME.findall(self._text)

    def has(self, name: str) -> bool:
        """Whether any of the combinations has a value of this name."""
        return self._line(name) is not None

    def values(self, name: str) -> list[Any] | None:
        """Return the value that all combinations have, or one for each (``MISSING``: it has none); None if unknown."""
        if name == "status":
            return [live_status(self._value("status"), self._value(_PROCESS))]
        found = self._line(name)
        if found is None:
            return None
        if not found.startswith(_SEVERAL):
            return [_decode(found)]
        distinct, places = _decode(found[1:])
        distinct.append(MISSING)
        return [distinct[place] for place in places]

    def _value(self, name: str) -> Any:
        found = self._line(name)
        return None if found is None else _decode(found)

    def _line(self, name: str) -> str | None:
        begins = _beginning(name)
        if (place := self._text.find(begins)) < 0:
            return None
        start = place + len(begins)
        return self._text[start : self._text.index(b"\n", start)].decode()


@lru_cache(maxsize=1000)
def _beginning(name: str) -> bytes:
    return f"\n{_encode(name)[1:-1]}\t".encode()


def facts_of(record: Record) -> bytes:
    """Return the encoded values of a run. Raises ``BadInput`` if the record is damaged."""
    head, notes = record.head, record.annotations
    run = {
        "id": record.id,
        "status": head["status"],
        _PROCESS: head["process"],
        "started": head["started"],
        "seconds": head["seconds"],
        "stages": head["stages"],
        "jobs": head["job_count"],
        "command": " ".join(head["overrides"]),
        "tags": notes.tags,
        "note": notes.note,
    }
    lines = [_line(name, _encode(value)) for name, value in run.items() if value is not None]
    combinations = _combinations(record)
    for name in dict.fromkeys(name for values in combinations for name in values):
        lines.append(_line(f"{KEY}{name}", _column([values.get(name, MISSING) for values in combinations])))
    return "".join(lines).encode()


def _line(name: str, value: str) -> str:
    return f"{_encode(name)[1:-1]}\t{value}\n"


def _column(values: Sequence[Any]) -> str:
    places: dict[str, int] = {}
    found = [-1 if value is MISSING else places.setdefault(_encode(value), len(places)) for value in values]
    if len(places) == 1 and -1 not in found:
        return next(iter(places))
    return f"{_SEVERAL}[[{','.join(places)}],{_encode(found)}]"


def _combinations(record: Record) -> list[dict[str, Any]]:
    """The values of each combination: keys of its first job's config, its options, the metrics of all its jobs."""
    found: dict[int, dict[str, Any]] = {}
    place_of: dict[int, int] = {}
    choices: dict[int, Mapping[str, str]] = {}
    first: dict[int, int] = {}
    for job in record.jobs():
        place_of[job["number"]] = job["combination"]
        if job["combination"] not in found:
            found[job["combination"]], first[job["number"]] = {}, job["combination"]
            choices[job["combination"]] = job["choices"]
    for number, config in record.configs(first):
        for key, value in _leaves(config):
            found[first[number]][key] = value
    for place, chosen in choices.items():
        found[place].update(chosen)
    for step in record.steps:
        if not step.get("element"):
            metrics = {f"{step['stage']}.{name}": value for name, value in (step["metrics"] or {}).items()}
            for place in {place_of[number] for number in step["jobs"] if number in place_of}:
                found[place].update(metrics)
    return list(found.values())


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys that filters know: the code behind an option is named by the option, and columns are data."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{key}.")
        elif name != "_target_" and not (isinstance(value, list) and any(isinstance(part, dict) for part in value)):
            yield key, value
