"""Sphinx: Markdown by MyST, the theme furo, contracts from the docstrings, config groups from their files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version as version_of
from typing import Any

import yaml
from sphinx.application import Sphinx

from when_ml_pipeline_meets_hydra.binding.signature import signature_of
from when_ml_pipeline_meets_hydra.binding.validation import allowed, field_schema
from when_ml_pipeline_meets_hydra.composing.offered import stages_of
from when_ml_pipeline_meets_hydra.composing.tree import Option, default_choices, read_options

project = "when_ml_pipeline_meets_hydra"
author = "the when_ml_pipeline_meets_hydra maintainers"
release = version = version_of(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "examples"]

html_theme = "furo"
html_title = project
html_show_copyright = False
html_static_path = ["_static"]

autodoc_typehints = "description"
autodoc_member_order = "bysource"

CONFIG_GROUPS = "<!-- the config groups -->"
# Options without a class of their own: the annotation in the subcommand's signature is what they become.
ANNOTATED_IN = {"p_param": "preprocessing.prepare"}


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what the config files say where a page asks for it."""
    if CONFIG_GROUPS in source[0]:
        source[0] = source[0].replace(CONFIG_GROUPS, "\n".join(config_groups()))


def config_groups() -> Iterator[str]:
    """A section for each group, with a table of its options, and one of the keys of each."""
    groups = read_options()
    defaults = {**default_choices(), **{stage.group: stage.subcommand for stage in stages_of(groups)}}
    for group, options in groups.items():
        if group == "c":
            continue
        package = next(iter(options.values())).package
        place = "Its options set keys anywhere" if package == "_global_" else f"Its keys land at `{package}`"
        yield f"## `{group}`\n\n{place}.\n\n| option | |\n|---|---|"
        for name, option in options.items():
            mark = " (default)" if defaults.get(group) == name else ""
            yield f"| `{name}`{mark} | {option.description} |"
        yield ""
        for option in options.values():
            yield from keys_of(option)


def keys_of(option: Option) -> Iterator[str]:
    """The table of an option's keys; nothing for a subcommand, an example of the template, or what extends another."""
    content = yaml.safe_load(option.text())
    target, defaults = content.pop("_target_", None), content.pop("defaults", None)
    if option.group.startswith("c/") or option.description.startswith("Example") or (defaults and not target):
        return
    if option.package == "_global_" and not target:  # it leaves a key empty
        return
    hint = located(target) if target else annotation(option.package)
    yield f"### `{option.group}={option.name}`\n\n| key | default | allowed | |\n|---|---|---|---|"
    for key, value in content.items():
        field = field_schema(hint, [key])
        shown = "needed" if value == "???" else f"`{yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}`"
        if isinstance(value, list) and len(str(value)) > 60:
            shown = "see the file"
        yield f"| `{option.package}.{key}` | {shown} | {allowed(field)} | {field.get('description', '')} |"
    yield ""


def annotation(package: str) -> Any:
    """What the real subcommand wants at ``package``."""
    return signature_of(located(f"{project}.stages.{ANNOTATED_IN[package]}")).parameters[package]


def located(target: str) -> Any:
    """The class or function of a ``_target_``."""
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", fill_in)
