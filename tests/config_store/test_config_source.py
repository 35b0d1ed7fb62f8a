"""Hydra's own tests of config sources, on a config store in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra.plugins.config_source import ConfigSource
from hydra.test_utils.config_source_common_tests import ConfigSourceTestSuite

from config_stores import new_database, stored
from database_servers import POSTGRES, postgres_server
from when_ml_pipeline_meets_hydra.composing.config_source import ConfigStoreSource

_WITH_DEFAULTS = "defaults:\n- foo: bar\nx: 10\n"
# What Hydra's tests look for.
ENTRIES = {
    "config_without_group": "group: false\n",
    "config_with_unicode": "group: 数据库\n",
    "config_with_defaults_list": "defaults:\n- dataset: imagenet\nkey: value\n",
    "primary_config": "foo: bar\n",
    "primary_config_with_non_global_package": "# @package foo\nfoo: bar\n",
    "dataset": "dataset_yaml: true\n",
    "dataset/imagenet": "name: imagenet\npath: /datasets/imagenet\n",
    "dataset/cifar10": "name: cifar10\npath: /datasets/cifar10\n",
    "optimizer/adam": "type: adam\nlr: 0.1\nbeta: 0.01\n",
    "optimizer/nesterov": "type: nesterov\nlr: 0.001\n",
    "level1/level2/nested1": "l1_l2_n1: true\n",
    "level1/level2/nested2": "l1_l2_n2: true\n",
    "configs_with_defaults_list/global_package": f"# @package _global_\n{_WITH_DEFAULTS}",
    "configs_with_defaults_list/group_package": f"# @package _group_\n{_WITH_DEFAULTS}",
    "package_test/none": "foo: bar\n",
    "package_test/explicit": "# @package a.b\nfoo: bar\n",
    "package_test/global": "# @package _global_\nfoo: bar\n",
    "package_test/group": "# @package _group_\nfoo: bar\n",
    "package_test/group_name": "# @package foo._group_._name_\nfoo: bar\n",
    "package_test/name": "# @package _name_\nfoo: bar\n",
}


@pytest.fixture(scope="module")
def type_() -> type[ConfigSource]:
    return ConfigStoreSource


class TestInSqlite(ConfigSourceTestSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def path(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        location = str(tmp_path_factory.mktemp("store") / "configs.db")
        stored(location, ENTRIES)
        return f"configs://{location}"


@POSTGRES
@pytest.mark.xdist_group("postgres")
class TestInPostgres(ConfigSourceTestSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def path(cls) -> Iterator[str]:
        with postgres_server() as server:
            location = new_database(server)
            stored(location, ENTRIES)
            yield f"configs://{location}"


def test_any_hydra_app_of_the_environment_has_the_scheme() -> None:
    from hydra.core.plugins import Plugins

    found: Any = Plugins.instance().discover(ConfigSource)
    assert ConfigStoreSource in found
