"""The contenders of ``quality.py``: each trains on a file, and predicts the rows of another one.

Every one has its own defaults, one thread and a fixed seed. Libraries get what their documentation asks for:

* LightGBM, XGBoost and scikit-learn's HistGradientBoosting: numbers as they are, texts as pandas' categories, which all
  three split natively; HistGradientBoosting takes at most 255, so that the rarest of more become missing;
* CatBoost: the same numbers, and texts as they are (``cat_features``);
* RandomForest: numbers filled by the median, texts as one-hot features;
* AutoGluon: the rows as they are.

A date becomes its parts (year, month, day, weekday, day of the year and days since 1970), but for AutoGluon and ours,
which have parts of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra import ExitCode, Run, run, search

Array = np.ndarray[Any, Any]
_CATEGORIES = 255
TIME_LIMIT = 60  # s, of AutoGluon, our ensemble and our search
SEARCH = (
    "modeling/model=choice(hist_gradient_boosting,lightgbm,catboost)",
    "m_param.learning_rate=tag(log,interval(0.02,0.2))",
    "modeling/validation=holdout",
    "hydra/sweeper=optuna",
    f"hydra.sweeper.timeout={TIME_LIMIT}",
)


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What a contender receives: Parquet files of the training rows and, without the target, of the held-out rows.

    ``classes`` are those of the training rows, sorted; none for numbers.
    """

    train: Path
    test: Path
    target: str
    classes: tuple[str, ...]


#: Returns predictions [N], or probabilities [N, K] in the order of ``classes``.
Predict = Callable[[Handed], Array]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A contender; ``package`` is the distribution whose version is reported."""

    predict: Predict
    package: str


def ours(*overrides: str, start: Callable[[list[str]], Run] = run) -> Contender:
    """Return our program with further overrides, by its front door: ``run``, or ``search``.

    It asks for held-out rows with their target, and gets a wrong one: of other rows, chosen at random.
    """

    def predict(handed: Handed) -> Array:
        with tempfile.TemporaryDirectory(prefix="quality-") as folder:
            test = Path(folder) / "test.parquet"
            held_out, known = pl.read_parquet(handed.test), pl.read_parquet(handed.train)[handed.target]
            wrong = known.sample(len(held_out), with_replacement=True, seed=0)
            held_out.with_columns(wrong).write_parquet(test)
            words = ["c=modeling", f"home={folder}/home", "preprocessing/dataset=parquet"]
            words += [f"dataset.path={handed.train}", f"dataset.target={handed.target!r}"]
            words += [f"dataset.task={'classification' if handed.classes else 'regression'}"]
            words += ["preprocessing/split=predefined", f"split.path={test}", *overrides]
            done = start(words)
            if done.exit_code is not ExitCode.DONE:
                raise RuntimeError(f"exit code {done.exit_code}")
            found = pl.read_parquet(done.artifact("modeling").path / "predictions.parquet")
        return _own(found, wrong, handed.classes)

    return Contender(predict=predict, package="when_ml_pipeline_meets_hydra")


def _own(found: pl.DataFrame, handed_over: pl.Series, classes: tuple[str, ...]) -> Array:
    """Our predictions; they have to be in the order of the file."""
    expected = [classes.index(c) for c in handed_over] if classes else handed_over.to_list()
    assert np.allclose(found["target"].to_numpy(), expected), "our predictions are in another order"
    columns = [f"probability_{name}" for name in classes]
    return found.select(columns).to_numpy() if classes else found["prediction"].to_numpy()


def _rows(file: Path) -> int:
    return int(pl.scan_parquet(file).select(pl.len()).collect().item())


def _naive(handed: Handed) -> Array:
    """The mean, or the frequencies of the classes."""
    target = pl.read_parquet(handed.train)[handed.target]
    if not handed.classes:
        return np.full(_rows(handed.test), target.mean())
    return np.tile([(target == name).mean() for name in handed.classes], (_rows(handed.test), 1))


def _frames(handed: Handed, most_categories: int | None = None) -> tuple[Any, Array, Any]:
    """The features of both files as pandas' frames, texts as categories of the training rows, and the target."""
    import pandas as pd

    train, test = (_with_parts(pd.read_parquet(file)) for file in (handed.train, handed.test))
    target = train.pop(handed.target)
    for name in _texts(train):
        values = train[name].value_counts().index[:most_categories].sort_values()
        train[name], test[name] = (pd.Categorical(frame[name], categories=values) for frame in (train, test))
    if handed.classes:
        return train, np.array([handed.classes.index(c) for c in target]), test
    return train, target.to_numpy(dtype=float), test


def _texts(frame: Any) -> list[str]:
    return [name for name in frame.columns if frame[name].dtype.name in ("object", "str", "string", "category")]


def _with_parts(frame: Any) -> Any:
    import pandas as pd

    dates = [name for name in frame.columns if frame[name].dtype.kind == "M" or _is_dates(frame[name])]
    for name in dates:
        date = pd.to_datetime(frame.pop(name))
        for part in ("year", "month", "day", "dayofweek", "dayofyear"):
            frame[f"{name} {part}"] = getattr(date.dt, part)
        frame[f"{name} days"] = (date - pd.Timestamp(0)).dt.days
    return frame


def _is_dates(column: Any) -> bool:
    import datetime

    known = column.dropna()
    return column.dtype == object and len(known) > 0 and isinstance(known.iloc[0], datetime.date)


