"""``config edit``: propose another text for an entry."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import (
    AsJson,
    ConfigDir,
    Message,
    Publish,
    StoreOption,
    finish_draft,
    store_at,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore


def edit(
    entry: Annotated[str, typer.Argument(help="GROUP/NAME, as customer/acme; a new one is added")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, as in an override (may be repeated)")
    ] = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", help="Delete this key (may be repeated)")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Take the text of this file; - is stdin")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the entry")] = False,
    draft: Annotated[int | None, typer.Option("--draft", min=1, help="Add it to this draft, not to a new one")] = None,
    onto: Annotated[
        int | None, typer.Option("--onto", min=0, help="The revision that the text was merged with")
    ] = None,
    message: Message = "",
    publish: Publish = False,
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Edit an entry in $EDITOR, by single keys, or from a file, and propose the new text in a draft."""
    from when_ml_pipeline_meets_hydra.config_store import workflow
    from when_ml_pipeline_meets_hydra.config_store.entries import checked_path

    if sum((bool(set_ or unset), file is not None, remove)) > 1:
        message_, remedy = "choose one of --set and --unset, --file, --remove", "Leave the others out"
        raise BadInput(Problem(key="config edit", message=message_, remedy=remedy))
    opened, path, dirs = store_at(store), checked_path(entry), config_dir or []
    before, seen, base = _before(opened, path, draft)
    text: str | None
    if remove:
        if before is None:
            raise BadInput(Problem(key="entry", value=path, message="the config store has no such entry"))
        text = None
    elif file is not None:
        text = _read(file)
    elif set_ or unset:
        text = _with_keys(path, workflow.first_text(opened, path, dirs) if before is None else before, set_, unset)
    else:
        text = _edited(path, workflow.first_text(opened, path, dirs) if before is None else before)
    if text == before and onto is None:
        raise BadInput(Problem(key="entry", value=path, message="nothing was changed"))
    bases = {path: onto if onto is not None else base}
    number = workflow.propose(
        opened, {path: text}, message or f"edit of {path}", draft=draft, seen=seen, bases=bases, config_dirs=dirs
    )
    finish_draft(opened, number, publish=publish, as_json=as_json, config_dirs=dirs)


def _before(store: ConfigStore, path: str, draft: int | None) -> tuple[str | None, int | None, int]:
    """The text to edit, the last edit of the draft that it is from, and the revision that it is based on."""
    if not store.exists:
        return None, None, 0
    entries, base = store.entries(), store.bases().get(path, 0)
    text = entries[path].text if path in entries else None
    if draft is None:
        return text, None, base
    found = store.draft(draft)
    change = next((change for change in found.changes if change.path == path), None)
    return (change.after, found.last_edit, change.base) if change else (text, found.last_edit, base)


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(Problem(key="--file", value=str(file), message=f"cannot be read ({error})")) from error


def _with_keys(path: str, text: str, values: list[str] | None, unset: list[str] | None) -> str:
    from when_ml_pipeline_meets_hydra.config_store.migrating import with_keys

    pairs = [line.partition("=") for line in values or ()]
    if wrong := [key for key, equals, _ in pairs if not equals or not key]:
        raise BadInput(Problem(key="--set", value=wrong[0], message="expected KEY=VALUE"))
    return with_keys(path, text, [(key, value) for key, _, value in pairs], unset or ())


def _edited(path: str, before: str) -> str:
    if not sys.stdin.isatty():
        message, remedy = "there is no terminal for an editor", "Give --set KEY=VALUE, or --file FILE"
        raise BadInput(Problem(key="config edit", message=message, remedy=remedy))
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{path.rpartition('/')[2]}.yaml"
        file.write_bytes(before.encode())
        try:
            subprocess.run([*editor, str(file)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BadInput(Problem(key="$EDITOR", value=editor[0], message=f"the editor failed: {error}")) from error
        return _read(file)
