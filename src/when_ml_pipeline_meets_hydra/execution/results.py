"""Keeps secrets out of the manifests of results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.masking import Redactor


def without_secrets(artifact: Any, out: Path, redactor: Redactor) -> Any:
    """Return an artifact with secrets masked in its fields, also in names of metrics.

    Raises ``StepFailed`` if the name of one of its files contains a secret, since the manifest lists the names.
    """
    if not redactor.searches or not isinstance(artifact, Artifact):
        return artifact
    for file in sorted(out.rglob("*")):
        name = file.relative_to(out).as_posix()
        if (masked := redactor.text(name)) != name:
            raise StepFailed(f"the name of a file that it wrote contains a secret: {masked}. Give it another name")
    return _masked(artifact, redactor)


def _masked(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        masked = redactor.text(value)
        return value if masked == value else masked
    if isinstance(value, Mapping):
        return {_masked(k, redactor): _masked(v, redactor) for k, v in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_masked(v, redactor) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        before = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        changed = {n: new for n, old in before.items() if (new := _masked(old, redactor)) != old}
        return dataclasses.replace(value, **changed) if changed else value
    return value
