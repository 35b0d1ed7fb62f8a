"""Sphinx directives that read the program itself, so that these pages cannot lag behind it.

``{config-groups}`` lists every group with its options, and the keys of each option with type, default and meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from when_ml_pipeline_meets_hydra.bind import describe
from when_ml_pipeline_meets_hydra.compose import Composed, Job, compose
from when_ml_pipeline_meets_hydra.config_tree import STAGES, Option, default_choices, read_options
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.masking import MASK, is_secret_name
from when_ml_pipeline_meets_hydra.validation import allowed, field_schema


class ConfigGroups(SphinxDirective):
    """Lists the groups whose options are choices of a stage."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The parsed pages of all groups."""
        lines = "\n".join(_groups()).splitlines()
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _groups() -> Iterator[str]:
    groups, chosen = read_options(), default_choices()
    for group, options in groups.items():
        if group.partition("/")[0] == STAGES:
            continue
        yield f"## `{group}`\n"
        for name, option in options.items():
            default = " *(default)*" if chosen.get(group) == name else ""
            yield f"### `{group}={name}`{default}\n"
            yield f"{option.description}.\n"
            yield from _keys(group, option)


def _keys(group: str, option: Option) -> Iterator[str]:
    job, composed = _job(group, option)
    hint = _hints(job, composed).get(option.package)
    values = job.config.get(option.package)
    if not isinstance(values, dict):
        return
    yield "| key | default | allowed | meaning |\n|---|---|---|---|"
    fields = field_schema(hint, []).get("properties", {}) if hint else {}
    for name in dict.fromkeys([*values, *fields]):
        if name != "_target_":
            field = field_schema(hint, [name]) if hint else {}
            value = values.get(name, field.get("default"))
            yield _row(f"{option.package}.{name}", value, field)
    yield ""


def _job(group: str, option: Option) -> tuple[Job, Composed]:
    stage = group.partition("/")[0]
    composed = compose([f"c={stage}", f"{group}={option.name}", "home=.pipeline"])
    return composed.jobs[0], composed


def _hints(job: Job, composed: Composed) -> dict[str, Any]:
    try:
        return dict(describe(job, composed.stages).keys)
    except BadInput:
        return {}


def _row(key: str, value: Any, field: dict[str, Any]) -> str:
    if value == "???":
        shown = "*(needed)*"
    elif is_secret_name(key) and value is not None:
        shown = f"`{MASK}`"
    else:
        shown = f"`{value if isinstance(value, str) else json.dumps(value)}`" if value is not None else ""
    cells = (f"`{key}`", shown, allowed(field) if field else "", str(field.get("description", "")))
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("config-groups", ConfigGroups)
    return {"parallel_read_safe": True}
