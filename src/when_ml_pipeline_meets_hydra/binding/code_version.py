"""The version of a step's code: the bytes of its module and of the modules of the user's packages that it imports."""

from __future__ import annotations

import dis
import hashlib
import inspect
import marshal
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.machinery import BYTECODE_SUFFIXES, ModuleSpec
from pathlib import Path
from types import CodeType
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import UNKNOWN_CODE

_PACKAGE = __name__.partition(".")[0]
# The contract, not the computation: a changed error message must not invalidate results.
_CONTRACT = {f"{_PACKAGE}.contracts", f"{_PACKAGE}.errors"}
_FROM = re.compile(r"^[ \t]*from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(?:\(([^)]*)\)|((?:\\\n|[^\n#])+))", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([\w., \t]+)", re.MULTILINE)
_CALLED = re.compile(r"""\b(?:import_module|__import__)\(\s*(["'])([.\w]+)\1""")
_NAME = re.compile(r"\w+")
_BYTECODE_HEADER = 16  # bytes: the time of the source among them
_THIS_PROCESS = os.urandom(16).hex()

Import = tuple[str, tuple[str, ...]]  # module (relative: with dots), and the names that are imported from it


def code_version(modules: Iterable[str], function: Callable[..., Any] | None = None) -> str:
    """Return a digest of ``modules`` and of what they import, also inside functions, from packages of the same person.

    These are the package of the module itself, and others that are not installed (editable ones, and those on
    ``PYTHONPATH``). Installed packages do not count: their versions are in the run's record. Imports are parsed from
    source or bytecode; nothing is imported. If the code of a module, or of ``function``, is in no file, the version
    begins with ``UNKNOWN_CODE``, and no other process has the same.
    """
    modules = list(modules)
    if function is not None and inspect.unwrap(function).__code__.co_filename.startswith("<"):
        return UNKNOWN_CODE + _THIS_PROCESS  # made by exec
    found = _closure(modules)
    if not found.keys() >= {name for name in modules if name not in _CONTRACT} or "" in found.values():
        return UNKNOWN_CODE + _THIS_PROCESS
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def packages_of(modules: Iterable[str]) -> set[str]:
    """Return the top-level packages whose files the version of ``modules`` covers."""
    return {name.partition(".")[0] for name in _closure(modules)}


def _closure(modules: Iterable[str]) -> dict[str, str]:
    """Return the digests of ``modules`` and of their imports; empty for a module whose code cannot be read."""
    digests: dict[str, str] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name not in digests and name not in _CONTRACT and (found := _digest_and_imports(name)):
            digests[name], imports = found
            todo += imports
            if name.count(".") > 1:  # a package's __init__ runs first (that of the top package imports everything)
                todo.append(name.rpartition(".")[0])
    return digests


@lru_cache(maxsize=4096)
def _digest_and_imports(module: str) -> tuple[str, tuple[str, ...]] | None:
    spec = _spec(module)
    if spec is None or (spec.origin is None and spec.submodule_search_locations is not None):
        return None  # no module, or the folder of a namespace package
    content = _read(spec, spec.origin or "")
    if content is None:
        return "", ()
    is_bytecode = str(spec.origin).endswith(tuple(BYTECODE_SUFFIXES))
    content = content[_BYTECODE_HEADER:] if is_bytecode else content
    page = _read(spec, f"{str(spec.origin).rpartition('.')[0]}.html") or b""
    imports: Iterable[Import] = ()
    if is_bytecode:
        imports = _compiled_imports(marshal.loads(content))
    elif str(spec.origin).endswith(".py"):
        imports = _written_imports(content.decode("utf-8", "replace"))
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    return hashlib.sha256(content + page).hexdigest(), tuple(_followed(imports, package))


def _followed(imports: Iterable[Import], package: str) -> Iterator[str]:
    """Yield the modules that imports in ``package`` may name, of packages that count."""
    top = package.partition(".")[0]
    for name, members in imports:
        base = _absolute(name, package)
        other = base.partition(".")[0]
        if other != top and (_PACKAGE in (top, other) or not _is_the_users(other)):
            continue
        if members or base != top:
            yield base
        yield from (f"{base}.{member}" for member in members)


def _written_imports(source: str) -> Iterator[Import]:
    for found in _FROM.finditer(source):
        yield found[1], tuple(_NAME.findall(found[2] or found[3]))
    for found in _IMPORT.finditer(source):
        yield from ((name, ()) for name in re.findall(r"[\w.]+", found[1]))
    for found in _CALLED.finditer(source):
        yield found[2], ()


def _compiled_imports(code: CodeType) -> Iterator[Import]:
    """Yield the imports in bytecode: each instruction follows two constants, the level and the names."""
    constants: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_CONST":
            constants.append(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            level, members = constants[-2:]
            yield "." * level + instruction.argval, members or ()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _compiled_imports(constant)


def _absolute(name: str, package: str) -> str:
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - dots + 1], *filter(None, [name.lstrip(".")])])


@lru_cache(maxsize=4096)
def _spec(module: str) -> ModuleSpec | None:
    """Find a module, in a folder or an archive, without importing the packages around it."""
    if module == "__main__":
        return None
    package = module.rpartition(".")[0]
    above = _spec(package) if package else None
    if package and (above is None or above.submodule_search_locations is None):
        return None
    path = above.submodule_search_locations if above else None
    found = (f.find_spec(module, path) for f in sys.meta_path if hasattr(f, "find_spec"))
    return next((spec for spec in found if spec is not None), None)


def _read(spec: ModuleSpec, path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        reader = getattr(spec.loader, "get_data", None)  # of an archive
    try:
        return bytes(reader(path)) if reader and path else None
    except OSError:
        return None


@lru_cache(maxsize=1024)
def _is_the_users(package: str) -> bool:
    """Return whether a top-level package is not an installed one: an editable one, or one on ``PYTHONPATH``."""
    spec = None if package in sys.stdlib_module_names else _spec(package)
    places = [*(spec.submodule_search_locations or [spec.origin or ""])] if spec else []
    return bool(places) and not any(place.startswith(_installed()) for place in places)


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """The folders of installed packages."""
    import site
    import sysconfig

    places = map(sysconfig.get_path, ("purelib", "platlib", "stdlib", "platstdlib"))
    return tuple({f"{place}{os.sep}" for place in (*places, *site.getsitepackages(), site.getusersitepackages())})
