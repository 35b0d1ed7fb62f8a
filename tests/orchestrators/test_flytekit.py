"""A Flyte service: an execution with typed inputs for each combination, through flytekit's own client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyte_server import FlyteServer, flyte_server
from small_pipeline import DIR, SMALL, inside, install, steps_run

pytestmark = [pytest.mark.integration("flytekit"), pytest.mark.xdist_group("flytekit")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlyteServer]:
    with flyte_server(tmp_path_factory.mktemp("flyte") / "service", {}) as started:
        yield started


def launcher(server: FlyteServer, *words: str) -> tuple[str, ...]:
    places = (f"hydra.launcher.endpoint={server.endpoint}", "hydra.launcher.insecure=true", "hydra.launcher.image=wmh:1")
    variables = {"PYTHONPATH": SMALL, "SMALL_TRACE": os.environ["SMALL_TRACE"]}
    given = (f"+hydra.launcher.env.{name}={value}" for name, value in variables.items())
    return ("hydra/launcher=flytekit", *places, *given, *words)


def test_combinations_are_executions(server: FlyteServer, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    done = inside(*DIR, "c=fit,ship", "source.numbers=[1,2],[1,2,3]", *launcher(server), "--multirun")
    print(done.out, done.err)
    for f in own_home.rglob("orchestrator/*"): print(f, f.read_text()[:3000])
    assert done.code == 0, done.err
    assert dict(steps_run()) == {"gather": 2, "fit": 2, "ship": 2}
