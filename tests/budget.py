"""How many examples Hypothesis tries where each of them is costly."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))  # how often more than in the quick tests


def costly(number: int) -> Callable[[Any], Any]:
    """Try ``number`` examples, always the same ones; ``tox -e integration`` tries more, at random."""

    def mark(test: Any) -> Any:
        budget = settings(
            max_examples=number * FACTOR,
            derandomize=FACTOR == 1,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],  # to shrink a command takes minutes
            database=None,
        )
        return pytest.mark.property(budget(test))

    return mark
