"""Reads the file of an offline run of W&B: a log in LevelDB's format whose entries are messages of its protocol."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK, _HEADER = 32768, 7


@dataclass
class WandbFile:
    """What an offline run holds."""

    id: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, str]] = field(default_factory=dict)  # type → name of a file → MD5, base64
    exit_code: int | None = None


def read(file: Path) -> WandbFile:
    """Read a whole ``.wandb`` file with W&B's own messages."""
    from wandb.proto import wandb_internal_pb2 as messages

    found = WandbFile()
    for entry in _entries(file.read_bytes()):
        record: Any = messages.Record.FromString(entry)
        if record.HasField("run"):
            run = record.run
            found.id, found.group, found.job_type, found.project = run.run_id, run.run_group, run.job_type, run.project
            found.tags = tuple(run.tags)
            found.config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif record.HasField("history"):
            items = record.history.item
            found.history.append({(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in items})
        elif record.HasField("summary"):
            for item in record.summary.update:
                found.summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        elif record.HasField("request") and record.request.HasField("log_artifact"):
            _add_artifact(found, record.request.log_artifact.artifact)
        elif record.HasField("artifact"):
            _add_artifact(found, record.artifact)
        elif record.HasField("exit"):
            found.exit_code = record.exit.exit_code
    return found


def _add_artifact(found: WandbFile, artifact: Any) -> None:
    found.artifacts[artifact.type] = {content.path: content.digest for content in artifact.manifest.contents}


def _entries(content: bytes) -> Iterator[bytes]:
    assert content.startswith(b":W&B")
    place, parts = _HEADER, b""
    while place + _HEADER <= len(content):
        if _BLOCK - place % _BLOCK < _HEADER:
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + _HEADER])
        place += _HEADER
        parts += content[place : place + length]
        place += length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""
