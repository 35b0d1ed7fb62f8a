"""Models of the repository on pages: versions, canary, history; promoted and rolled back as by the commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cluster_life import regressions
from conftest import Cli
from web_app import WebApp, words_of
from when_ml_pipeline_meets_hydra.serving.formats.versions import Terms
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

TERMS = Terms(share=0.2, requests=40, minutes=5, errors=0, latency=2, agreement=0.9, sample=0.25, tolerance=0.25)


@pytest.fixture
def repository(web: WebApp, tmp_path: Path) -> Repository:
    """A repository in which version 1 of cars is active, and version 2 its canary."""
    found = Repository(web.repository)
    for bundle in regressions(tmp_path / "bundles"):
        found.add("cars", bundle, "ann", "run-1")
    found.activate("cars", 1, "ann")
    found.canary("cars", 2, TERMS, "ann")
    return found


def test_nothing_is_deployed_at_first(web: WebApp) -> None:
    page = words_of(web.ann.page("/deployments"))
    assert "No models yet" in page
    assert web.ann.get("/deployments/cars").status_code == 404
    assert web.ann.get("/deployments/..%2F..%2Fetc").status_code == 404


def test_versions_canary_and_history_are_shown_with_the_commands(web: WebApp, repository: Repository, cli: Cli) -> None:
    assert "cars version 1 version 2, 20.0 %" in words_of(web.bob.page("/deployments"))
    page = words_of(web.bob.page("/deployments/cars"))
    assert "Version 1 is active; version 2 is a canary and gets 20.0 % of the requests" in page
    assert "40 in at least 5 minutes" in page
    assert "Version 1 received no requests in these days" in page
    assert cli(*shlex.split(f"cluster drift cars cluster.path={web.repository}")).code == 0
    assert "canary of version 2 ann" in page
    command = f"wmh c=deployment c/deployment_sub=promote model_name=cars cluster.path={web.repository}"
    assert command in page
    assert "You may look." in page
    assert 'type="submit">Promote' not in web.bob.page("/deployments/cars")
    assert cli(*shlex.split(command)[1:]).code == 0
    assert repository.status("cars").active == 2
    assert "promote of version 2" in words_of(web.bob.page("/deployments/cars"))


def test_changes_need_the_role_and_what_was_seen(web: WebApp, repository: Repository) -> None:
    seen = str(len(repository.status("cars").history))
    for action in ("promote", "rollback", "undeploy"):
        assert web.bob.submit(f"/deployments/cars/{action}", events=seen).status_code == 403
        assert web.ann.post(f"/deployments/cars/{action}", data={"events": seen}).status_code == 403
        assert web.ann.submit(f"/deployments/cars/{action}", events="1").status_code == 403
    assert web.ann.submit("/deployments/cars/delete", events=seen).status_code == 403
    assert repository.status("cars").canary
    assert "Version 2 of cars is active." in words_of(web.ann.done("/deployments/cars/promote", events=seen))
    seen = str(len(repository.status("cars").history))
    assert "Version 1 of cars is active." in words_of(web.ann.done("/deployments/cars/rollback", events=seen))
    assert (repository.status("cars").history[-1].who, repository.status("cars").active) == ("ann", 1)
    seen = str(len(repository.status("cars").history))
    assert "No version of cars is active." in words_of(web.ann.done("/deployments/cars/undeploy", events=seen))
