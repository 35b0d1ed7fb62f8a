"""Schedule of the steps of a plan by their dependencies."""

from __future__ import annotations

import heapq
from collections import Counter

from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.verdicts import Verdicts
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step

STOPS = "the run stops at the first error"
_GOOD = (Status.DONE, Status.STORED)


class Schedule:
    """Hands out the steps that are ready to run or to be skipped, in the order of the plan."""

    def __init__(self, plan: Plan) -> None:
        self._steps = {s.key: s for s in plan.steps if s.action is not Action.NOT_NEEDED}
        self._places = {key: place for place, key in enumerate(self._steps)}
        self._keys = list(self._steps)
        self._before = {key: sum(k in self._steps for k in _before(s)) for key, s in self._steps.items()}
        self._after: dict[str, list[str]] = {}
        self._users: Counter[str] = Counter()
        for key, step in self._steps.items():
            for before in _before(step):
                self._after.setdefault(before, []).append(key)
            self._users.update(set(step.needs.values()))
        self._verdicts = Verdicts(self._steps.values())
        for key, step in self._steps.items():
            self._before[key] += len(step.candidacies)
        self._ready = [self._places[key] for key, number in self._before.items() if not number]
        self._reasons: dict[str, str] = {}
        self._pruned: set[str] = set()
        self._artifacts: dict[str, Artifact] = {}

    def first(self) -> Step | None:
        """Return the next ready step, if there is one."""
        return self._steps[self._keys[self._ready[0]]] if self._ready else None

    def take(self) -> None:
        """Remove the next ready step."""
        heapq.heappop(self._ready)

    def decided(self, step: Step) -> Step | Outcome:
        """Return a ready step if it is to run or to be loaded, otherwise its outcome.

        It is skipped if a dependency did not succeed, and not chosen if another combination is better, or its own was
        pruned.
        """
        if reason := self._reasons.get(step.key):
            is_not_chosen = step.key in self._pruned and step.action is Action.IF_BEST
            status = Status.NOT_CHOSEN if is_not_chosen else Status.SKIPPED
            return Outcome(step=step, status=status, reason=reason)
        return self._verdicts.decided(step)

    def received(self, step: Step) -> dict[str, Artifact]:
        """Return the artifacts that a step receives, by parameter."""
        return {name: self._artifacts[key] for name, key in step.needs.items() if key in self._artifacts}

    def ended(self, outcome: Outcome) -> None:
        """Record the outcome of a step; dependent steps become ready, artifacts without further users are dropped."""
        step = outcome.step
        if outcome.artifact and self._users[step.key]:
            self._artifacts[step.key] = outcome.artifact
        for key in set(step.needs.values()):
            self._users[key] -= 1
            if not self._users[key]:
                self._artifacts.pop(key, None)
        for key in self._after.pop(step.key, ()):
            self._before[key] -= 1
            if step.key in self._steps[key].after:
                self._skip_after(outcome, key)
            self._release(key)  # also a skipped one: effects must not overtake each other
        for key in self._verdicts.ended(outcome):
            self._before[key] -= 1
            self._release(key)

    def _skip_after(self, outcome: Outcome, key: str) -> None:
        """Note why a dependent step cannot run, if the outcome is the reason."""
        status, own = outcome.status, outcome.step.key
        if key not in self._reasons and (status is Status.PRUNED or own in self._pruned):
            self._pruned.add(key)
            self._reasons[key] = outcome.reason
        elif status not in (*_GOOD, Status.NOT_CHOSEN):
            stops = outcome.reason == STOPS
            self._reasons.setdefault(key, STOPS if stops else f"{outcome.step.call.title} {status}")

    def _release(self, key: str) -> None:
        if not self._before[key]:
            heapq.heappush(self._ready, self._places[key])


def _before(step: Step) -> list[str]:
    """Return the keys of the steps that have to end before a step can start."""
    return [*step.after, *([step.follows] if step.follows and step.follows not in step.after else [])]
