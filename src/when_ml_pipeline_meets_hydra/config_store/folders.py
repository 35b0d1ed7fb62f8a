"""Import entries from a folder of option files, and export them into one, byte by byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from when_ml_pipeline_meets_hydra.composing import limits
from when_ml_pipeline_meets_hydra.config_store.entries import checked_path, checked_text
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.storage import durable_files


def read_folder(folder: Path) -> dict[str, str]:
    """The texts of the option files below a folder, by their entries. Raises ``BadInput`` with all that are none."""
    if not folder.is_dir():
        raise BadInput(Problem(key="folder", value=str(folder), message="no such folder"))
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for file in _option_files(folder):
        path = file.relative_to(folder).with_suffix("").as_posix()
        try:
            limits.check_file(file)
            texts[checked_path(path)] = checked_text(path, file.read_bytes().decode())
        except BadInput as wrong:
            problems += wrong.problems
        except (OSError, ValueError) as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            problems.append(Problem(key=path, message=f"cannot be read: {reason}", origin=str(file)))
    if problems:
        raise BadInput(*problems)
    return texts


def write_folder(folder: Path, texts: Mapping[str, str], *, delete: bool) -> tuple[list[str], list[str]]:
    """Write entries as option files; returns those that were written and those that were deleted.

    A file that has the text already is not touched; with ``delete``, option files of no entry are deleted.
    """
    written = []
    for path, text in texts.items():
        file = folder / f"{path}.yaml"
        if not file.is_file() or file.read_bytes() != text.encode():
            durable_files.write(file, text.encode())
            written.append(path)
    others = {file.relative_to(folder).with_suffix("").as_posix(): file for file in _option_files(folder)}
    deleted = sorted(others.keys() - texts.keys()) if delete else []
    for path in deleted:
        others[path].unlink()
    return written, deleted


def _option_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.yaml")) if folder.is_dir() else []
    hidden = [file for file in files if any(part.startswith(".") for part in file.relative_to(folder).parts)]
    return [file for file in files if file not in hidden and not file.is_dir()]
