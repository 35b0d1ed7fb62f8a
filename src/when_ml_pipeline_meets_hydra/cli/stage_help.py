"""``c=STAGE --help``: what the chosen subcommand receives, key by key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from when_ml_pipeline_meets_hydra.bind import describe, find_secrets
from when_ml_pipeline_meets_hydra.compose import Job, compose
from when_ml_pipeline_meets_hydra.validation import allowed, field_schema

_COLUMNS = ("key", "value", "allowed", "from", "description")


def show_stage_help(overrides: Sequence[str], config_dirs: Sequence[str], *, multirun: bool) -> int:
    """Print the keys that the subcommand of each job receives: type, range, value, origin, description."""
    composed = compose(overrides, multirun=multirun, config_dirs=config_dirs)
    keys, masks = find_secrets(composed)
    console = Console(highlight=False)
    for job in composed.jobs:
        described = describe(job, composed.stages)
        name = f"{job.stage} {job.subcommands.get(composed.stages[job.stage].group, '')}"
        console.print(Text.assemble((name, "bold"), f": {described.summary}"))
        group = composed.stages[job.stage].group
        console.print(f"c={job.stage} {group}={'|'.join(composed.loader.options(group))}", style="dim")
        for stage, kind in described.artifacts.items():
            console.print(Text.assemble(("  receives ", "dim"), (stage, "cyan"), f"'s {kind}"))
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in _COLUMNS:
            table.add_column(column, overflow="fold", no_wrap=column == "key")
        config = masks.tree(dict(job.config), keys)
        for key, hint in described.keys.items():
            for row in _rows(key, hint, config.get(key), job):
                table.add_row(*row)
        console.print(table)
    return 0


def _rows(key: str, hint: Any, value: Any, job: Job) -> Iterator[tuple[Text, ...]]:
    field = field_schema(hint, [])
    fields: Mapping[str, Any] = field.get("properties", {})
    if not fields and not isinstance(value, dict):
        yield _row(key, value, field, job)
        return
    values = value if isinstance(value, dict) else {}
    for name in dict.fromkeys([*values, *fields]):
        if name != "_target_":
            inner = field_schema(hint, [name])
            yield _row(f"{key}.{name}", values.get(name, inner.get("default")), inner, job)


def _row(key: str, value: Any, field: Mapping[str, Any], job: Job) -> tuple[Text, ...]:
    shown = "" if value is None and "default" not in field else value if isinstance(value, str) else json.dumps(value)
    return (
        Text(key, "cyan"),
        Text(shown, "red" if value == "???" else ""),
        Text(allowed(field) if field else ""),
        Text(job.origins.of(key) or "default", "dim"),
        Text(str(field.get("description", ""))),
    )
