"""Opens stored results by their folders; what is damaged is refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_json

from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import PipelineError, shortened
from when_ml_pipeline_meets_hydra.storage import integrity

A = TypeVar("A", bound=Artifact)
_MOST_WRONG = 5  # fields in a message


class StoreError(PipelineError):
    """A result is damaged, does not match its key, or cannot be stored."""


def folder_of(store: Path, key: str) -> Path:
    """Return the folder of the result with a key."""
    return store / key[:2] / key


def keys_like(store: Path, beginning: str) -> list[str]:
    """Return the keys of stored results that begin so, with at least two characters."""
    folders = store.glob(f"{beginning[:2]}/{beginning}*")
    return sorted(folder.name for folder in folders if (folder / integrity.ARTIFACT).is_file())


def all_keys(store: Path) -> Iterator[str]:
    """Yield the keys of all stored results."""
    yield from (file.parent.name for file in sorted(store.glob(f"[0-9a-f][0-9a-f]/*/{integrity.ARTIFACT}")))


def inputs_of(store: Path, key: str) -> dict[str, Any] | None:
    """Return the inputs of a stored result; None if it is not stored, or damaged."""
    folder = folder_of(store, key)
    manifest = integrity.read_manifest(folder)
    return manifest and integrity.read_inputs(folder, manifest)


def facts_of(store: Path, key: str) -> tuple[str, Mapping[str, Any]] | None:
    """Return the type of a stored artifact (``package.module.Class``), and its fields; None if it is damaged."""
    manifest = integrity.read_manifest(folder_of(store, key))
    return (manifest["type"], manifest["facts"]) if manifest else None


def open_result(store: Path, key: str, kind: type[A]) -> A:
    """Open a stored artifact. Raises ``StoreError`` if it is not stored, damaged, or of another kind."""
    folder = folder_of(store, key)
    refuse_damaged(folder)
    if (manifest := integrity.read_manifest(folder)) is None:
        raise StoreError(f"{folder} was removed while it was read")
    try:
        return artifact_of(kind, manifest["facts"], folder)
    except ValidationError as error:
        raise StoreError(f"{folder} is a {manifest['type']}, not a {kind.__name__}") from error


def refuse_damaged(folder: Path) -> None:
    """Check all files of a result. Raises ``StoreError`` with the first that is not the one that was stored."""
    if wrong := integrity.first_defect(folder):
        raise StoreError(f"{folder}/{wrong}. The command that made it computes it again")


@lru_cache(maxsize=1024)
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the type adapter of a class of artifacts."""
    return TypeAdapter(kind)


def artifact_of(kind: type[A], facts: Mapping[str, Any], folder: Path) -> A:
    """Return the artifact with some facts in the folder of a result. Raises ``ValidationError``."""
    hashable: Any = kind
    artifact: A = adapter(hashable).validate_json(to_json({**facts, "path": str(folder / integrity.FILES)}))
    return artifact


def facts_to_store(artifact: Artifact, kind: type[Artifact]) -> dict[str, Any]:
    """Return the fields of an artifact, without its path, as JSON values.

    Raises:
        StoreError: fields have values of other types than their annotations say, with expectation and value.
    """
    wrong: list[str] = []
    hashable: Any = kind
    for name, field in _checks_of(hashable).items():
        try:
            field.validate_python(getattr(artifact, name), strict=True)
        except ValidationError as error:
            wrong.append(wrong_fields(error, name))
    if wrong:
        raise StoreError(f"the step returned a {kind.__name__} with wrong values: {'; '.join(wrong)}")
    facts: dict[str, Any] = adapter(hashable).dump_python(artifact, mode="json")
    del facts["path"]
    return facts


@lru_cache(maxsize=1024)
def _checks_of(kind: Any) -> dict[str, TypeAdapter[Any]]:
    """The type adapters of the fields whose annotations can be checked."""
    found = {}
    with suppress(NameError):  # the name of a class that is only there for type checkers
        hints = get_type_hints(kind, include_extras=True)
        for name in (field.name for field in fields(kind) if field.name != "path"):
            with suppress(PydanticSchemaGenerationError, PydanticUserError):
                found[name] = TypeAdapter(hints[name])
    return found


def wrong_fields(error: ValidationError, *place: str) -> str:
    """Return the wrong fields of an artifact, or below ``place``, each with its value and what was expected."""
    found = (
        f"{'.'.join(map(str, (*place, *e['loc'])))} is {shortened(repr(e['input']), 100)}, "
        f"{e['msg'].replace('Input should be', 'expected')}"
        for e in error.errors(include_url=False)[:_MOST_WRONG]
    )
    more = f" and {error.error_count() - _MOST_WRONG} more" if error.error_count() > _MOST_WRONG else ""
    return "; ".join(found) + more
