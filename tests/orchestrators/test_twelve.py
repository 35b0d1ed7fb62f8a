"""Twelve combinations over two databases: with Flyte 2 on this machine, and as executions of a Flyte service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from database_servers import PASSWORD, POSTGRES, SNOWFLAKE, postgres_server, snowflake_server
from flyte_server import FlyteServer, flyte_server
from orchestrators.stories import newest, statuses
from small_pipeline import inside

pytestmark = [
    pytest.mark.integration("flyte", "flytekit"),
    *(POSTGRES, SNOWFLAKE, pytest.mark.slow),
    pytest.mark.xdist_group("flytekit"),
]
TABLE = "preprocessing/dataset=table"
TABLES = ("preprocessing/connection=snowflake,postgres", "preprocessing/schema=cars,planes", "--multirun")
TWELVE = (
    *("c=modeling", TABLE, *TABLES, "modeling/model=gradient_boosting"),
    *("modeling/param=large,medium,small", "m_param.n_estimators=3"),
)
ALL = {("preprocessing", "done"): 4, ("modeling", "done"): 12}


@pytest.fixture(scope="module")
def databases() -> Iterator[Mapping[str, str]]:
    """PostgreSQL and fakesnow; the variables that lead clients to both."""
    with postgres_server() as postgres, snowflake_server() as snowflake:
        yield {**postgres.environment, **snowflake}


@pytest.fixture(scope="module")
def service(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlyteServer]:
    with flyte_server(tmp_path_factory.mktemp("flyte") / "service", databases) as started:
        yield started


@pytest.fixture
def tables(databases: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of cars and planes in both databases."""
    for name, value in databases.items():
        monkeypatch.setenv(name, value)
    done = inside("c=preprocessing", "c/preprocessing_sub=load", TABLE, *TABLES)
    assert done.code == 0, done.err


@pytest.mark.usefixtures("tables")
def test_twelve_combinations_read_each_table_once(service: FlyteServer, own_home: Path) -> None:
    local = own_home / "local"
    done = inside(*TWELVE, "hydra/launcher=flyte", f"home={local}")
    assert done.code == 0, done.err
    assert statuses(newest(local)) == ALL

    options = {"endpoint": service.endpoint, "insecure": "true", "image": "wmh:1"}
    words = (*TWELVE, "hydra/launcher=flytekit", *(f"hydra.launcher.{k}={v}" for k, v in options.items()))
    refused = inside(*words, "m_param.learning_rate=1.5")
    assert refused.code == 2
    assert "m_param.learning_rate=1.5: expected a number, 0 < x < 1" in refused.err
    assert not [*(service.folder / "requests").iterdir()]

    done = inside(*words)
    assert done.code == 0, done.err
    record = newest(own_home)
    assert statuses(record) == ALL
    assert sorted(s["key"] for s in record.steps) == sorted(s["key"] for s in newest(local).steps)
    urls = [line.split(": ", 1) for line in done.err.splitlines() if line.startswith("Flyte runs jobs ")]
    assert [jobs for jobs, _ in urls] == [f"Flyte runs jobs {number}" for number in range(12)]
    assert len({url for _, url in urls}) == 12
    assert len(service.requests("CreateExecution")) == 12

    remote = service.remote()
    configs = dict(record.configs())
    for number, (_, url) in enumerate(urls):
        execution = remote.sync(remote.fetch_execution(name=url.rpartition("/")[2]))
        config, inputs = configs[number], execution.inputs
        assert execution.is_successful
        assert {"dataset", "connection", "schema", "p_param", "split", "model", "m_param"} <= {*inputs.literals}
        found = {"learning_rate": inputs["m_param"].learning_rate, "max_depth": inputs["m_param"].max_depth}
        assert found == {name: config["m_param"][name] for name in found}
        assert asdict(inputs["schema"])["name"] == config["schema"]["name"]
        connection = asdict(inputs["connection"])
        assert {"host", "port"} <= connection.keys()
        assert not {"password"} & connection.keys()
        (trained,) = (s for s in record.steps if s["stage"] == "modeling" and s["jobs"] == [number])
        assert execution.outputs["modeling_train_metrics"] == pytest.approx(trained["metrics"])
        assert inputs["modeling_train_key"] == trained["key"]

    sent = len([*(service.folder / "requests").iterdir()])
    again = inside(*words)
    assert (again.code, again.err.count("stored (nothing changed)")) == (0, 16)
    assert len([*(service.folder / "requests").iterdir()]) == sent
    for file in (*own_home.rglob("*"), *service.folder.rglob("*")):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file
