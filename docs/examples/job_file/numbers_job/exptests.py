"""Tests that an experiment has to pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

from numbers_job.analysis import Analysis
from numbers_job.training import Classifier
from when_ml_pipeline_meets_hydra import Artifact, Refused, Several, frozen


@runtime_checkable
class ExpTest(Protocol):
    """One test."""

    def failure(self, train: Classifier, analysis: Analysis) -> str | None:
        """Return why the test fails; None if it passes."""


class FileExists:
    """The training has written a file."""

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name

    def failure(self, train: Classifier, analysis: Analysis) -> str | None:
        """Return what is missing."""
        return None if (train.path / self.file_name).is_file() else f"there is no {self.file_name}"


class AtLeast:
    """A metric has at least some value."""

    def __init__(self, metric: str, limit: float) -> None:
        self.metric, self.limit = metric, limit

    def failure(self, train: Classifier, analysis: Analysis) -> str | None:
        """Return how far it is off."""
        value = analysis.metrics.get(self.metric)
        if value is None:
            return f"{self.metric} was not measured"
        return None if value >= self.limit else f"{self.metric} is {value:.3f}, below {self.limit}"


@frozen
class Passed(Artifact):
    """``tests.txt``: the tests that were passed."""

    tests: tuple[str, ...]


def test(
    train: Classifier, analysis: Analysis, tests: Annotated[Mapping[str, ExpTest], Several()], *, out: Path
) -> Passed:
    """Refuse an experiment that fails a test, and say all that failed."""
    failures = {name: failure for name, test in tests.items() if (failure := test.failure(train, analysis))}
    for name in tests:
        print(f"{'FAILED' if name in failures else 'passed'}  {name}  {failures.get(name, '')}".rstrip())
    if failures:
        told = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
        raise Refused("ops.exptests.config.tests", f"{len(failures)} of {len(tests)} tests failed ({told})")
    (out / "tests.txt").write_text("\n".join(tests) + "\n")
    return Passed(path=out, tests=tuple(tests))
