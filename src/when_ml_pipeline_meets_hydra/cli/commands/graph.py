"""``graph``: which option file includes which."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.cli.arguments import with_job_file
from when_ml_pipeline_meets_hydra.cli.commands.config_dir import ConfigDir

if TYPE_CHECKING:
    from rich.tree import Tree

    from when_ml_pipeline_meets_hydra.composing.imports import Imported


class Format(StrEnum):
    """The output formats."""

    TREE = "tree"
    MERMAID = "mermaid"
    JSON = "json"


def graph(
    overrides: Annotated[list[str] | None, typer.Argument(help="c=… group=option …, as for a run")] = None,
    form: Annotated[Format, typer.Option("--format", help="For people, for a page, for machines")] = Format.TREE,
    config_dir: ConfigDir = None,
    config_name: Annotated[str | None, typer.Option("--config-name", help="A job file of yours in it")] = None,
) -> None:
    """Show the defaults lists of a config: which option file includes which, and where its keys land."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import console, print_json
    from when_ml_pipeline_meets_hydra.composing.compose import compose
    from when_ml_pipeline_meets_hydra.composing.imports import imports

    composed = compose(overrides or [], config_dirs=with_job_file(config_dir or [], config_name))
    root = imports(composed.loader(), composed.jobs[0].choices)
    if form is Format.JSON:
        print_json(_plain(root))
    elif form is Format.MERMAID:
        sys.stdout.writelines(f"{line}\n" for line in _mermaid(root))
    else:
        console().print(_tree(root))


def _plain(node: Imported) -> dict[str, Any]:
    return {"config": node.path, "package": node.package, "file": node.file, "imports": [*map(_plain, node.imports)]}


def _mermaid(root: Imported) -> Iterator[str]:
    """One node per file, however often it is included; the label of an arrow is the package of its keys."""
    names: dict[str, str] = {}
    lines: dict[str, None] = {}

    def walk(node: Imported) -> str:
        name = names.setdefault(node.path, f"n{len(names)}")
        for child in node.imports:
            package = f'|"{child.package}"| ' if child.package else " "
            below = names.get(child.path) or f"n{len(names)}"
            lines[f"  {name} -->{package}{below}"] = None
            walk(child)
        return name

    walk(root)
    yield "graph LR"
    yield from (f'  {name}["{path}"]' for path, name in names.items())
    yield from lines


def _tree(root: Imported) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    def label(node: Imported) -> Text:
        return Text.assemble((node.path, "cyan"), (f"  → {node.package}" if node.package else "", "dim"))

    def grow(tree: Tree, node: Imported) -> Tree:
        for child in node.imports:
            grow(tree.add(label(child)), child)
        return tree

    return grow(Tree(label(root), guide_style="dim"), root)
