"""Probabilities of classifiers that have none of their own, such as support vector machines."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import SVC, NuSVC

Array = np.ndarray[Any, Any]
_FOLDS = 5


class Calibrated:
    """A classifier, and a logistic regression of the classes on its decision values (Platt, 1999).

    The regression is fitted to the values of rows that the classifier was trained without, in folds; then the
    classifier is trained on all rows. Of several classes it is a multinomial one on the values of all of them, or of
    all pairs.
    """

    _estimator_type = "classifier"

    def __init__(self, inner: Any, seed: int) -> None:
        self.inner, self._seed = inner, seed

    def fit(self, features: Array, target: Array, sample_weight: Array | None = None) -> Calibrated:
        """Train; rows count by their weights, [N], if there are any. Raises ``ValueError`` if a class has one row."""
        weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.classes_ = np.unique(target)
        if len(self.classes_) > 2 and isinstance(self.inner, SVC | NuSVC):
            self.inner.set_params(decision_function_shape="ovo")
        fewest = min(_FOLDS, int(np.unique(target, return_counts=True)[1].min()))
        if fewest < 2:
            raise ValueError("probabilities are calibrated on rows that are held out, and a class has a single row")
        folds = StratifiedKFold(fewest, shuffle=True, random_state=self._seed)
        held_out = cross_val_predict(
            self.inner, features, target, cv=folds, method="decision_function", params=weighted
        )
        self.logistic = LogisticRegression(max_iter=2000).fit(held_out.reshape(len(target), -1), target, sample_weight)
        self.inner.fit(features, target, **weighted)
        return self

    def decisions(self, features: Array) -> Array:
        """Return the decision values, [N, D]."""
        return np.reshape(self.inner.decision_function(features), (len(features), -1))

    def predict(self, features: Array) -> Array:
        """Return the most likely classes, [N]."""
        predicted: Array = self.classes_[self.predict_proba(features).argmax(axis=1)]
        return predicted

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities, [N, K], of ``classes_``."""
        probabilities: Array = self.logistic.predict_proba(self.decisions(features))
        return probabilities
