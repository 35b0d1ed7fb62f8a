"""Errors and seconds of our models beside other libraries', all with their defaults, on the same rows of public tables.

    python benchmarks/quality.py --results FILE [--tables Boston,OJ] [--contenders ours,LightGBM] [--splits 3]
    python benchmarks/quality.py --results FILE --report [--write docs/reference/quality.md]

Needs pandas, pyarrow, lightgbm, catboost and xgboost; AutoGluon is in an environment of its own, whose interpreter
``--autogluon`` names. The packages of the tables are installed into ``--data``, once.

For each table, split and contender it adds a line to FILE, and skips what is there, so that it can run in pieces and go
on after an interruption; with ``--again`` the contenders run once more, and the later lines count. A fifth of the rows
is held out, stratified by class, 10 times
(3 times above 2,000 rows). No contender
receives the target of the held-out rows: ours, which asks for one, gets that of other rows.

The error is the root mean squared error (RMSE), or the log loss in nats, always computed here. Everything has one
thread. Seconds are CPU time (user and system, children included) from the files to the predictions, as the machine
may have other work; those of ours include the preparation, the export to ONNX and its comparison with the model.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from quality_contenders import Contender, Handed, contenders, version_of
from quality_report import Result, read, tables, write
from quality_tables import TABLES
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split

HELD_OUT = 0.2
FEW_ROWS, SPLITS, FEW_SPLITS = 2_000, 10, 3
DATA = Path.home() / ".cache/quality-benchmark"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


@contextmanager
def handed_over(frame: pl.DataFrame, target: str, split: int) -> Iterator[tuple[Handed, pl.Series]]:
    """Yield the files of a split, and the target of its held-out rows."""
    classes = tuple(sorted(frame[target].unique())) if frame[target].dtype == pl.String else ()
    known, held = train_test_split(
        np.arange(len(frame)),
        test_size=HELD_OUT,
        random_state=split,
        stratify=frame[target].to_numpy() if classes else None,
    )
    with tempfile.TemporaryDirectory(prefix="quality-") as folder:
        train, test = Path(folder) / "train.parquet", Path(folder) / "rows.parquet"
        frame[known].write_parquet(train)
        frame[held].drop(target).write_parquet(test)
        yield Handed(train=train, test=test, target=target, classes=classes), frame[target][held]


def error(truth: pl.Series, predicted: np.ndarray[Any, Any], classes: tuple[str, ...]) -> float:
    """Return the RMSE of predictions [N], or the log loss of probabilities [N, K]."""
    if not classes:
        return float(root_mean_squared_error(truth.to_numpy(), predicted.reshape(-1)))
    normalised = predicted / predicted.sum(axis=1, keepdims=True)  # 32-bit floats, whose sum is not quite 1
    return float(log_loss([classes.index(c) for c in truth], normalised, labels=range(len(classes))))


def measure(contender: Contender, handed: Handed) -> tuple[np.ndarray[Any, Any], float, float]:
    """Return the predictions of a contender, and its seconds of CPU and of wall-clock time."""
    gc.collect()
    began, before = time.perf_counter(), _cpu()
    predicted = contender.predict(handed)
    return predicted, _cpu() - before, time.perf_counter() - began


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def measure_all(args: argparse.Namespace, known: Mapping[str, Contender]) -> None:
    """Add a line to the results for each table, split and contender that is not there."""
    for name in args.tables:
        table = TABLES[name]
        frame = table.rows(args.data)
        for split in range(args.splits or (SPLITS if len(frame) < FEW_ROWS else FEW_SPLITS)):
            there = set() if args.again else {(r.table, r.split, r.contender) for r in read(args.results)}
            missing = [c for c in args.contenders if (name, split, c) not in there]
            if not missing:
                continue
            with handed_over(frame, table.target, split) as (handed, truth):
                for contender in missing:
                    try:
                        predicted, seconds, wall = measure(known[contender], handed)
                    except Exception as problem:  # of any library: the others go on
                        print(f"{name}, split {split}: {contender} failed: {problem}", file=sys.stderr, flush=True)
                        continue
                    result = Result(
                        table=name,
                        split=split,
                        contender=contender,
                        metric="log loss" if handed.classes else "RMSE",
                        error=error(truth, predicted, handed.classes),
                        seconds=seconds,
                        wall=wall,
                        rows=len(frame),
                        columns=len(frame.columns) - 1,
                        version=version_of(known[contender]),
                    )
                    _append(args.results, result)


def _append(file: Path, result: Result) -> None:
    line = json.dumps(asdict(result))
    with file.open("a", encoding="utf-8") as opened:  # one write: several processes may share the file
        opened.write(line + "\n")
    print(f"{result.table}, split {result.split}: {result.contender} {result.error:.5g}", file=sys.stderr, flush=True)


def _warm_up(known: Mapping[str, Contender], names: Iterable[str]) -> None:
    """Import everything once, so that no measurement includes it."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame({"x": random.normal(size=60), "y": random.normal(size=60)})
    with handed_over(frame, "y", 0) as (handed, _):
        for name in names:
            if name != "AutoGluon":
                known[name].predict(handed)


def main() -> None:
    """Measure what is missing, or print the report."""
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **dict.fromkeys(ONE_THREAD, "1")})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="file of the results, a JSON object per line")
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of the tables' packages (default: {DATA})")
    parser.add_argument("--tables", type=_names, default=list(TABLES), help="default: all")
    parser.add_argument("--contenders", type=_names, help="default: all but AutoGluon, and ours with other options")
    parser.add_argument("--splits", type=int, help="of each table (default: 10 below 2,000 rows, 3 above)")
    parser.add_argument("--autogluon", type=Path, metavar="PYTHON", help="interpreter of its environment")
    parser.add_argument("--again", action="store_true", help="also what is there")
    parser.add_argument("--report", action="store_true", help="print the tables, and measure nothing")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="with --report: write them into this page instead")
    args = parser.parse_args()
    known = contenders(args.autogluon)
    if args.contenders is None:
        args.contenders = [name for name in known if not name.startswith("ours ") and name != "AutoGluon"]
    for names, all_names in ((args.tables, TABLES), (args.contenders, known)):
        if unknown := set(names) - set(all_names):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(all_names)}")
    if not args.report:
        _warm_up(known, args.contenders)
        measure_all(args, known)
    elif args.write:
        write(args.write, tables(read(args.results)))
    else:
        print(tables(read(args.results)))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


if __name__ == "__main__":
    main()
