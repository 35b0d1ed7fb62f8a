"""The page of a search: one self-contained HTML file on all trials of a study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median

from when_ml_pipeline_meets_hydra.binding.settings import Direction
from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric
from when_ml_pipeline_meets_hydra.masking import MASK
from when_ml_pipeline_meets_hydra.pages.layout import page
from when_ml_pipeline_meets_hydra.records.short_names import short_names
from when_ml_pipeline_meets_hydra.records.trials import RecordedTrial
from when_ml_pipeline_meets_hydra.searching.charts import Axis, Chart, Dot, Frame, Parallel, parallel, shortened
from when_ml_pipeline_meets_hydra.searching.importance import FEWEST, importance_of, share_of_best
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Value

FILE = "search.html"
_DRAWN = 1000  # trials in charts: of more, the best and some of the others
_THREADS = 200  # lines of parallel coordinates
_ROWS = 2000  # of the table
_FEW = 30  # trials of which the importance is a rough guess
_FAR = 6  # how far from the median, in distances of the best, a score is drawn at the edge


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that is known of a study. ``trials``: the best one first; ``commands`` run the best ones, by number.

    ``goals`` are the metrics with their directions, the first one first; ``constraints`` are texts.
    """

    study: str
    sampler: str
    goals: Mapping[str, Direction]
    dimensions: Sequence[Dimension]
    trials: Sequence[RecordedTrial]
    commands: Mapping[int, str]
    runs: Sequence[str] = ()
    constraints: Sequence[str] = ()

    @property
    def metric(self) -> str:
        """The first metric, by which trials are compared."""
        return next(iter(self.goals))

    @property
    def further(self) -> list[str]:
        """The other metrics."""
        return list(self.goals)[1:]

    @cached_property
    def front(self) -> list[RecordedTrial]:
        """The trials on the Pareto front, if there are several metrics."""
        return [trial for trial in self.trials if trial.is_on_front]

    @cached_property
    def scored(self) -> list[RecordedTrial]:
        """The trials with a score that keep to the constraints, the best one first."""
        return [trial for trial in self.trials if trial.score is not None and trial.status != "infeasible"]

    @cached_property
    def shown(self) -> list[RecordedTrial]:
        """Those of them that charts show."""
        return _some(self.scored, _DRAWN)

    @cached_property
    def threads(self) -> list[RecordedTrial]:
        """Those that parallel coordinates show."""
        return _some(self.scored, _THREADS)

    @cached_property
    def open_dimensions(self) -> list[Dimension]:
        """The dimensions that are no secret, and of which trials have a value."""
        values = {d.name: {t.values[d.name] for t in self.trials if d.name in t.values} for d in self.dimensions}
        return [d for d in self.dimensions if values[d.name] and MASK not in values[d.name]]

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The shortest unique name of each dimension."""
        return short_names([d.name for d in self.dimensions], taken=("trial", "seconds", "status", "error"))

    @cached_property
    def last(self) -> int:
        """The number of the last trial."""
        return max((t.number for t in self.trials), default=0)

    @property
    def is_larger_better(self) -> bool:
        """Whether a larger score is better."""
        return self.goals[self.metric] == "maximize"


def _some(trials: list[RecordedTrial], most: int) -> list[RecordedTrial]:
    """Return the first trials, and some of the others, evenly chosen, if there are more than ``most``."""
    others, half = trials[most // 2 :], most // 2
    return trials if len(trials) <= most else trials[:half] + others[:: -(-len(others) // half)]


def render(found: Found) -> str:
    """Render the page as HTML."""
    best = found.scored[0] if found.scored else None
    shares = _importance(found)
    return page(
        __file__,
        title=f"Search {found.study}",
        found=found,
        best=best,
        command=found.commands.get(best.number) if best else None,
        fronts=[_front(found, name) for name in found.further] if found.front else [],
        facts=_facts(found),
        history=_history(found) if found.scored else None,
        importance=[(found.names[d.name], shares[d.key]) for d in _by(shares, found) if shares],
        too_few=_too_few(found),
        share=share_of_best(len(found.scored)) if found.scored else 0,
        slices=[_slice(found, d) for d in _by(shares, found)] if found.scored else [],
        parallel=_parallel(found) if len(found.scored) > 1 and found.open_dimensions else None,
        has_fewer=len(found.shown) < len(found.scored),
        rows=found.trials[:_ROWS],
        number=_number,
        metric=format_metric,
    )


def _number(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _facts(found: Found) -> dict[str, tuple[str, str]]:
    """The numbers at the top, each with a remark."""
    own = [t for t in found.trials if t.number >= 0]
    seconds, others = sum(t.seconds for t in own), Counter(t.status for t in own if t.status != "done")
    facts = {}
    if found.scored and (score := found.scored[0].score) is not None:
        name = found.scored[0].name
        facts[f"best {found.metric}"] = (
            format_metric(score),
            "of an earlier run" if name == "earlier" else f"trial {name}",
        )
    if found.further:
        facts["Pareto front"] = str(len(found.front)), "none of them is better in every metric"
    facts["trials"] = str(len(own)), ", ".join(f"{count} {status}" for status, count in others.items())
    facts["time in trials"] = _duration(seconds), f"{_duration(seconds / len(own))} each" if len(own) > 1 else ""
    return facts


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _importance(found: Found) -> dict[str, float]:
    sign = 1 if found.is_larger_better else -1
    names = {d.name: d.key for d in found.open_dimensions}
    points = [
        ({names[n]: v for n, v in t.values.items() if n in names}, sign * t.score)
        for t in found.scored
        if t.score is not None
    ]
    return importance_of(found.open_dimensions, points)


def _too_few(found: Found) -> str:
    """A remark if the importance is unknown, or a guess."""
    if len(found.scored) < FEWEST:
        return f"It takes {FEWEST} trials with a score to tell."
    return "Of so few trials it is a rough guess." if len(found.scored) < _FEW else ""


def _by(shares: Mapping[str, float], found: Found) -> list[Dimension]:
    """The dimensions, those of importance first."""
    return sorted(found.open_dimensions, key=lambda d: -shares.get(d.key, 0)) if shares else found.open_dimensions


def _score_axis(found: Found, metric: str | None = None) -> Axis:
    """The axis of the scores, without those that are so far off that the others would be one line."""
    scores = [_score(t, metric or found.metric) for t in found.scored]
    scores.sort(reverse=found.goals[metric or found.metric] == "maximize")
    best, worst = scores[0], scores[-1]
    middle = median(scores)
    end = best + _FAR * (middle - best)
    far = abs(worst - best) > 2 * abs(end - best) > 0
    low, high = sorted((best, end if far else worst))
    if low == high:
        low, high = low - (abs(low) or 1) * 0.05, high + (abs(high) or 1) * 0.05
    return Axis(low=low, high=high)


def _score(trial: RecordedTrial, metric: str) -> float:
    return (trial.scores or {}).get(metric, trial.score or 0.0)


def _front(found: Found, metric: str) -> Chart:
    """The first metric of all trials against another one, those on the Pareto front in their own colour."""
    frame = Frame(_score_axis(found, metric), _score_axis(found))
    others = [t for t in found.shown if not t.is_on_front]
    dots = [_dot(found, t, frame.x(_score(t, metric)), frame.y(_score(t, found.metric))) for t in others]
    places = [(frame.x(_score(t, metric)), frame.y(_score(t, found.metric)), t) for t in found.front]
    dots += [replace(_dot(found, t, x, y), kind="best") for x, y, t in places]
    line = " ".join(f"{x:g},{y:g}" for x, y, _ in sorted(places, key=lambda p: p[:2])) if len(found.goals) == 2 else ""
    return frame.chart(f"{found.metric} against {metric}", metric, found.metric, dots, line=line)


def _outside(found: Found, axis: Axis) -> str:
    count = sum(t.score is not None and not axis.low <= t.score <= axis.high for t in found.shown)
    return f"{count} far worse {'one lies' if count == 1 else 'ones lie'} at the edge." if count else ""


def _history(found: Found) -> Chart:
    """The score of each trial, and the best so far."""
    axis = _score_axis(found)
    frame = Frame(Axis(low=0, high=max(found.last, 1), is_whole=True), axis)
    failed = [t for t in found.trials if t.status == "failed"][:_DRAWN]
    dots = [Dot(x=frame.x(t.number), y=frame.floor, kind="failed", text=f"trial {t.number} failed") for t in failed]
    own = [(t, t.score) for t in found.shown if t.number >= 0 and t.score is not None]
    dots += [_dot(found, t, frame.x(t.number), frame.y(score)) for t, score in own]
    broken = [(t, t.score) for t in found.trials if t.status == "infeasible" and t.number >= 0][:_DRAWN]
    dots += [
        replace(_dot(found, t, frame.x(t.number), frame.y(score)), kind="infeasible")
        for t, score in broken
        if score is not None
    ]
    line, note = _best_so_far(found, frame), _outside(found, axis)
    return frame.chart("Score of each trial", "trial", found.metric, dots, line=line, note=note)


def _best_so_far(found: Found, frame: Frame) -> str:
    best: float | None = None
    corners: list[tuple[float, float]] = []
    for trial in sorted(found.scored, key=lambda t: t.number):
        score, x = trial.score, frame.x(max(trial.number, 0))
        assert score is not None
        if best is None or (score > best if found.is_larger_better else score < best):
            corners += [(x, frame.y(best))] if best is not None else []
            corners.append((x, frame.y(score)))
            best = score
    if best is not None:
        corners.append((frame.x(found.last), frame.y(best)))
    return " ".join(f"{x:g},{y:g}" for x, y in corners)


def _dot(found: Found, trial: RecordedTrial, x: float, y: float) -> Dot:
    kind = "best" if trial is found.scored[0] else "done"
    age = max(trial.number, 0) / max(found.last, 1)
    return Dot(x=x, y=y, kind=kind, text=_says(found, trial), strength=round(0.3 + 0.6 * age, 2))


def _says(found: Found, trial: RecordedTrial) -> str:
    values = ", ".join(f"{found.names[n]}={_number(v)}" for n, v in trial.values.items())
    name = "earlier run" if trial.number < 0 else f"trial {trial.name}"
    scores = ", ".join(map(format_metric, (trial.scores or {"": trial.score or 0.0}).values()))
    return f"{name}: {scores}  ({values})"


def _slice(found: Found, dimension: Dimension) -> Chart:
    """The score against one drawn value."""
    axis = _score_axis(found)
    frame = Frame(Axis.of(dimension), axis)
    wide = 0.5 / len(dimension.values) if dimension.values else 0.0
    having = [t for t in found.shown if dimension.name in t.values]
    dots = [
        _dot(found, t, frame.x(t.values[dimension.name], wide * _spread(t.number)), frame.y(t.score))
        for t in reversed(having)  # the best one on top
        if t.score is not None
    ]
    label = f"{found.names[dimension.name]}{' (logarithmic)' if dimension.is_log else ''}"
    return frame.chart(dimension.name, label, found.metric, dots, note=_condition(found, dimension))


def _spread(number: int) -> float:
    """A place from -0.5 to 0.5, so that equal values lie beside each other."""
    return (number * (math.sqrt(5) - 1) / 2) % 1 - 0.5


def _condition(found: Found, dimension: Dimension) -> str:
    """When a value is drawn, if not always."""
    having = [t for t in found.trials if dimension.name in t.values]
    if len(having) == len(found.trials):
        return ""
    groups = (d for d in found.open_dimensions if d.is_group)
    for group in groups:
        seen = {str(t.values[group.name]) for t in having if group.name in t.values}
        if seen and not seen & {str(t.values.get(group.name)) for t in found.trials if dimension.name not in t.values}:
            options = ", ".join(shortened(option, 30) for option in group.values if option in seen)
            return f"Only drawn with {found.names[group.name]}={options}."
    return f"Drawn in {len(having)} of {len(found.trials)} trials."


def _parallel(found: Found) -> Parallel:
    score = _score_axis(found)
    axes = [(shortened(found.names[d.name], 20), Axis.of(d)) for d in found.open_dimensions]
    count = len(found.threads)
    lines = [
        (
            [*(t.values.get(d.name) for d in found.open_dimensions), t.score],
            "best" if place == 0 else f"rank-{4 * place // count}",
            _says(found, t),
        )
        for place, t in enumerate(found.threads)
    ]
    return parallel([*axes, (shortened(found.metric, 20), score)], reversed(lines))
