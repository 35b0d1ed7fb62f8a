"""The option files of some folders, and the problems of each that are found without composing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from when_ml_pipeline_meets_hydra.composing.limits import MOST_BYTES
from when_ml_pipeline_meets_hydra.composing.origins import shortened_path
from when_ml_pipeline_meets_hydra.composing.tree import HELP, PRIMARY, STAGES, folder_of, is_option_file
from when_ml_pipeline_meets_hydra.config_store.entries import malformed, normalized
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OptionFiles:
    """Option files by group and name (``modeling/param/mine``): their texts, and where they are.

    ``problems`` are those of files that cannot be read, or that another one hides.
    """

    texts: dict[str, str]
    files: dict[str, Path]
    problems: list[Problem]

    def origin(self, path: str, line: int | None = None) -> str:
        """``conf/modeling/param/mine.yaml, line 3``."""
        place = shortened_path(self.files[path])
        return f"{place}, line {line}" if line else place


def read_files(folders: Sequence[str], *, is_own: bool = False) -> OptionFiles:
    """Read the option files of folders; ``is_own``: they are the program's own. Raises ``BadInput`` for no folder."""
    found = OptionFiles(texts={}, files={}, problems=[])
    for entry in folders:
        if (folder := folder_of(entry)) is None or not folder.is_dir():
            raise BadInput(Problem(key="--config-dir", value=entry, message="no such folder"))
        for file in sorted(folder.rglob("*.yaml")):
            if is_option_file(file):
                _add(found, file, file.relative_to(folder).with_suffix("").as_posix(), is_own=is_own)
    return found


def _add(found: OptionFiles, file: Path, path: str, *, is_own: bool) -> None:
    text = normalized(file.read_bytes()[: MOST_BYTES + 1].decode("utf-8-sig", errors="replace"))
    place = shortened_path(file)
    if problems := [*malformed(path, text)]:
        found.problems.extend(
            Problem(
                key=_named(path),
                message=p.message,
                origin=f"{place}, {p.origin}" if p.origin else place,
                remedy=p.remedy,
            )
            for p in problems
        )
        return
    hidden = None if is_own else _hides(path, found)
    if hidden:
        remedy = "Give the option another name"
        message = f"it is never read, since {hidden} comes first"
        found.problems.append(Problem(key=_named(path), message=message, origin=place, remedy=remedy))
        return
    found.texts[path], found.files[path] = text, file


def _hides(path: str, found: OptionFiles) -> str | None:
    if "/" in path and (PRIMARY / f"{path}.yaml").is_file():
        return "the program's own option of this name"
    return shortened_path(found.files[path]) if path in found.files else None


def _named(path: str) -> str:
    group, _, name = path.rpartition("/")
    return f"{group}={name}" if group else path


def lonely_stages(found: OptionFiles) -> Iterator[Problem]:
    """The problems of stages without subcommands, and of subcommands without a stage."""
    groups = {path.rpartition("/")[0] for path in found.texts}

    def is_there(path: str) -> bool:
        return path in found.texts or (PRIMARY / f"{path}.yaml").is_file()

    for path in found.texts:
        group, _, name = path.rpartition("/")
        subcommands = f"{STAGES}/{name}_sub"
        if group == STAGES and name != HELP and subcommands not in groups and not (PRIMARY / subcommands).is_dir():
            remedy = f"Add a file for one in the folder {subcommands}"
            message = "the stage has no subcommand"
            yield Problem(key=_named(path), message=message, origin=found.origin(path), remedy=remedy)
        stage = group.removesuffix("_sub")
        if group.startswith(f"{STAGES}/") and (stage == group or not is_there(stage)):
            message = f"it is never read, since there is no stage {stage.removeprefix(f'{STAGES}/')}"
            remedy = f"Add the file {stage}.yaml, or rename the folder {group}"
            yield Problem(key=_named(path), message=message, origin=found.origin(path), remedy=remedy)
