"""The benchmarks work; what they measure is in the docs, and no test depends on it."""

from __future__ import annotations

import json
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


@pytest.mark.slow
@pytest.mark.integration("lightgbm", "pandas", "pyarrow")
def test_quality_goes_on_where_it_was_and_writes_its_tables(tmp_path: Path) -> None:
    results, page = tmp_path / "results.jsonl", tmp_path / "page.md"
    words = [
        sys.executable,
        str(BENCHMARKS / "quality.py"),
        "--results",
        str(results),
        "--tables",
        "diabetes,breast cancer",
    ]
    names = ["naive", "ours", "LightGBM", "HistGradientBoosting", "RandomForest"]

    def measured(*further: str) -> str:
        done = subprocess.run([*words, *further], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    measured("--splits", "1", "--contenders", ",".join(names))
    assert "split 0" not in (said := measured("--splits", "2", "--contenders", "naive,ours"))
    assert said.count("split 1") == 4
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert {(row["table"], row["contender"]) for row in rows if row["split"] == 0} == {
        (table, name) for table in ("diabetes", "breast cancer") for name in names
    }
    assert all(row["error"] > 0 for row in rows)
    naive = {(row["table"], row["split"]): row["error"] for row in rows if row["contender"] == "naive"}
    assert all(row["error"] < naive[row["table"], row["split"]] for row in rows if row["contender"] != "naive")
    begin, end = "<!-- written by benchmarks/quality.py -->", "<!-- end of what it wrote -->"
    page.write_text(f"# Page\n\n{begin}\nold\n{end}\n\nafter\n")
    measured("--report", "--write", str(page))
    text = page.read_text()
    assert "old" not in text
    assert text.startswith(f"# Page\n\n{begin}\n\n| error: ours ÷ |")
    assert text.endswith(f"{end}\n\nafter\n")
    assert "| LightGBM | 2 | " in text
    assert "| breast cancer | 569 × 30 | log loss | " in text
    assert measured("--report").strip() in text


@pytest.mark.slow
@pytest.mark.integration("torch", "onnxscript")
def test_gpu_compares_with_a_plain_loop_and_says_where_there_is_none() -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--epochs", "1", "-n", "1", "--resolution", "8"]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, timeout=600)
    assert "Two trainings with one seed: the same bytes" in done.stdout, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["training", "plain loop", "ours", "ours, mixed precision"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout == "not run: no GPU\n" or "PyTorch" in done.stdout
