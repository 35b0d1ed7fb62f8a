"""Wall time and memory from a large Parquet file to a trained LightGBM, against a plain script with pandas.

    python benchmarks/tables.py [--rows 20000000] [-n ROUNDS] [--keep FOLDER] [--threads 2] [--param medium]

Needs pandas and pyarrow besides the extra lightgbm. The file is written first, which is not measured: ten columns, of
which four hold random numbers (two of these with missing ones), two whole numbers, three texts, and one the number to
predict. Then the programs run in turn, each in a process of its own:

* ours: ``c=preprocessing,modeling --multirun`` in an empty home. It looks through all data, holds 20 % of the rows out,
  fits, writes matrices and ONNX graphs, trains (its one-hot categories are put together again as LightGBM's own),
  evaluates, and compares both graphs with what they stand for.
* same: a script of the same work in pandas and scikit-learn: as many rows held out, imputation by the median,
  indicators of missing values, scaling and one-hot categories (fitted on the training rows), the same parameters of
  LightGBM, metrics on the held-out rows. It checks, compares and keeps nothing.
* least: what LightGBM asks for at least: categories as pandas has them, numbers as they are.

Afterwards it prepares CSV files of 200 rows with more and more columns of texts (``--columns``), in empty homes, too:
what a column costs must not grow with their number.

Time is wall-clock time of the whole process, and CPU time (user and system) beside it, since others may use the machine
too; memory is the most that was resident at once in the largest of its processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from startup import OURS, TREE, machine
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBMParam

ROWS_AT_ONCE = 1_000_000
TEXTS = {"region": [f"region {k}" for k in range(12)], "kind": ["flat", "house", "loft", "studio", "villa"]}
TEXTS |= {"colour": ["black", "blue", "brown", "green", "grey", "red", "white", "yellow"]}
CLOSE = 0.01  # of R²
COSTS = ("wall", "cpu", "memory")
METRICS = ("r2", "mae", "rmse")

START = """
    import json
    import sys

    import pandas as pd
    from lightgbm import LGBMRegressor
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
    from sklearn.model_selection import train_test_split

    file, parameters = sys.argv[1], json.loads(sys.argv[2])
    frame = pd.read_parquet(file)
"""
END = """
    model = LGBMRegressor(**parameters).fit(x_train, y_train)
    predicted = model.predict(x_test)
    found = {"r2": r2_score(y_test, predicted), "mae": mean_absolute_error(y_test, predicted)}
    print(json.dumps({**found, "rmse": root_mean_squared_error(y_test, predicted)}))
"""
SAME = """
    y = frame.pop("price")
    x_train, x_test, y_train, y_test = train_test_split(frame, y, test_size=0.2, random_state=0)
    del frame, y
    numbers = x_train.select_dtypes("number").columns
    texts = x_train.columns.difference(numbers)
    medians = x_train[numbers].median()
    filled = x_train[numbers].fillna(medians)
    means, deviations = filled.mean(), filled.std(ddof=0)
    del filled
    incomplete = [name for name in numbers if x_train[name].hasnans]
    values = {name: sorted(x_train[name].unique()) for name in texts}


    def prepared(rows):
        parts = [(rows[numbers].fillna(medians) - means) / deviations, rows[incomplete].isna().add_suffix(" missing")]
        for name in texts:
            categories = pd.Categorical(rows[name], values[name])
            parts.append(pd.get_dummies(categories, prefix=name).set_axis(rows.index))
        return pd.concat(parts, axis=1)


    x_train, x_test = prepared(x_train), prepared(x_test)
