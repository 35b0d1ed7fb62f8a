"""The smallest stages, to copy: they print what they receive and depend on nothing."""

from __future__ import annotations

import json
from typing import Any

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from when_ml_pipeline_meets_hydra.contracts import frozen


@frozen
class Login:
    """A cluster of the template: its URL and a login."""

    name: str
    url: str
    id: str
    pw: SecretStr


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


def deployment_foo(cluster: Login) -> None:
    """Print what the stage receives."""
    _show("deployment", "foo", cluster=_as_mapping(cluster))


def deployment_bar(cluster: Login) -> None:
    """Print what the stage receives."""
    _show("deployment", "bar", cluster=_as_mapping(cluster))


def _as_mapping(cluster: Login) -> dict[str, str]:
    # The program masks the password wherever it shows what a step prints.
    return {"name": cluster.name, "url": cluster.url, "id": cluster.id, "pw": cluster.pw.get_secret_value()}


def _show(stage: str, subcommand: str, **groups: Any) -> None:
    print(f"========== Run {stage}'s '{subcommand}' subcommand ==========")
    for name, values in groups.items():
        print(f"{name}:\n{json.dumps(to_jsonable_python(values, fallback=str), indent=2)}")
    print("Do something here!")
