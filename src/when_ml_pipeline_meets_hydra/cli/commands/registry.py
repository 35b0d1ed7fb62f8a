"""``serve --registry``: a server of the active versions of a registry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from when_ml_pipeline_meets_hydra.composing.dotenv_file import variable
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

ID, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


@contextmanager
def mirrored(
    url: str, models: Sequence[str], alias: str, every: float, root: Path, announce: Callable[[str], None]
) -> Iterator[None]:
    """Mirror the registry at ``url``, if one is given, into the repository below ``root`` until the block ends.

    Raises:
        BadInput: the URL or the alias is invalid, or no model is named.
        PipelineError: the registry refuses access, or cannot be reached.
    """
    if not url:
        if models:
            raise BadInput(Problem(key="--model", value=models[0], message="is only used with --registry"))
        yield
        return
    from pydantic import SecretStr, ValidationError

    from when_ml_pipeline_meets_hydra.deploy.clusters.mlflow import Mlflow
    from when_ml_pipeline_meets_hydra.serving.mirror import Mirror
    from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

    if not models:
        raise BadInput(Problem(key="--model", message="name at least one model of the registry"))
    # Removed from the environment, which every worker inherits.
    user, password = variable(ID) or None, variable(PASSWORD) or None
    os.environ.pop(ID, None)
    os.environ.pop(PASSWORD, None)
    try:
        registry = Mlflow(url=url, id=user, pw=SecretStr(password) if password else None, alias=alias)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = {"url": ("--registry", url), "alias": ("--alias", alias)}
        key, value = place.get(str(first["loc"][0]) if first["loc"] else "", (f"${ID}, ${PASSWORD}", None))
        raise BadInput(Problem(key=key, value=value, message=first["msg"].removeprefix("Value error, "))) from None
    with Mirror(registry, models, Repository(root), who=f"{alias} of {url}").syncing(every, announce):
        yield
