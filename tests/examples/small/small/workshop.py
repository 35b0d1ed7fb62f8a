"""Steps that are mapped over the parts of a piece of furniture, and one that packs them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from small.steps import note
from when_ml_pipeline_meets_hydra.contracts import Artifact, Direction, Each, frozen


@frozen
class Part:
    """A part to cut."""

    name: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=1, le=9)]


@frozen
class Wood(Artifact):
    """Sawn wood."""

    kind: str


@frozen
class Cut(Artifact):
    """A part of a size."""

    directions: ClassVar[Mapping[str, Direction]] = {"waste": "minimize"}

    name: str
    metrics: Mapping[str, float]


@frozen
class Packed(Artifact):
    """The names of the parts, and their total size."""

    directions: ClassVar[Mapping[str, Direction]] = {"size": "maximize"}

    names: tuple[str, ...]
    metrics: Mapping[str, float]
    deviations: Mapping[str, float]


def saw(wood: str, *, out: Path) -> Wood:
    """Saw the wood, which all parts are made of."""
    note("saw")
    return Wood(path=out, kind=wood)


def cut(saw: Wood, part: Part, *, out: Path) -> Cut:
    """Cut a part; one of size 9 breaks."""
    note("cut")
    if part.size == 9:
        raise ValueError(f"{part.name} broke")
    (out / "part.txt").write_text(f"{saw.kind} {part.name} {part.size}")
    return Cut(path=out, name=part.name, metrics={"waste": part.size})


def paint(cut: Cut, colour: str, *, out: Path) -> Cut:
    """Paint a part."""
    note("paint")
    return Cut(path=out, name=f"{colour} {cut.name}", metrics=cut.metrics)


def pack(saw: Wood, paint: Annotated[tuple[Cut, ...], Each("part", of="parts")], *, out: Path) -> Packed:
    """Pack all parts."""
    note("pack")
    size = sum(part.metrics["waste"] for part in paint)
    return Packed(path=out, names=tuple(p.name for p in paint), metrics={"size": size}, deviations={"size": 0.5})


def count(saw: Wood, paint: Annotated[tuple[Cut, ...], Each("colours", of="parts")], *, out: Path) -> Packed:
    """Count parts by a key that nobody reads."""
    raise AssertionError("refused beforehand")


def _halves(wood: str, parts: tuple[Part, ...]) -> list[Part]:
    return [Part(name=f"{wood} {part.name}/2", size=max(part.size // 2, 1)) for part in parts]


def halve(paint: Annotated[tuple[Cut, ...], Each("part", of=_halves)], *, out: Path) -> Packed:
    """Pack parts of half the size."""
    return pack(Wood(path=out, kind=""), paint, out=out)
