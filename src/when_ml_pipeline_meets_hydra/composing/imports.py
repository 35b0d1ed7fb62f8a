"""The option files of a config as a tree: which file has which ones in its defaults list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.types import RunMode

from when_ml_pipeline_meets_hydra.composing.config_loader import Loader


@dataclass(frozen=True, kw_only=True)
class Imported:
    """An option file, the package of its keys, and the files in its defaults list, in order."""

    path: str
    package: str
    file: str | None
    imports: tuple[Imported, ...]


def imports(loader: Loader, choices: Sequence[str]) -> Imported:
    """Return the primary config with the option files in its defaults list; with a job file, only what is written."""
    found = loader.hydra_loader.compute_defaults_list(loader.config_name, list(choices), RunMode.RUN)
    roots: Any = found.defaults_tree.children
    return _imported(next(r for r in roots if r.node.get_config_path() == loader.config_name), loader)


def _imported(node: Any, loader: Loader) -> Imported:
    default = getattr(node, "node", node)
    path = str(default.get_config_path())
    inner = [(c, getattr(c, "node", c)) for c in getattr(node, "children", None) or ()]
    added = loader.added_to_job_file if path == loader.config_name else ()
    return Imported(
        path=path,
        package=default.get_final_package(),
        file=loader.source_file(path),
        imports=tuple(
            _imported(c, loader) for c, d in inner if not _is_not_a_file(d) and d.get_config_path() not in added
        ),
    )


def _is_not_a_file(default: Any) -> bool:
    """Whether an entry of a defaults list is ``_self_``, an override or deletion, or one of Hydra's own."""
    if default.is_self() or default.is_override() or default.is_deleted() or default.is_missing():
        return True
    return str(default.get_config_path()).startswith("hydra/")
