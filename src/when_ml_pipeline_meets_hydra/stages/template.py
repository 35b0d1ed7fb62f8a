"""The smallest stages to copy: they print what they receive, and depend on nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from when_ml_pipeline_meets_hydra.contracts import frozen

Values = Mapping[str, Any]


@frozen
class Login:
    """A cluster of the template: where it is, and who we are there."""

    name: str
    url: str
    id: str
    pw: SecretStr


def preprocessing_foo(dataset: Values, p_param: Values) -> None:
    """Print what the stage receives."""
    _show("preprocessing", "foo", dataset=dataset, p_param=p_param)


def preprocessing_bar(dataset: Values, p_param: Values) -> None:
    """Print what the stage receives."""
    _show("preprocessing", "bar", dataset=dataset, p_param=p_param)


def modeling_foo(model: Values, m_param: Values) -> None:
    """Print what the stage receives."""
    _show("modeling", "foo", model=model, m_param=m_param)


def modeling_bar(model: Values, m_param: Values) -> None:
    """Print what the stage receives."""
    _show("modeling", "bar", model=model, m_param=m_param)


def deployment_foo(cluster: Login) -> None:
    """Print what the stage receives."""
    _show("deployment", "foo", cluster=_as_mapping(cluster))


def deployment_bar(cluster: Login) -> None:
    """Print what the stage receives."""
    _show("deployment", "bar", cluster=_as_mapping(cluster))


def _as_mapping(cluster: Login) -> Values:
    # The program masks the password wherever it shows what a step prints.
    return {"name": cluster.name, "url": cluster.url, "id": cluster.id, "pw": cluster.pw.get_secret_value()}


def _show(stage: str, subcommand: str, **groups: Values) -> None:
    print(f"========== Run {stage}'s '{subcommand}' subcommand ==========")
    for name, values in groups.items():
        print(f"{name}:\n{json.dumps(values, indent=2)}")
    print("Do something here!")
