"""``c=STAGE --help``: the parameters of the chosen subcommand, key by key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from when_ml_pipeline_meets_hydra.binding.bind import describe
from when_ml_pipeline_meets_hydra.binding.ops import requested_ops
from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
from when_ml_pipeline_meets_hydra.binding.validation import allowed, field_schema
from when_ml_pipeline_meets_hydra.cli.output.consoles import console
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.composing.tree import Option
from when_ml_pipeline_meets_hydra.masking import Redactor

_LONG = 80  # characters of a value
_ABSENT = object()  # the value of a key that the config does not have
_WHOLE: dict[str, Any] = {"no_wrap": True, "overflow": "ignore"}  # a path in it stays in one piece


def show_stage_help(overrides: Sequence[str], config_dirs: Sequence[str], *, multirun: bool) -> int:
    """Print the parameters of each job's subcommand: key, type, range, value, origin, description."""
    composed = compose(overrides, multirun=multirun, config_dirs=config_dirs)
    keys, masks = find_secrets(composed)
    out = console()
    shown = [(job, stage) for job in composed.jobs for stage in requested_ops(job) or [job.stage]]
    for job, stage in shown:
        described = describe(job, composed.stages, stage)
        group = composed.stages[stage].group
        chosen = job.chosen.get(group, "")
        file = composed.loader().source_file(f"{group}/{chosen}")
        summary = described.summary or (Option(group=group, name=chosen, file=Path(file)).description if file else "")
        out.print(Text.assemble((f"{stage} {chosen}", "bold"), f": {summary}" if summary else ""))
        out.print(f"c={stage} {group}={'|'.join(composed.loader().options(group))}", style="dim")
        for before, kind in described.artifacts.items():
            out.print(Text.assemble(("  receives ", "dim"), (before, "cyan"), f"'s {kind}"))
        config = masks.tree(dict(job.config), keys)
        for key, hint in described.keys.items():
            show_key(out, job, masks, key, hint, config)
    return 0


def show_key(out: Console, job: Job, masks: Redactor, key: str, hint: Any, config: Mapping[str, Any]) -> None:
    """Print the entries of one config key; ``config`` is that of the job, masked."""
    for lines in _entries(key, hint, [], _at(config, key), _masked_origin(job, masks)):
        out.print(lines, crop=False)
    given = config.get(key)
    for name, value, rule in hint.further_keys(config) if hasattr(hint, "further_keys") else ():
        if isinstance(given, dict) and name not in given:
            head = Text.assemble("  ", (f"{key}.{name}", "cyan"), "=", (value, "bold"), **_WHOLE)
            out.print(Group(head.append(f"   {rule}" if rule else "")), crop=False)


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part, _ABSENT) if isinstance(config, dict) else _ABSENT
    return config


def _masked_origin(job: Job, masks: Redactor) -> Callable[[str], str]:
    return lambda key: masks.text(job.origins.of(key) or "")


def _entries(key: str, hint: Any, loc: list[int | str], value: Any, origin: Callable[[str], str]) -> Iterator[Group]:
    """An entry for each key that ``hint`` has at ``loc``, including the keys of nested options."""
    field = field_schema(hint, loc)
    fields: Mapping[str, Any] = field.get("properties", {})
    if not fields and (loc or not isinstance(value, dict)):
        yield _entry(key, field.get("default") if value is _ABSENT else value, field, origin(key))
        return
    values = value if isinstance(value, dict) else {}
    for name in dict.fromkeys([*values, *fields]):
        if not (name.startswith("_") and name.endswith("_")) and not fields.get(name, {}).get("chosen"):
            yield from _entries(f"{key}.{name}", hint, [*loc, name], values.get(name, _ABSENT), origin)


def _entry(key: str, value: Any, field: Mapping[str, Any], origin: str) -> Group:
    """``key=value`` and the allowed values; below them the description and the origin of the value."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(shown) > _LONG:
        shown = shown[:_LONG] + "…"
    head = Text.assemble("  ", (key, "cyan"), "=", (shown, "red" if value == "???" else "bold"), **_WHOLE)
    if field:
        head.append(f"   {allowed(field)}")
    about = [Padding(Text(str(text), "dim"), (0, 0, 0, 6), expand=False)] if (text := field.get("description")) else []
    return Group(head, *about, Text(f"      from {origin or 'the default of its type'}", "dim", **_WHOLE))
