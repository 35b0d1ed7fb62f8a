"""The smallest stages, to copy: they print what they receive and depend on nothing."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import to_jsonable_python


def preprocessing_foo(dataset: Any, p_param: Any) -> None:
    """Print what the stage receives."""
    _show("preprocessing", "foo", dataset=dataset, p_param=p_param)


def preprocessing_bar(dataset: Any, p_param: Any) -> None:
    """Print what the stage receives."""
    _show("preprocessing", "bar", dataset=dataset, p_param=p_param)


def modeling_foo(model: Any, m_param: Any) -> None:
    """Print what the stage receives."""
    _show("modeling", "foo", model=model, m_param=m_param)


def modeling_bar(model: Any, m_param: Any) -> None:
    """Print what the stage receives."""
    _show("modeling", "bar", model=model, m_param=m_param)


def deployment_foo(cluster: Any) -> None:
    """Print what the stage receives."""
    _show("deployment", "foo", cluster=cluster)


def deployment_bar(cluster: Any) -> None:
    """Print what the stage receives."""
    _show("deployment", "bar", cluster=cluster)


def _show(stage: str, subcommand: str, **groups: Any) -> None:
    print(f"========== Run {stage}'s '{subcommand}' subcommand ==========")
    for name, values in groups.items():
        print(f"{name}:\n{json.dumps(to_jsonable_python(values, fallback=str), indent=2)}")
    print("Do something here!")
