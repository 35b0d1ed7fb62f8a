"""The version of a step's code: the source of its module and of the modules of the same package that it imports."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

_PACKAGE = __name__.partition(".")[0]
# The contract, not the computation: a changed error message must not invalidate results.
_CONTRACT = {f"{_PACKAGE}.contracts", f"{_PACKAGE}.errors"}
_FROM = re.compile(r"^[ \t]*from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(?:\(([^)]*)\)|((?:\\\n|[^\n#])+))", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([\w., \t]+)", re.MULTILINE)
_NAME = re.compile(r"\w+")


def code_version(modules: Iterable[str]) -> str:
    """Return a digest of the sources of ``modules`` and of their imports from the same package, also inside functions.

    Imports are parsed from the text; nothing is imported. Other packages do not count: their versions are in the run's
    record.
    """
    files: dict[str, str] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name not in files and name not in _CONTRACT and (found := _digest_and_imports(name)):
            files[name], imports = found
            todo += imports
            if name.count(".") > 1:  # a package's __init__ runs first (that of the top package imports everything)
                todo.append(name.rpartition(".")[0])
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


@lru_cache(maxsize=1024)
def _digest_and_imports(module: str) -> tuple[str, tuple[str, ...]] | None:
    file = _file(module)
    if file is None:
        return None
    source, page = file.read_bytes(), file.with_suffix(".html")
    digest = hashlib.sha256(source + page.read_bytes() if page.is_file() else source).hexdigest()
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return digest, tuple(_imports(source.decode("utf-8", "replace"), package))


def _imports(source: str, package: str) -> Iterator[str]:
    top = package.partition(".")[0]
    for found in _FROM.finditer(source):
        base = _absolute(found[1], package)
        if base.partition(".")[0] == top:
            yield base
            yield from (f"{base}.{name}" for name in _NAME.findall(found[2] or found[3]))
    for found in _IMPORT.finditer(source):
        yield from (n for n in re.findall(r"[\w.]+", found[1]) if n.partition(".")[0] == top and n != top)


def _absolute(name: str, package: str) -> str:
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - dots + 1], *filter(None, [name.lstrip(".")])])


@lru_cache(maxsize=1024)
def _file(module: str) -> Path | None:
    top, *below = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    places = spec.submodule_search_locations
    if places is None:
        return Path(spec.origin) if spec.origin and not below and spec.origin.endswith(".py") else None
    for base in places:
        for file in (Path(base, *below).with_suffix(".py") if below else Path(base), Path(base, *below, "__init__.py")):
            if file.is_file():
                return file
    return None
