"""The life of a model on a platform that has versions and no requests of its own to divide."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tiny_models as tiny
from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster, Judging
from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status

ROWS = [tiny.json_row(row) for row in tiny.ROWS]
DONE = [
    ("push", 1, "run-1"),
    ("activate", 1, None),
    ("push", 2, "run-1"),
    ("activate", 2, None),
    ("rollback", 1, "run-2"),
    ("undeploy", 1, None),
    ("rollback", 1, None),
]


def regressions(root: Path) -> list[Path]:
    """Bundles of regressions with the slopes 1 and 2."""
    data = tiny.prepared(root / "data")
    folders = [root / "1", root / "2"]
    for number, folder in enumerate(folders, start=1):
        folder.mkdir()
        bundling.build(data, tiny.regression(root / f"m{number}", slope=float(number)), folder)
    return folders


def prices(slope: float) -> Any:
    """What a regression answers for ``ROWS``."""
    return pytest.approx([tiny.price(row, slope) for row in tiny.ROWS], rel=1e-6)


def eventually(look: Callable[[], bool]) -> None:
    """Wait until it is so."""
    for _ in range(1200):
        if look():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that")


class Killed(BaseException):
    """Ends a change in the middle."""


@contextmanager
def killed_at(owner: type, step: str) -> Iterator[None]:
    """Kill whoever comes to that step."""

    def die(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, step, die)
        with pytest.raises(Killed):
            yield


def live(cluster: Cluster, bundles: list[Path]) -> Status:
    """Push, activate, roll back, undeploy and put back the model ``things``."""
    assert isinstance(cluster, Cluster)
    assert cluster.status("things").versions == ()
    for number, slope in enumerate((1.0, 2.0), start=1):
        assert cluster.push("things", bundles[number - 1], run="run-1") == number
        assert cluster.status("things").active == (number - 1 or None)
        assert cluster.predict("things", ROWS, number).values == prices(slope)
        assert cluster.activate("things", number).active == number
    assert cluster.push("things", bundles[0]) == 1, "the same bundle twice is one version"
    assert cluster.activate("things", 2).active == 2
    assert cluster.predict("things", ROWS).values == prices(2.0)
    after = cluster.rollback("things", run="run-2")
    assert (after.active, after.previous) == (1, ())
    assert cluster.predict("things", ROWS).values == prices(1.0)
    with pytest.raises(Refused, match="no earlier version"):
        cluster.rollback("things")
    assert not isinstance(cluster, Judging), "who divides no requests says so before anything runs"
    for _ in range(2):
        assert cluster.undeploy("things").active is None
    with pytest.raises(Refused, match="no version of 'things' is active"):
        cluster.predict("things", ROWS)
    found = cluster.rollback("things")
    assert [(event.action.value, event.version, event.run) for event in found.history] == DONE
    assert found.versions[0].metrics == {"r2": 1.0}
    return found
