"""The scheme ``configs://`` for Hydra: option files from a config store, in any Hydra app."""

from __future__ import annotations

from hydra._internal.core_plugins.file_config_source import FileConfigSource

from when_ml_pipeline_meets_hydra.composing.checkouts import checkout
from when_ml_pipeline_meets_hydra.composing.store_entry import SCHEME
from when_ml_pipeline_meets_hydra.errors import BadInput


class ConfigStoreSource(FileConfigSource):
    """Reads the newest revision of a config store, as it was when the source was created."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider=provider, path=path)
        try:
            self.path = str(checkout(path))
        except BadInput:  # Hydra says that the source is not available
            self.path = "/dev/null/no config store"

    @staticmethod
    def scheme() -> str:
        """Return ``configs``."""
        return SCHEME
