from when_ml_pipeline_meets_hydra import run


class FarBehind:
    """Stops a combination that is far behind the best one of those before at the same place."""

    def __init__(self):
        self.best = {}

    def should_stop(self, score):
        place = score.stage, score.element, score.step
        best = self.best.get(place, score.value)
        self.best[place] = max(best, score.value)
        return score.value < best - 0.2


words = ["c=modeling", "modeling/model=gradient_boosting", "m_param.n_estimators=100,2", "objective.metric=r2"]
done = run(words, multirun=True, pruner=FarBehind())
print(*dict.fromkeys(outcome.reason for outcome in done.outcomes if outcome.status == "pruned"))
