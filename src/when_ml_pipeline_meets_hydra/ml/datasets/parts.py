"""The files of a data set: one, or those of a folder or pattern; the names of their folders may hold a column."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.datasets import contents

if TYPE_CHECKING:
    import polars as pl

_MISSING = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file, and the ``values`` in the names of its folders: of ``year=2020/part.csv`` the year is ``2020``."""

    file: Path
    values: Mapping[str, str | None]


def find_parts(path: Path, endings: Sequence[str]) -> tuple[Part, ...]:
    """Return the files of a data set, in the order of their names: one, those of a folder, or those of a pattern.

    ``endings`` are those of files that count in a folder and its folders such as ``year=2020``. Raises ``BadInput`` if
    there is none, if ``path`` cannot be read, or if folders have other names than those of the first file.
    """
    try:
        is_folder = path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise BadInput(contents.unreadable(path, error)) from None
    if is_folder:
        found = [*_inside(path, tuple(endings))]
        message = f"this is a directory without a file of the kind {', '.join(endings)}"
    elif glob.has_magic(str(path)) and not path.exists():
        found = [Path(f) for f in glob.glob(str(path), recursive=True) if Path(f).is_file()]  # noqa: PTH207 - any path
        message = "no file has a name of this pattern"
    else:
        contents.check_readable(path)
        return (Part(file=path, values={}),)
    if not found:
        raise BadInput(Problem(key="path", value=str(path), message=message))
    return _same_names([Part(file=f, values=_values(f.relative_to(root(path)).parts[:-1])) for f in sorted(found)])


def _inside(folder: Path, endings: tuple[str, ...]) -> Iterable[Path]:
    for entry in folder.iterdir():
        if entry.name[0] in "._":
            continue
        if entry.is_file() and entry.name.endswith(endings):
            yield entry
        elif "=" in entry.name and entry.is_dir():
            yield from _inside(entry, endings)


def root(path: Path) -> Path:
    """Return the folder of a data set: of a pattern the one below which it begins."""
    if not glob.has_magic(str(path)) or path.exists():
        return path
    return next(folder for folder in path.parents if not glob.has_magic(str(folder)))


def _values(folders: Iterable[str]) -> dict[str, str | None]:
    pairs = (name.partition("=") for name in folders if "=" in name)
    return {unquote(key): None if value == _MISSING else unquote(value) for key, _, value in pairs}


def _same_names(found: Sequence[Part]) -> tuple[Part, ...]:
    first = found[0]
    for part in found:
        if part.values.keys() != first.values.keys():
            own, expected = (", ".join(p.values) or "none" for p in (part, first))
            message = f"the names of its folders have values of {own}, those of {first.file} of {expected}"
            raise BadInput(Problem(key="path", value=str(part.file), message=message))
    return tuple(found)


def watched(path: Path, found: Sequence[Part]) -> tuple[Path, ...]:
    """Return the files of a data set, and the folders in which more of them may appear."""
    files = [part.file for part in found]
    if files == [path]:
        return (path,)
    top = root(path)
    folders = {folder for file in files for folder in file.parents if folder == top or top in folder.parents}
    return (*files, *sorted(folders))


def digest(found: Sequence[Part]) -> str:
    """Return the SHA-256 of the contents and folders' values. Raises ``BadInput`` if a file cannot be read."""
    content = contents.digest(*(part.file for part in found))
    if not found[0].values:
        return content
    return hashlib.sha256(json.dumps([content, *(dict(part.values) for part in found)]).encode()).hexdigest()


def joined(frames: Sequence[pl.LazyFrame], found: Sequence[Part], *, texts: bool) -> pl.LazyFrame:
    """Return the rows of all parts, which have the same columns, and the columns that are in the names of folders.

    With ``texts`` these are texts; otherwise whole numbers, dates or texts. A column of that name in the files stays.
    """
    import polars as pl

    own = set(frames[0].collect_schema().names()) if found[0].values else set()
    columns = {name: [part.values[name] for part in found] for name in found[0].values if name not in own}
    typed = {name: pl.Series(values if texts else _typed(values)) for name, values in columns.items()}
    more = [[pl.lit(s[k], dtype=s.dtype).alias(name) for name, s in typed.items()] for k in range(len(found))]
    return pl.concat([frame.with_columns(added) if added else frame for frame, added in zip(frames, more, strict=True)])


def _typed(values: Sequence[str | None]) -> Sequence[Any]:
    """Whole numbers or dates, if all of them are; otherwise texts."""
    if all(value is None or _WHOLE.fullmatch(value) for value in values):
        return [None if value is None else int(value) for value in values]
    try:
        return [None if value is None else date.fromisoformat(value) for value in values]
    except ValueError:
        return values
