"""The manifest of a bundle: ``bundle.json`` beside ``model.onnx``, ``smoke.json`` and ``training.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Decision, DType, Image, Reading, Task
from when_ml_pipeline_meets_hydra.storage.durable_files import sha256

FORMAT = 2
MANIFEST, MODEL, SMOKE, TRAINING = "bundle.json", "model.onnx", "smoke.json", "training.json"
FILES = (MODEL, SMOKE, TRAINING)
PIXELS = "pixels"  # the one input of the graph of an image, in place of those of its columns
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleRefused(Refused):
    """A bundle that is damaged, cannot be loaded, or fails its smoke rows."""

    def __init__(self, message: str) -> None:
        super().__init__("bundle", message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,)


class Datatype(StrEnum):
    """Datatypes of the Open Inference Protocol for a bundle's inputs and outputs."""

    FP64 = "FP64"
    FP32 = "FP32"
    BYTES = "BYTES"
    BOOL = "BOOL"


# A missing number is NaN, so an integer column is a float input of the graph.
INPUT_DATATYPES = {
    DType.FLOAT: Datatype.FP64,
    DType.INT: Datatype.FP64,
    DType.DATE: Datatype.FP64,
    DType.DATETIME: Datatype.FP64,
    DType.STRING: Datatype.BYTES,
    DType.BOOL: Datatype.BOOL,
}


@frozen
class Output:
    """One output of the graph; -1 in the shape stands for the rows."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@frozen
class Interval:
    """Intervals that reach ``distance`` below and above each number; ``coverage``: the share of targets inside."""

    coverage: Annotated[float, Field(gt=0, lt=1)]
    distance: Annotated[float, Field(ge=0)]


@frozen
class File:
    """One file of the bundle."""

    sha256: Digest
    size: Annotated[int, Field(ge=0)]


@frozen
class Provenance:
    """Origin of a bundle; not part of its digest."""

    preprocessing: str
    modeling: str
    package: str
    created: datetime


@frozen
class Manifest:
    """A bundle's signature, quality, checksums and provenance.

    ``reading`` is how raw values become those of ``inputs``. ``outputs`` begins with the prediction (the class's name
    for classification), then the probabilities, if any. ``spread`` is the standard deviation of a numeric target over
    the training rows; ``decision`` the threshold by which rows get one of two classes, if not the most probable one;
    earlier bundles have none of these, nor an ``interval``. ``image`` is the one whose pixels the inputs are, if a
    request may send its file. ``source`` is the digest of the bundle's inputs, so that an unchanged model is recognized
    without a build.
    """

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)] = FORMAT
    dataset: str
    task: Task
    target: Column
    classes: tuple[str, ...]
    inputs: Annotated[tuple[Column, ...], Field(min_length=1)]
    reading: Reading = Reading()
    image: Image | None = None
    outputs: Annotated[tuple[Output, ...], Field(min_length=1, max_length=2)]
    model: str
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    spread: float | None = None
    interval: Interval | None = None
    decision: Decision | None = None
    source: Digest
    files: Mapping[str, File]
    provenance: Provenance


_manifests = TypeAdapter(Manifest)


def digest_of(value: Any) -> str:
    """Return the SHA-256 over the canonical JSON of ``value``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def describe_files(folder: Path) -> dict[str, File]:
    """Return size and checksum of each file of a bundle except its manifest."""
    return {name: File(sha256=sha256(folder / name), size=(folder / name).stat().st_size) for name in FILES}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``bundle.json``, with the content digest on top, which does not depend on when and by whom it was built."""
    facts = _manifests.dump_python(manifest, mode="json")
    content = {"digest": _identity(facts), **facts}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _identity(facts: Mapping[str, Any]) -> str:
    return digest_of({name: fact for name, fact in facts.items() if name != "provenance"})


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Return the manifest of the bundle in ``folder``, and its content digest.

    Raises:
        BundleRefused: the manifest is missing, malformed, or does not match its digest.
    """
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        claimed = content.pop("digest")
        manifest = _manifests.validate_json(json.dumps(content), strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleRefused(f"{MANIFEST}: {where}: {first['msg']}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise BundleRefused(f"{MANIFEST} cannot be read ({type(problem).__name__})") from None
    if set(manifest.files) != set(FILES):
        raise BundleRefused(f"{MANIFEST} has to list the files {', '.join(FILES)}, and no others")
    if _identity(content) != claimed:  # of the file as it is: an older one lacks what has a default now
        raise BundleRefused(f"{MANIFEST} does not match its digest")
    return manifest, claimed


def verified(folder: Path) -> Manifest:
    """Return the manifest of the bundle in ``folder`` after verifying the checksums of its files.

    Raises:
        BundleRefused: the manifest cannot be read, or a file is missing or does not match its checksum.
    """
    manifest, _ = read_manifest(folder)
    for name, file in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise BundleRefused(f"{name} is missing")
        if path.stat().st_size != file.size or sha256(path) != file.sha256:
            raise BundleRefused(f"{name} does not match its checksum")
    return manifest