"""
LEAST = """
    texts = frame.select_dtypes(exclude="number").columns
    frame[texts] = frame[texts].astype("category")
    y = frame.pop("price")
    x_train, x_test, y_train, y_test = train_test_split(frame, y, test_size=0.2, random_state=0)
    del frame, y
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a program took and found: seconds, GB, and the metrics on the held-out rows."""

    wall: float
    cpu: float
    memory: float
    r2: float
    mae: float
    rmse: float


def write(file: Path, rows: int) -> None:
    """Write the data, the same for the same number of rows."""
    random = np.random.default_rng(0)
    with writer(file) as append:
        for start in range(0, rows, ROWS_AT_ONCE):
            append(table(random, min(ROWS_AT_ONCE, rows - start)))


@contextmanager
def writer(file: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Appends tables to a Parquet file, which appears whole."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        part = Path(folder) / file.name
        opened: list[pq.ParquetWriter] = []

        def append(rows: pa.Table) -> None:
            if not opened:
                opened.append(pq.ParquetWriter(part, rows.schema))
            opened[0].write_table(rows)

        yield append
        opened[0].close()
        part.rename(file)


def table(random: np.random.Generator, rows: int) -> pa.Table:
    """Houses and their prices."""
    area, age = random.gamma(4.0, 25.0, rows), random.exponential(30.0, rows)
    distance, noise = random.lognormal(1.0, 0.8, rows), random.normal(50.0, 10.0, rows)
    rooms, year = random.poisson(3, rows) + 1, random.integers(1950, 2026, rows)
    codes = {name: random.choice(len(values), rows, p=shares(len(values))) for name, values in TEXTS.items()}
    price = 2 * area - 0.8 * age + 8 * rooms + 0.3 * (year - 1950) - 10 * codes["region"] - 0.5 * noise
    price += 30 * np.log1p(distance) * (codes["kind"] == 1) + 15 * (codes["kind"] == 2) + random.normal(0, 30, rows)
    columns = {"area": area, "noise": noise, "rooms": rooms, "year": year}
    missing = {"age": (age, 0.1), "distance": (distance, 0.03)}
    return pa.table(
        {
            **columns,
            **{name: pa.array(x, mask=random.random(rows) < share) for name, (x, share) in missing.items()},
            **{name: pa.array(np.array(values)[codes[name]]) for name, values in TEXTS.items()},
            "price": price,
        }
    )


def shares(count: int) -> Any:
    """Some categories are more frequent than others."""
    weights = 1 / np.arange(1, count + 1)
    return weights / weights.sum()


# The same number for all programs, instead of that which early stopping finds.
TREES = {"small": 10, "medium": 80, "large": 200}


def parameters(name: str, threads: int) -> dict[str, Any]:
    """What our model asks LightGBM for, in the words of its scikit-learn estimator."""
    given = {"n_estimators": TREES[name], "seed": 0}
    param = LightGBMParam(**{**option(f"modeling/param/lightgbm/{name}.yaml"), **given})
    model = option("modeling/model/lightgbm.yaml")
    return {
        "n_estimators": param.n_estimators,
        "learning_rate": param.learning_rate,
        "max_depth": param.max_depth or -1,
        "num_leaves": param.num_leaves,
        "min_child_samples": param.min_samples_leaf,
        "reg_alpha": param.l1,
        "reg_lambda": param.l2,
        "subsample": model["subsample"],
        "subsample_freq": 1,
        "colsample_bytree": model["max_features"],
        "random_state": param.seed,
        "n_jobs": threads,
        "verbosity": -1,
    }


def option(name: str) -> dict[str, Any]:
    """The values of an option file that comes with the program."""
    content = yaml.safe_load((TREE / name).read_text())
    return {k: v for k, v in content.items() if k != "_target_"}


class Programs:
    """The three programs, and a folder to run them in."""

    def __init__(self, folder: Path, data: Path, param: str, threads: int) -> None:
        self.folder, self.home = folder, folder / "home"
        for name, script in {"same": SAME, "least": LEAST}.items():
            (folder / f"{name}.py").write_text("".join(map(dedent, (START, script, END))))
        words = json.dumps(parameters(param, threads))
        self.commands: dict[str, Sequence[str]] = {
            "ours": (
                *(*OURS, "c=preprocessing,modeling", "--multirun", "preprocessing/dataset=parquet"),
                *(f"dataset.path={data}", "dataset.target=price", "modeling/model=lightgbm"),
                *(f"modeling/param={param}", f"model.n_jobs={threads}", "m_param.patience=null"),
                f"m_param.n_estimators={TREES[param]}",
            ),
            **{name: (sys.executable, str(folder / f"{name}.py"), str(data), words) for name in ("same", "least")},
        }
        self.environment = {**os.environ, "WMH_HOME": str(self.home)}

    def run(self, name: str) -> Cost:
        """Run a program; ours with nothing stored."""
        wall, used, output = self._measured(self.commands[name])
        found = self._stored() if name == "ours" else json.loads(output.splitlines()[-1])
        metrics = {name: found[name] for name in METRICS}
        return Cost(wall=wall, cpu=used.ru_utime + used.ru_stime, memory=used.ru_maxrss * 1024 / 1e9, **metrics)

    def prepare(self, columns: int) -> float:
        """Return the CPU seconds of preparing a CSV file with so many columns of texts."""
        file = self.folder / "wide.csv"
        names = ",".join([*(f"c{k}" for k in range(columns)), "y"])
        rows = (",".join([*(f"text {(7 * row + k) % 5}" for k in range(columns)), str(row)]) for row in range(200))
        file.write_text("\n".join([names, *rows]))
        words = ("c=preprocessing", "preprocessing/dataset=csv", f"dataset.path={file}", "dataset.target=y")
        _, used, _ = self._measured([*OURS, *words])
        return used.ru_utime + used.ru_stime

    def _measured(self, command: Sequence[str]) -> tuple[float, resource.struct_rusage, str]:
        """Run a command with nothing stored: wall-clock seconds, what it used, and its output."""
        shutil.rmtree(self.home, ignore_errors=True)
        began = time.perf_counter()
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=said, stderr=said)
            # Of the process and of those that it started and waited for: the largest of all.
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            output = said.read()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}\nexit code {process.returncode}\n{output}")
        return wall, used, output

    def _stored(self) -> dict[str, float]:
        """The metrics of the only model in the store."""
        (file,) = self.home.rglob("metrics.json")
        metrics: dict[str, float] = json.loads(file.read_text())["metrics"]
        return metrics


def main() -> None:
    """Measure and print the table, as Markdown."""
    parser = argparse.ArgumentParser(description="From Parquet to a trained LightGBM, against plain scripts")
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of the data (default: 20 million)")
    parser.add_argument("-n", type=int, default=3, metavar="ROUNDS", help="rounds (default: 3)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the data are kept, and found the next time")
    parser.add_argument("--threads", type=int, default=2, help="threads of LightGBM, in all programs (default: 2)")
    parser.add_argument("--param", default="medium", help="option of modeling/param (default: medium)")
    parser.add_argument("--columns", type=int, nargs="*", default=[250, 2000], help="of wide CSV files (250 2000)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tables-") as temporary:
        folder = (args.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / f"houses-{args.rows}.parquet"
        if not data.exists():
            write(data, args.rows)
        programs = Programs(Path(temporary), data, args.param, args.threads)
        costs: dict[str, list[Cost]] = {name: [] for name in programs.commands}
        for _ in range(args.n):
            for name, measured in costs.items():
                measured.append(programs.run(name))
                print(f"{name}: {json.dumps(asdict(measured[-1]))}", file=sys.stderr, flush=True)
        wide = {
            columns: statistics.median(programs.prepare(columns) for _ in range(args.n)) for columns in args.columns
        }
        size = f"{args.rows:,} rows × 10 columns, {data.stat().st_size / 1e9:.2f} GB of Parquet"
    print(f"{size}; modeling/param={args.param}, {args.threads} threads; medians of {args.n} rounds; {machine()}\n")
    report(costs)
    if wide:
        report_wide(wide)


def report_wide(cpu: dict[int, float]) -> None:
    """The CPU seconds of files with more and more columns, and how often the first one's they are."""
    first = next(iter(cpu.values()))
    print("\n| columns of texts | CPU s | of the first |\n|---:|---:|---:|")
    for columns, seconds in cpu.items():
        print(f"| {columns:,} | {seconds:.1f} | {seconds / first:.1f} |")


def report(costs: dict[str, list[Cost]]) -> None:
    """The table, and whether our model is as good as that of the same work."""
    ours = costs["ours"]
    print("| | s | CPU s | GB | R² | ours: of s | of CPU s | of GB |\n|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, measured in costs.items():
        wall, cpu, memory = (statistics.median(getattr(c, what) for c in measured) for what in COSTS)
        ratios = (statistics.median(_ratios(ours, measured, what)) for what in COSTS)
        shown = f"{wall:.1f} | {cpu:.1f} | {memory:.2f} | {measured[0].r2:.4f}"
        print(f"| {name} | {shown} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    above = ours[0].r2 - costs["same"][0].r2
    print(f"\nR² of ours is that of same {above:+.4f}, which is {'worse' if above < -CLOSE else 'no worse'}")


def _ratios(ours: Sequence[Cost], other: Sequence[Cost], what: str) -> list[float]:
    return [getattr(a, what) / getattr(b, what) for a, b in zip(ours, other, strict=True)]


if __name__ == "__main__":
    main()
