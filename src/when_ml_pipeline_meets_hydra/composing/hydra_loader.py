"""Hydra's own config loader, which merges option files without copying each of them."""

from __future__ import annotations

import copy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.default_element import ResultDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from when_ml_pipeline_meets_hydra.composing.hydra_patches import without_reparenting


class HydraLoader(ConfigLoaderImpl):
    """Hydra's loader, with the defaults list of the config that it composed last."""

    last: tuple[ResultDefault, ...] = ()
    _embedded: frozenset[int] = frozenset()

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        self.last = tuple(d for d in defaults if d.config_path and not d.config_path.startswith("hydra/"))
        self._embedded = frozenset()
        with without_reparenting():
            cfg = super()._compose_config_from_defaults_list(defaults, repo)
        cfg._re_parent()
        return cfg

    def _embed_result_config(self, ret: ConfigResult, package_override: str | None) -> ConfigResult:  # type: ignore[override]
        """Put the content of a file into its package; a file that a config has twice is copied, others are not."""
        package = ret.header["package"] if package_override is None else package_override
        content = copy.deepcopy(ret.config) if id(ret.config) in self._embedded else ret.config
        self._embedded |= {id(ret.config)}
        if package:
            config = OmegaConf.create(flags={"no_deepcopy_set_nodes": True})
            OmegaConf.update(config, package, content, merge=False)
            config._set_flag("no_deepcopy_set_nodes", None)
            content = config
        embedded = copy.copy(ret)
        embedded.config = content
        return embedded
