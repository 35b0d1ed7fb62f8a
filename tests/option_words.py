"""Every option of every group, and the command that reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from when_ml_pipeline_meets_hydra.composing.tree import STAGES, Option, read_options, shown_groups

GROUPS = read_options()
OPTIONS = [option for group in shown_groups(GROUPS) for option in GROUPS[group].values()]
TEMPLATE = [
    *("preprocessing/dataset=dataset_1", "preprocessing/param=param_1", "modeling/model=model_1"),
    *("modeling/param=param_1", "deployment/cluster=cluster_1"),
]
TABLE = ["preprocessing/dataset=table", "+preprocessing/connection=sqlite", "+preprocessing/schema=cars"]
NETWORK = ["preprocessing/dataset=cmnist_16"]
SERVER = ["cluster.url=http://127.0.0.1:8080", "cluster.id=ann", "cluster.pw=of-mine"]
CELEBA = ("celeba", "celeba_male_smiling", "celeba_male_smiling_small", "celeba_male_blond")
# What an option, or all of a group, goes with.
WITH = {
    "c/preprocessing_sub=load": TABLE[1:],
    **{chosen: ["interval.coverage=0.9"] for chosen in ("c=intervals", "c/intervals_sub=conformal")},
    "preprocessing/dataset=csv": ["dataset.path=rows.csv", "dataset.target=y"],
    "preprocessing/dataset=parquet": ["dataset.path=rows.parquet", "dataset.target=y"],
    "preprocessing/dataset=table": TABLE[1:],
    "preprocessing/dataset=image_folder": ["dataset.path=pets"],
    **{f"preprocessing/dataset={d}": ["dataset.root=faces"] for d in CELEBA},
    "preprocessing/split=time": ["split.column=Year"],
    "preprocessing/split=group": ["split.column=Origin"],
    "preprocessing/split=predefined": ["split.column=Origin"],
    "modeling/validation=time_series": ["validation.column=Year"],
    "modeling/validation=group": ["validation.column=Origin"],
    "modeling/threshold=cost": ["threshold.false_negative=5"],
    "modeling/threshold=recall": ["threshold.recall=0.9"],
    "modeling/threshold=given": ["threshold.value=0.3"],
    "modeling/metric=pinball": ["metrics.own.quantile_loss.quantile=0.9"],
    "preprocessing/connection": [TABLE[0], TABLE[2]],
    "preprocessing/schema": TABLE[:2],
    **{f"modeling/model={m}": NETWORK for m in ("cnn", "cnn_small", "fcn", "single_linear_layer")},
    "c/prediction_sub=predict_stored": ["prediction/model=key", "stored_model.key=0123456789"],
    "prediction/model=run": ["stored_model.run=last"],
    "prediction/model=key": ["stored_model.key=0123456789"],
    "prediction/rows=csv": ["new_rows.path=rows.csv"],
    "prediction/rows=parquet": ["new_rows.path=rows.parquet"],
    "prediction/rows=data_set": ["preprocessing/dataset@new_rows=wine"],
    **{f"deployment/cluster={c}": SERVER for c in ("http", "staging", "production", "mlflow")},
    "deployment/cluster=kserve": ["cluster.image=models:1", "cluster.storage=s3://models", "cluster.pw=of-ours-only"],
    "exptests/gate=metric": ["gates.tests.metric.metric=r2", "gates.tests.metric.min=0"],
    "exptests/gate=deployed": ["gates.tests.deployed.metric=r2"],
}
# Their defaults lists are in no other option's.
ADDED = {"preprocessing/connection", "preprocessing/schema", "analysis/section", "exptests/gate", "modeling/metric"}


def in_groups(options: Iterable[Option]) -> list[Any]:
    """Options for tests; one process runs all tests of an option, and composes it once."""
    names = {f"{o.group}={o.name}": o for o in options}
    return [pytest.param(o, id=name, marks=pytest.mark.xdist_group(name)) for name, o in names.items()]


def set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables and files that the commands need."""
    for name in (
        "SNOWFLAKE_ACCOUNT",
        "SNOWFLAKE_DATABASE",
        "SNOWFLAKE_USER",
        "SNOWFLAKE_PASSWORD",
        "PGHOST",
        "PGPASSWORD",
    ):
        monkeypatch.setenv(name, "hidden-words" if name.endswith("PASSWORD") else "somebody")
    Path("rows.csv").write_text("x,y\n1,2\n")
    Path("rows.parquet").touch()
    for image in ("pets/cat/1.jpg", "pets/dog/2.jpg", "faces/img_align_celeba/1.jpg", "faces/img_align_celeba/2.jpg"):
        Path(image).parent.mkdir(parents=True, exist_ok=True)
        Path(image).touch()
    table = "2\nSmiling Male Blond_Hair\n1.jpg 1 1 -1\n2.jpg -1 -1 1\n"
    Path("faces/list_attr_celeba.txt").write_text(table)


def words_for(option: Option) -> list[str]:
    """A command that reads the option."""
    group, name = option.group, option.name
    top = group.partition("/")[0]
    chosen = f"{group}={name}"
    goes_with = WITH.get(chosen, WITH.get(group, []))
    if group == STAGES:
        return [f"c={name}", *goes_with]
    if top == "experiment":
        path = f"{group}/{name}".partition("/")[2]
        return ["c=deployment", f"+experiment={path}"]
    stage = group.removeprefix(f"{STAGES}/").removesuffix("_sub") if top == STAGES else top
    if name in ("foo", "bar") or name.endswith(("_1", "_2")):
        template = [w for w in TEMPLATE if not w.startswith(f"{group}=")]
        goes_with = [*template, *([f"c/{stage}_sub=foo"] if top != STAGES else [])]
    return [f"c={stage}", *goes_with, f"{'+' if group in ADDED else ''}{chosen}"]
