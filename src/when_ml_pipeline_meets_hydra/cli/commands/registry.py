"""``serve --registry``: a server that serves what a registry says is active."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

ID, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


@contextmanager
def mirrored(
    url: str, models: Sequence[str], alias: str, every: float, root: Path, announce: Callable[[str], None]
) -> Iterator[None]:
    """Let the repository below ``root`` follow the registry at ``url``, where one is given, until the block ends.

    Raises:
        BadInput: there is no such address, or no model is named.
        PipelineError: the registry says no, or cannot be reached.
    """
    if not url:
        if models:
            raise BadInput(
                Problem(key="--model", value=models[0], message="belongs to a registry: --registry says which")
            )
        yield
        return
    from pydantic import SecretStr, ValidationError

    from when_ml_pipeline_meets_hydra.deploy.clusters.mlflow import Mlflow
    from when_ml_pipeline_meets_hydra.serving.mirror import Mirror
    from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

    if not models:
        raise BadInput(Problem(key="--model", message="name at least one model of the registry"))
    # Not left in the environment, where every worker would get it.
    user, password = os.environ.pop(ID, None) or None, os.environ.pop(PASSWORD, None) or None
    try:
        registry = Mlflow(url=url, id=user, pw=SecretStr(password) if password else None, alias=alias)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = {"url": ("--registry", url), "alias": ("--alias", alias)}
        key, value = place.get(str(first["loc"][0]) if first["loc"] else "", (f"${ID}, ${PASSWORD}", None))
        raise BadInput(Problem(key=key, value=value, message=first["msg"].removeprefix("Value error, "))) from None
    with Mirror(registry, models, Repository(root), who=f"{alias} of {url}").kept(every, announce):
        yield
