"""From the command line to a prediction over HTTP, with the real stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conftest import Cli
from model_server import ID, PASSWORD, running
from small_pipeline import inside
from when_ml_pipeline_meets_hydra.deploy.clusters.local import Local
from when_ml_pipeline_meets_hydra.serving.formats.examples import read_smoke
from when_ml_pipeline_meets_hydra.serving.formats.manifest import read_manifest
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

SMALL = "modeling/param=small"
WRONG = "s3cret-of-another-user"


def test_from_nothing_to_a_served_model(cli: Cli, own_home: Path, tmp_path: Path) -> None:
    done = cli("c=preprocessing,modeling,deployment", SMALL, "--multirun")
    assert done.code == 0, done.err
    assert "cars version 1 is active on local: smoke test passed on 80 rows" in done.out
    again = inside("c=preprocessing,modeling,deployment", SMALL, "--multirun")
    assert "cars version 1 on local is unchanged" in again.out
    bundle = Repository(own_home / "models").folder("cars", 1)
    smoke = read_smoke(bundle)
    stored = own_home / "store"
    provenance = read_manifest(bundle)[0].provenance
    predictions = stored / provenance.modeling[:2] / provenance.modeling / "files" / "predictions.parquet"
    trained = pl.read_parquet(predictions)["prediction"].head(len(smoke.rows)).to_list()
    with running(own_home / "models", tmp_path / "log") as server:
        status, answer = server.call("POST", "/v2/models/cars/predict", {"rows": smoke.rows})
        assert status == 200
        assert answer["predictions"] == pytest.approx(trained, rel=1e-5)
        changed = inside("c=deployment", SMALL, "m_param.learning_rate=0.4")
        assert "cars version 2 is active on local: smoke test passed on 80 rows (previous: version 1)" in changed.out
        assert server.call("POST", "/v2/models/cars/predict", {"rows": smoke.rows})[1]["model_version"] == "2"
        back = inside("c=deployment", "c/deployment_sub=rollback")
        assert "cars version 1 is active on local again (before: version 2)" in back.out
        assert server.call("POST", "/v2/models/cars/predict", {"rows": smoke.rows})[1]["model_version"] == "1"
    assert Local(path=own_home / "models").status("cars").previous == ()


def test_a_sweep_deploys_its_best_model_under_one_name(own_home: Path) -> None:
    """rmse has no direction in the command: the smallest one is the best."""
    words = ("c=modeling,prediction,deployment", SMALL, "modeling/model=random_forest,linear", "--multirun")
    refused = inside(*words)
    assert refused.code == 2
    assert "2 combinations would take the name 'cars' on local, each in place of the one before" in refused.err
    assert not (own_home / "store").exists()
    done = inside(*words, "objective.metric=rmse")
    assert done.code == 0, done.err
    rmse = {c["modeling/model"]: c["rmse"] for c in compared("modeling/model")}
    best = min(rmse, key=rmse.__getitem__)
    status = Local(path=own_home / "models").status("cars")
    assert [v.model for v in status.versions] == [best]
    assert status.active == 1
    assert done.err.count("deployment push: not chosen (rmse=") == 1
    assert done.err.count("prediction predict: not chosen (rmse=") == 1


def compared(key: str) -> list[dict[str, Any]]:
    found = json.loads(inside("runs", "compare", "last", "--json").out)["combinations"]
    return [{key: c["values"][key], **{m.partition(".")[2]: v for m, v in c["metrics"].items()}} for c in found]


@pytest.mark.integration
def test_to_a_server_elsewhere_and_no_secret_anywhere(cli: Cli, own_home: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with running(tmp_path / "there" / "models", tmp_path / "there" / "log") as server:
        words = ["c=deployment", SMALL, "preprocessing/dataset=wine", "modeling/model=linear"]
        words += ["deployment/cluster=http", f"cluster.id={ID}", f"cluster.url={server.url}"]
        other = [*words, "split.seed=1", "--multirun"]
        done = [cli(*words, f"cluster.pw={PASSWORD}"), cli(*other, f"cluster.pw={WRONG}")]
        assert [run.code for run in done] == [0, 3], done
        assert "wine version 1 is active on http" in done[0].out
        assert "HTTP Request" not in done[0].out, "what libraries log about each request"
        assert "cluster.pw" in done[1].err + done[1].out
        row = read_smoke(Repository(tmp_path / "there" / "models").folder("wine", 1)).rows[0]
        status, answer = server.call("POST", "/v2/models/wine/predict", {"rows": [row]})
        assert (status, answer["model_version"]) == (200, "1")
        environment = {"WMH_CLUSTER_PW": PASSWORD}
        done.append(cli(*other, env=environment))
        assert "wine version 2 is active on http" in done[2].out
        done.append(inside(*words, "c/deployment_sub=status", "--cfg", "job", f"cluster.pw={WRONG}"))
    for secret in (PASSWORD, WRONG):
        assert not any(secret in run.out + run.err for run in done)
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_what_is_wrong_with_a_cluster_is_reported_before_anything_runs(own_home: Path) -> None:
    done = inside("c=deployment", "deployment/cluster=http", "cluster.url=cluster:8080", "model_name='a/b'")
    assert done.code == 2
    for key in ("cluster.url", "cluster.pw", "model_name"):
        assert key in done.err
    assert not (own_home / "store").exists()


def test_a_canary_needs_a_cluster_that_judges(own_home: Path) -> None:
    words = ["deployment/cluster=mlflow", "cluster.url=http://127.0.0.1:1", "cluster.id=ann", "cluster.pw=of-mine"]
    done = inside("c=deployment", *words, "deployment/strategy=canary")
    assert done.code == 2
    assert "strategy: the cluster mlflow does not judge versions" in done.err
    assert not (own_home / "store").exists()
