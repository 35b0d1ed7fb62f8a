"""The config of a job with Hydra's own part, as ``HydraConfig`` holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from when_ml_pipeline_meets_hydra.composing.interpolations import limited_interpolations
from when_ml_pipeline_meets_hydra.composing.resolvers import hydra_config, register
from when_ml_pipeline_meets_hydra.composing.tree import load_yaml
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, first_line


def whole_config(config: Mapping[str, Any], hydra: Mapping[str, Any]) -> DictConfig:
    """Add Hydra's part, with Hydra's own types, to the config of a job; it may refer to the rest."""
    register()
    typed = OmegaConf.structured(HydraConf, flags={"struct": False})
    typed.merge_with(dict(hydra))
    return OmegaConf.create({**config, "hydra": typed})


def resolve(config: Mapping[str, Any], hydra: Mapping[str, Any], key: str) -> str:
    """Resolve a key of Hydra's config (``sweep.subdir``) to a string. Raises ``BadInput`` if that is not possible."""
    whole = OmegaConf.create({**config, "hydra": dict(hydra)})
    try:
        with hydra_config(whole), limited_interpolations(f"hydra.{key}"):
            return str(OmegaConf.select(whole, f"hydra.{key}", throw_on_missing=True))
    except BadInput:
        raise
    except Exception as error:
        message = f"cannot be resolved: {str(error).splitlines()[0]}"
        raise BadInput(Problem(key=f"hydra.{key}", message=message)) from error


def read_text(text: str) -> Any:
    """The keys or the list that a text in YAML is to Hydra, unresolved. Raises ``ValueError``."""
    try:
        load_yaml(text)  # which limits it
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ValueError(first_line(error)) from error
