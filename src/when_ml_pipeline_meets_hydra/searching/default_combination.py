"""The combination without any drawn value: the first trial of a search, and what its best one is compared with."""

from __future__ import annotations

from pathlib import Path

from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric
from when_ml_pipeline_meets_hydra.searching.objective import Score
from when_ml_pipeline_meets_hydra.searching.session import Session, score_of
from when_ml_pipeline_meets_hydra.searching.space import Space, Value
from when_ml_pipeline_meets_hydra.searching.study import Trial
from when_ml_pipeline_meets_hydra.searching.warm_start import open_stored, scoring_kinds, values_of
from when_ml_pipeline_meets_hydra.storage.store import Store


def default_values(session: Session, space: Space) -> dict[str, Value] | None:
    """Return the values of the default combination; None if it does not exist, or is not in the space."""
    bound, _ = session.problems([()])
    if bound is None or not bound.calls:
        return None
    job = bound.calls[0][0]
    return values_of(space, job.chosen, job.config)


def beside_default(session: Session, score: Score, home: Path, best: Trial) -> str | None:
    """Return a sentence on the best trial and the default combination; None if the score of that one is not stored."""
    bound, _ = session.problems([()])
    if bound is None:
        return None
    store, kinds = Store(home / "store"), scoring_kinds(bound, session.stage)
    result = open_stored(store, session.keys(bound)[0], kinds[0]) if kinds else None
    default, found = score_of(result and result.metrics, score.metric), score.of(best)
    if default is None or found is None:
        return None
    shown, gain = format_metric(default), (found - default) * (1 if score.direction == "maximize" else -1)
    if gain > 0:
        return f"The best trial beats the default combination, whose {score.whole} is {shown}"
    if gain == 0:
        return f"No trial beats the default combination, whose {score.whole} is {shown}"
    return f"The default combination, which was not among the trials, is better: {score.whole}={shown}"
