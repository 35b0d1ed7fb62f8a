"""Searches at the fingertips of tests: what one notes, and the trials of its studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.runs import RunObserver


class Notes(RunObserver):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def trials(home: Path) -> list[dict[str, Any]]:
    """The ended trials of all studies, by number."""
    files = sorted((home / "studies").glob("*/trials.jsonl"))
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            event = json.loads(line)
            found.setdefault((file.parent.name, event["number"]), {}).update(event)
    return [found[key] for key in sorted(found)]


def values(home: Path) -> list[float]:
    """The values of ``+value`` in these."""
    return [trial["values"]["+value"] for trial in trials(home)]
