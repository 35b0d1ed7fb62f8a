"""The settings of an editor that let the YAML language server use schemas; other settings are left as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.storage import durable_files

FOLDER = "wmh-schemas"
SETTINGS = "settings.json"
_KEY = "yaml.schemas"


def write_schemas(
    folder: Path, root: Path, schemas: Mapping[str, Mapping[str, Any]], globs: Mapping[str, Sequence[str]]
) -> list[Path]:
    """Write a file for each schema below ``folder``, and the settings that name them; returns the files.

    Paths in the settings are relative to ``root``, the folder that the editor opens. Raises ``BadInput`` if there are
    settings that cannot be read, and then writes nothing.
    """
    file = folder / SETTINGS
    settings = _read(file)
    place = folder / FOLDER
    shown = place.relative_to(root).as_posix() if place.is_relative_to(root) else place.as_posix()
    own = {f"./{shown}/{_file_name(group)}": list(globs[group]) for group in schemas}
    others = {k: v for k, v in settings.get(_KEY, {}).items() if not str(k).startswith(f"./{shown}/")}
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("*.json"):
        old.unlink()
    written = []
    for group, schema in schemas.items():
        written.append(place / _file_name(group))
        durable_files.write(written[-1], _text(schema))
    durable_files.write(file, _text({**settings, _KEY: {**others, **own}}))
    return [*written, file]


def _file_name(group: str) -> str:
    return f"{group.replace('/', '.')}.json"


def _text(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig") or "{}")
    except (ValueError, OSError) as error:
        remedy = "Take comments and trailing commas out, or give another folder: --out DIR"
        raise BadInput(Problem(key=str(file), message=f"cannot be read as JSON ({error})", remedy=remedy)) from error
    if not isinstance(found, dict) or not isinstance(found.get(_KEY, {}), dict):
        raise BadInput(Problem(key=str(file), message="these are no settings: expected keys with their values"))
    return found
