"""The benchmarks work; what they measure is in the docs, and no test depends on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.integration
def test_startup_prints_a_row_for_each_pair() -> None:
    words = [sys.executable, str(BENCHMARKS / "startup.py"), "-n", "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == [
        "ours",
        "`--help`",
        "`--help`",
        "`c=help`",
        "three no-op steps, for the first time",
        "three no-op steps, nothing stored",
        "three no-op steps, unchanged",
        "`--help`",
        "three no-op steps, for the first time",
        "three no-op steps, nothing stored",
        "three no-op steps, unchanged",
    ]
    for name, ours, _, other, ratio in rows[1:]:
        assert min(float(ours), float(other), float(ratio)) > 0, name


@pytest.mark.slow
@pytest.mark.integration
def test_sweeps_prints_its_tables() -> None:
    words = [sys.executable, str(BENCHMARKS / "sweeps.py"), "--jobs", "3", "--most", "200", "-n", "1", "--quick"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = "36 jobs of 12 combinations", "3 jobs that do nothing", "ms per further job", "A typo in the last of 3"
    assert all(table in done.stdout for table in tables)


@pytest.mark.slow
@pytest.mark.integration("lightgbm", "pandas")
def test_tables_compares_ours_with_plain_scripts(tmp_path: Path) -> None:
    words = [
        sys.executable,
        str(BENCHMARKS / "tables.py"),
        "--rows",
        "30000",
        "-n",
        "1",
        "--keep",
        str(tmp_path / "kept"),
        "--param",
        "small",
        "--columns",
        "5",
        "10",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:]] == ["ours", "same", "least", "columns of texts", "5", "10"]
    assert all(float(number) > 0 for row in (*rows[1:4], *rows[5:]) for number in row[1:])
    assert "which is no worse" in done.stdout
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["houses-30000.parquet"]


@pytest.mark.slow
@pytest.mark.integration("h2load", "pandas")
def test_serving_prints_a_row_for_each_server(tmp_path: Path) -> None:
    words = ["--environments", str(tmp_path), "--seconds", "1", "-n", "1", "--only", "plain"]
    command = [sys.executable, str(BENCHMARKS / "serving/compare.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0].partition(",")[0] for row in rows] == ["server", "this server", "plain FastAPI handler"]
    assert all(float(number) > 0 for row in rows[1:] for number in row[1:])
