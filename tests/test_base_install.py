"""What the base install is made of, and that it is enough."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import polars as pl
import pytest

from conftest import Cli

NAME = "when_ml_pipeline_meets_hydra"
LARGE = {"pyarrow", "pandas", "lightgbm", "torch", "duckdb", "kubernetes", "mlflow"}
# Python reads this file when it starts, also in processes that the program starts.
BLOCKED = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *where):
        return None if name.partition(".")[0] in ("pyarrow", "pandas") else super().find_spec(name, *where)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def required(name: str) -> Iterator[str]:
    """What a distribution requires without any extra."""
    for requirement in distribution(name).requires or ():
        if "extra ==" not in requirement:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert match
            yield re.sub(r"[._-]+", "-", match[0]).lower()


def installed_with(name: str) -> set[str]:
    """All distributions that come with one."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        found.add(one := waiting.pop())
        try:
            waiting |= set(required(one)) - found
        except PackageNotFoundError:  # for another system or Python
            continue
    return found


def test_the_base_install_brings_nothing_large_that_it_can_do_without() -> None:
    found = installed_with(NAME)
    assert {"polars", "scikit-learn", "onnxruntime"} <= found
    assert not LARGE & found


@pytest.fixture
def blocked(tmp_path: Path) -> Mapping[str, str]:
    """An environment whose Pythons have neither pyarrow nor pandas."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCKED)
    environment = {"PYTHONPATH": f"{tmp_path / 'blocked'}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")}
    code = "import polars\ntry: import pyarrow\nexcept ImportError: print('there is none')"
    command = [sys.executable, "-c", code]
    assert "there is none" in subprocess.check_output(command, env={**os.environ, **environment}, text=True)
    return environment


def boards() -> pl.DataFrame:
    """300 rows with a column of each kind that a Parquet file may have."""
    k = pl.int_range(300)
    return pl.select(
        width=(k * 37 % 90) / 10,
        kind=pl.when(k % 7 > 0).then(pl.format("kind {}", k % 3)).cast(pl.Categorical),
        grade=pl.format("{}", k % 2).cast(pl.Enum(["0", "1"])),
        sawn=pl.date(2026, 1, 1) + pl.duration(days=k % 200),
        sold=pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(hours=k),
        dry=k % 5 > 1,
        price=(k % 40).cast(pl.Decimal(10, 2)),
        knots=(k % 11).cast(pl.UInt8),
        weight=(k * 37 % 90) / 3 + k % 3,
    )


@pytest.mark.slow
@pytest.mark.integration
def test_parquet_files_and_tables_do_without_pyarrow(cli: Cli, blocked: Mapping[str, str]) -> None:
    boards().write_parquet("boards.parquet")
    words = ["preprocessing/dataset=parquet", "dataset.path=boards.parquet", "dataset.target=weight"]
    words += ["prediction/rows=parquet", "new_rows.path=boards.parquet", "m_param.n_estimators=5"]
    stages = "c=preprocessing,modeling,deployment,prediction,analysis"
    code, out, err = cli(stages, *words, "--multirun", "hydra.launcher.n_jobs=2", env=blocked)
    assert code == 0, out + err
    assert "boards version 1 is active on local" in out
    assert "300 rows predicted" in out

    with sqlite3.connect("shop.sqlite") as shop:
        shop.execute("CREATE TABLE boards (width REAL, kind TEXT, sawn DATE, dry BOOLEAN, weight REAL)")
        rows = boards().select("width", "kind", pl.col("sawn").cast(pl.String), "dry", "weight").rows()
        shop.executemany("INSERT INTO boards VALUES (?, ?, ?, ?, ?)", rows)
    features = "[{name:width,dtype:float},{name:kind,dtype:string},{name:sawn,dtype:date},{name:dry,dtype:bool}]"
    words = ["preprocessing/dataset=table", "connection.path=shop.sqlite", "dataset.batch=100", "schema.name=boards"]
    words += ["schema.target={name:weight,dtype:float}", f"schema.features={features}", "m_param.n_estimators=5"]
    code, out, err = cli("c=modeling", *words, env=blocked)
    assert code == 0, out + err
    assert "boards: 240 rows to train on, 60 held out, 10 features" in out
