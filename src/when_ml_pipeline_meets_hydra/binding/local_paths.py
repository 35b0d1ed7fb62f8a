"""Paths in options: ``~`` is the home folder, and what is no path of this machine is refused."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BeforeValidator

from when_ml_pipeline_meets_hydra.binding.keys import option_hints
from when_ml_pipeline_meets_hydra.contracts import as_local_path
from when_ml_pipeline_meets_hydra.errors import Problem


def local_paths(hint: Any, data: Any, key: str, problems: list[Problem]) -> Any:
    """Return a copy of ``data`` in which texts that are wanted as a ``Path`` are paths of this machine.

    Appends a problem for each one that is none. Fields of options and items of containers are paths by their
    annotation, alone or in a union with None or with types other than ``str``.
    """
    if hint is Path and isinstance(data, str):
        return _local(data, key, problems)
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        has_reader = any(isinstance(mark, BeforeValidator) for mark in marks)  # as NamedPath has
        return data if has_reader else local_paths(inner, data, key, problems)
    if get_origin(hint) in (Union, types.UnionType):
        return local_paths(_alternative(hint, data), data, key, problems)
    if isinstance(data, dict):
        hints = option_hints(hint) or _of_values(hint, data)
        return {
            name: local_paths(hints[name], value, f"{key}.{name}", problems) if name in hints else value
            for name, value in data.items()
        }
    if isinstance(data, list):
        items = _of_items(hint, len(data))
        return [local_paths(items[k], item, f"{key}[{k}]", problems) for k, item in enumerate(data)] if items else data
    return data


def _local(text: str, key: str, problems: list[Problem]) -> str:
    try:
        return str(as_local_path(text))
    except ValueError as error:
        problems.append(Problem(key=key, value=text, message=str(error)))
        return text


def _alternative(union: Any, data: Any) -> Any:
    """The type of a union that decides: the only one besides None, or Path for a text unless texts are wanted."""
    types_in = [hint for hint in get_args(union) if hint is not types.NoneType]
    if len(types_in) == 1:
        return types_in[0]
    return Path if isinstance(data, str) and Path in types_in and str not in types_in else None


def _of_values(hint: Any, data: Mapping[str, Any]) -> Mapping[str, Any]:
    kind, arguments = get_origin(hint), get_args(hint)
    is_mapping = isinstance(kind, type) and issubclass(kind, Mapping) and len(arguments) == 2
    return dict.fromkeys(data, arguments[1]) if is_mapping else {}


def _of_items(hint: Any, count: int) -> list[Any]:
    arguments = [argument for argument in get_args(hint) if argument is not Ellipsis]
    if len(arguments) == 1:
        return arguments * count
    return arguments if get_origin(hint) is tuple and len(arguments) == count else []
