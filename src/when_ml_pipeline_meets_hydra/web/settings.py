"""Settings of the web app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from when_ml_pipeline_meets_hydra.serving.http.listening import Listening
from when_ml_pipeline_meets_hydra.serving.http.users import User


@dataclass(frozen=True, kw_only=True)
class Settings(Listening):
    """What the web app shows, and who may sign in.

    Attributes:
        store: location of the config store; empty: the one that every command takes.
        home: folder of results and records.
        repository: directory of the model repository, whose users sign in.
        sole: the only user, by name, if the repository has no users.
        config_dirs: folders of option files that entries name.
        launch_users: those who may start runs.
        launch_limit: how many launched runs are computed at once.
    """

    home: Path
    repository: Path
    port: int = 8090
    store: str = ""
    sole: Mapping[str, User] = field(default_factory=dict)
    config_dirs: tuple[str, ...] = ()
    launch_users: frozenset[str] = frozenset()
    launch_limit: int = 1
