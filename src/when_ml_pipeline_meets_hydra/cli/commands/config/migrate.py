"""``config migrate``: one change of a key over all entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import (
    AsJson,
    ConfigDir,
    Message,
    StoreOption,
    finish_draft,
    print_lines,
    store_at,
)

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.config_store.migrating import Change

migrate = typer.Typer(no_args_is_help=True, help="Rename, move, delete or set a key in all entries, or in none")

Only = Annotated[str, typer.Option("--only", help="Only these entries, as customer/*")]
Apply = Annotated[bool, typer.Option("--apply", help="Propose the change in a draft; otherwise it is only shown")]
Publish = Annotated[bool, typer.Option("--publish", help="Propose and publish it")]


@migrate.command()
def rename(
    old: Annotated[str, typer.Argument(help="The key, as m_param.depth")],
    new: Annotated[str, typer.Argument(help="Its new name or place, as m_param.max_depth")],
    only: Only = "*",
    apply: Apply = False,
    publish: Publish = False,
    message: Message = "",
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Give a key another name, or move it."""
    from when_ml_pipeline_meets_hydra.config_store.migrating import renaming

    reason = message or f"{old} is {new}"
    _run(renaming(old, new), only, store, config_dir, reason, apply=apply, publish=publish, as_json=as_json)


@migrate.command()
def delete(
    key: Annotated[str, typer.Argument(help="The key, as m_param.depth")],
    only: Only = "*",
    apply: Apply = False,
    publish: Publish = False,
    message: Message = "",
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Delete a key."""
    from when_ml_pipeline_meets_hydra.config_store.migrating import deleting

    reason = message or f"{key} is deleted"
    _run(deleting(key), only, store, config_dir, reason, apply=apply, publish=publish, as_json=as_json)


@migrate.command("set")
def set_(
    key: Annotated[str, typer.Argument(help="The key, as m_param.depth")],
    value: Annotated[str, typer.Argument(help="The value, in YAML")],
    add: Annotated[bool, typer.Option("--add", help="Also in entries that do not have the key")] = False,
    only: Only = "*",
    apply: Apply = False,
    publish: Publish = False,
    message: Message = "",
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Set a key to a value, where entries have it."""
    from when_ml_pipeline_meets_hydra.config_store.migrating import setting

    reason = message or f"{key} is set"
    _run(setting(key, value, add=add), only, store, config_dir, reason, apply=apply, publish=publish, as_json=as_json)


@migrate.command()
def call(
    function: Annotated[str, typer.Argument(help="package.module.function: (path, content) → content, or None")],
    only: Only = "*",
    apply: Apply = False,
    publish: Publish = False,
    message: Message = "",
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Have a function of a package in $WMH_PACKAGES change the content of each entry."""
    from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages, locate_migration
    from when_ml_pipeline_meets_hydra.config_store.migrating import calling

    change = calling(locate_migration(function, allowed_packages()))
    reason = message or f"migrated by {function}"
    _run(change, only, store, config_dir, reason, apply=apply, publish=publish, as_json=as_json)


def _run(
    change: Change,
    only: str,
    location: str,
    config_dir: list[str] | None,
    message: str,
    *,
    apply: bool,
    publish: bool,
    as_json: bool,
) -> None:
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store import migrating, workflow

    store = store_at(location)
    texts = {path: entry.text for path, entry in store.entries().items()}
    found = migrating.migrate(texts, change, only).without_conflicts()
    if (apply or publish) and found.texts:
        number = workflow.propose(store, found.texts, message, config_dirs=config_dir or ())
        finish_draft(store, number, publish=publish, as_json=as_json, config_dirs=config_dir)
        return
    if as_json and (apply or publish):
        print_json({"draft": None, "revision": None})
        return
    if as_json:
        print_json([{"entry": path, "before": texts[path], "after": text} for path, text in found.texts.items()])
        return
    for path, text in found.texts.items():
        print_lines(migrating.lines_of_change(texts[path], text, path))
    hint = "" if apply or publish else " (--apply makes a draft)"
    print(f"{len(found.texts)} of {len(texts)} entries would change; nothing was changed{hint}")