def _fitted(model: Any, handed: Handed, frames: tuple[Any, Array, Any]) -> Array:
    train, target, test = frames
    model.fit(train, target)
    return np.asarray(model.predict_proba(test) if handed.classes else model.predict(test)).reshape(len(test), -1)


def _lightgbm(handed: Handed) -> Array:
    import lightgbm

    kind = lightgbm.LGBMClassifier if handed.classes else lightgbm.LGBMRegressor
    train, target, test = _frames(handed)
    # It refuses some characters in names.
    train.columns = test.columns = [f"c{k}" for k in range(len(train.columns))]
    return _fitted(kind(n_jobs=1, random_state=0, verbosity=-1), handed, (train, target, test))


def _xgboost(handed: Handed) -> Array:
    import xgboost

    kind = xgboost.XGBClassifier if handed.classes else xgboost.XGBRegressor
    train, target, test = _frames(handed)
    train.columns = test.columns = [f"c{k}" for k in range(len(train.columns))]
    return _fitted(kind(enable_categorical=True, n_jobs=1, random_state=0), handed, (train, target, test))


def _catboost(handed: Handed) -> Array:
    import catboost

    train, target, test = _frames(handed)
    texts = _texts(train)
    for frame in (train, test):
        frame[texts] = frame[texts].astype(object).fillna("missing").astype(str)
    kind = catboost.CatBoostClassifier if handed.classes else catboost.CatBoostRegressor
    options = {"thread_count": 1, "random_seed": 0, "verbose": False, "allow_writing_files": False}
    return _fitted(kind(cat_features=texts, **options), handed, (train, target, test))


def _hist_gradient_boosting(handed: Handed) -> Array:
    from sklearn import ensemble

    kind = ensemble.HistGradientBoostingClassifier if handed.classes else ensemble.HistGradientBoostingRegressor
    return _fitted(kind(random_state=0), handed, _frames(handed, _CATEGORIES))


def _random_forest(handed: Handed) -> Array:
    from sklearn import compose, ensemble, impute, pipeline, preprocessing

    train, target, test = _frames(handed)
    texts = _texts(train)
    prepared = compose.make_column_transformer(
        (preprocessing.OneHotEncoder(handle_unknown="ignore"), texts),
        remainder=impute.SimpleImputer(strategy="median", add_indicator=True),
    )
    kind = ensemble.RandomForestClassifier if handed.classes else ensemble.RandomForestRegressor
    model = pipeline.make_pipeline(prepared, kind(n_jobs=1, random_state=0))
    return _fitted(model, handed, (train, target, test))


AUTOGLUON = """
    import json
    import sys
    import tempfile

    import pandas as pd
    from autogluon.tabular import TabularPredictor

    train, test, out, target, classes, seconds = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        metric = "log_loss" if classes else "root_mean_squared_error"
        predictor = TabularPredictor(label=target, eval_metric=metric, path=folder, verbosity=0)
        predictor.fit(pd.read_parquet(train), time_limit=seconds, num_cpus=1, num_gpus=0)
        rows = pd.read_parquet(test)
        found = predictor.predict_proba(rows)[classes] if classes else predictor.predict(rows).to_frame()
    found.set_axis(map(str, range(found.shape[1])), axis=1).to_parquet(out)
"""


def autogluon(python: Path | None) -> Contender:
    """Return AutoGluon in the environment of the interpreter ``python``; it predicts as well as it can in 60 s."""

    def predict(handed: Handed) -> Array:
        if python is None:
            raise RuntimeError("it has an environment of its own: --autogluon PYTHON")
        with tempfile.TemporaryDirectory(prefix="quality-") as folder:
            out = Path(folder) / "predictions.parquet"
            words = [str(handed.train), str(handed.test), str(out), handed.target, list(handed.classes), TIME_LIMIT]
            command = [str(python), "-c", dedent(AUTOGLUON), json.dumps(words)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
            if done.returncode:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            return pl.read_parquet(out).to_numpy()

    return Contender(predict=predict, package="autogluon.tabular")


def contenders(autogluon_python: Path | None) -> Mapping[str, Contender]:
    """Return all contenders by their names; those that begin with "ours" are ours."""
    return {
        "naive": Contender(predict=_naive, package="numpy"),
        "ours": ours(),
        "LightGBM": Contender(predict=_lightgbm, package="lightgbm"),
        "CatBoost": Contender(predict=_catboost, package="catboost"),
        "XGBoost": Contender(predict=_xgboost, package="xgboost"),
        "HistGradientBoosting": Contender(predict=_hist_gradient_boosting, package="scikit-learn"),
        "RandomForest": Contender(predict=_random_forest, package="scikit-learn"),
        "ours large": ours("modeling/param=large"),
        "ours lightgbm": ours("modeling/model=lightgbm"),
        "ours xgboost": ours("modeling/model=xgboost"),
        "ours catboost": ours("modeling/model=catboost"),
        "ours linear": ours("modeling/model=linear"),
        "ours random_forest": ours("modeling/model=random_forest"),
        "ours extra_trees": ours("modeling/model=extra_trees"),
        "ours ensemble": ours("modeling/model=ensemble", f"model.time_limit={TIME_LIMIT}", "model.n_jobs=1"),
        "ours search": ours(*SEARCH, start=search),
        "AutoGluon": autogluon(autogluon_python),
    }


def version_of(contender: Contender) -> str:
    """Return the version of a contender's package, or nothing if it is not installed here."""
    try:
        return version(contender.package)
    except ModuleNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit("This is a part of quality.py")
