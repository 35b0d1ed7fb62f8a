"""The newest verdict on stored artifacts: whether effects may use them.

``<store>/verdicts/<key>`` has the newest verdict in which the artifact with that key was judged, with the keys of all
that were judged together.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from when_ml_pipeline_meets_hydra.storage import durable_files

_FOLDER = "verdicts"


class Refusal(NamedTuple):
    """Why artifacts are refused, and the step that did it (``exptests check``)."""

    by: str
    why: str


def write_verdict(store: Path, judged: Collection[str], by: str, refusal: str | None) -> None:
    """Keep the verdict of the step ``by`` on the artifacts with the keys ``judged``, in place of earlier ones."""
    content = json.dumps({"by": by, "refusal": refusal, "judged": sorted(judged)})
    for key in judged:
        durable_files.write(store / _FOLDER / key, content.encode())


def refusal_of(store: Path, used: Collection[str]) -> Refusal | None:
    """Return the newest verdict on artifacts that are used together, if it is a refusal, or damaged."""
    for key in used:
        file = store / _FOLDER / key
        try:
            verdict = json.loads(file.read_bytes())
            by, refusal, judged = str(verdict["by"]), verdict["refusal"], set(verdict["judged"])
        except FileNotFoundError:
            continue
        except (ValueError, TypeError, KeyError, RecursionError):
            return Refusal("exptests", f"{file} is damaged, and what it said is unknown")
        if refusal is not None and set(used) <= judged:
            return Refusal(by, refusal)
    return None
