"""Run each combination of a plan as an execution of a Flyte service, through flytekit."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.composing.environment import PACKAGES, PROJECT
from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.masking import is_secret_name

_SECRETS = ("password", "secret", "token")  # ends of names of variables, such as PGPASSWORD
_PATIENCE = 5.0  # s that the service has to accept a connection


@frozen
class Launcher:
    """Registers the steps of a combination as a workflow, and executes it once for each combination."""

    endpoint: Annotated[str, Field(min_length=1, description="Host and port of Flyte's admin service")]
    image: Annotated[str, Field(min_length=1, description="The image of the tasks")]
    insecure: Annotated[bool, Field(description="Whether to connect without TLS")] = False
    project: Annotated[str, Field(min_length=1, description="The project in Flyte")] = "flytesnacks"
    domain: Annotated[str, Field(min_length=1, description="The domain in Flyte")] = "development"
    pod_template: Annotated[str | None, Field(min_length=1, description="The PodTemplate of the tasks")] = None
    env: Annotated[dict[str, str], Field(description="Environment variables of the tasks")] = Field(
        default_factory=dict
    )
    version: Annotated[
        str | None, Field(pattern=r"^[\w.-]{1,100}$", description="What the registered version begins with")
    ] = None

    @property
    def title(self) -> str:
        """The name of the system."""
        return "Flyte"

    @property
    def takes_secrets(self) -> bool:
        """No: Flyte would keep them."""
        return False

    @property
    def options(self) -> Mapping[str, Any]:
        """What the process that submits the graph needs to know."""
        names = ("endpoint", "image", "insecure", "project", "domain", "pod_template", "version")
        own = {name: os.environ[name] for name in (PACKAGES, PROJECT) if name in os.environ}
        return {**{name: getattr(self, name) for name in names}, "env": {**own, **self.env}}

    def check(self) -> Iterator[Problem]:
        """Yield a problem if flytekit is not installed, a variable is a secret, or nothing answers at the endpoint."""
        if find_spec("flytekit") is None:
            message, remedy = "flytekit is not installed", "pip install 'when_ml_pipeline_meets_hydra[flytekit]'"
            yield Problem(key="hydra/launcher", value="flytekit", message=message, remedy=remedy)
            return
        for name in self.env:
            if is_secret_name(name) or name.lower().endswith(_SECRETS):
                message, remedy = "Flyte would keep this secret", "Set it by pod_template, from a secret of the cluster"
                yield Problem(key=f"hydra.launcher.env.{name}", message=message, remedy=remedy)
        host, _, port = self.endpoint.removeprefix("dns:///").partition(":")
        try:
            socket.create_connection((host, int(port or (80 if self.insecure else 443))), timeout=_PATIENCE).close()
        except (OSError, ValueError, OverflowError) as error:
            message = f"no Flyte service answers there ({error})"
            yield Problem(key="hydra.launcher.endpoint", value=self.endpoint, message=message)

    def command(self, graph: Path) -> Sequence[str]:
        """Return the command that registers and executes a graph, and waits for its executions."""
        return [sys.executable, "-m", f"{__name__}.remote", str(graph)]

    def environment(self, graph: Path) -> Mapping[str, str]:
        """Return the environment variables for it: none."""
        return {}
