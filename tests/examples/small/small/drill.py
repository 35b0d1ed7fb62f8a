"""Steps that practise a piece in rounds, and report how well it goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from small.steps import note
from when_ml_pipeline_meets_hydra.contracts import (
    Artifact,
    Claim,
    Direction,
    Each,
    Progress,
    claims,
    effect,
    preceded_by,
)
from when_ml_pipeline_meets_hydra.contracts import frozen as _frozen
from when_ml_pipeline_meets_hydra.errors import Pruned

Manner = Literal["raises", "returns", "goes on", "breaks", "untold", "silent", "wrong"]


@_frozen
class Score(Artifact):
    """How well it went."""

    directions: ClassVar[Mapping[str, Direction]] = {"score": "maximize"}

    metrics: Mapping[str, float]


def practise(talent: float, manner: Manner, turn: int, *, out: Path, progress: Progress, checkpoints: Path) -> Score:
    """Practise five times: each time the score is larger by ``talent``, and the error smaller."""
    note("practise")
    (out / "notes.txt").write_text("half")
    (checkpoints / "page.txt").write_text("half")
    if manner == "untold":
        raise Pruned
    if manner == "wrong":
        progress.report(1.5, score=1)  # type: ignore[arg-type]
    for time in range(1, 6) if manner != "silent" else ():
        note("time")
        stops = progress.report(time, score=talent * time, error=1 / time)
        if stops and manner == "raises":
            raise Pruned
        if stops and manner == "returns":
            return Score(path=out, metrics={})
        if stops and manner == "breaks":
            raise ValueError("a string broke")
    return Score(path=out, metrics={"score": talent * (4 + turn)})


def audition(practise: Annotated[tuple[Score, ...], Each("turn", of="turns")], *, out: Path) -> Score:
    """Play before a jury: the mean score."""
    note("audition")
    return Score(path=out, metrics={"score": sum(p.metrics["score"] for p in practise) / len(practise)})


def _stage(hall: str) -> Claim:
    return Claim(place=hall, text=f"the hall {hall}", among="all")


@preceded_by("audition", when=lambda: True)
def rehearse(talent: float, *, out: Path, progress: Progress) -> Score:
    """Rehearse with the chosen one."""
    note("rehearse")
    assert not progress.report(1, score=-1), "what was chosen is not stopped"
    return Score(path=out, metrics={"score": talent})


@claims(_stage)
@effect
def perform(rehearse: Score, hall: str) -> None:
    """Perform in the hall."""
    note("perform")
