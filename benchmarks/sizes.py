"""Are larger sizes better? The loss of each model with small, medium and large values, on the shipped tables.

    python benchmarks/sizes.py [--models linear,lightgbm] [--tables cars,wine] [--splits 5]

Each size is trained on the same splits. Shown are the mean loss (RMSE, or log loss in nats) on the rows that a split
holds out, the seconds of training, and the mean difference to the next smaller size in its standard errors: negative is
better, and between -2 and 2 is noise.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from statistics import fmean, stdev

from when_ml_pipeline_meets_hydra import run

MODELS = "hist_gradient_boosting,lightgbm,gradient_boosting,random_forest,extra_trees,linear"
TABLES = "cars,wine,breast_cancer,diabetes,planes,digits"
SIZES = ("small", "medium", "large")


def losses(model: str, table: str, size: str, splits: int, home: str) -> tuple[list[float], float]:
    """The loss on each split, and the mean seconds of a training."""
    found, seconds = [], 0.0
    for seed in range(splits):
        words = [f"preprocessing/dataset={table}", f"split.seed={seed}", f"home={home}"]
        run(["c=preprocessing", *words])
        begun = time.perf_counter()
        done = run(["c=modeling", *words, f"modeling/model={model}", f"modeling/param={size}"])
        seconds += time.perf_counter() - begun
        found.append(done.metrics.get("modeling.rmse", done.metrics.get("modeling.log_loss", math.nan)))
    return found, seconds / splits


def main() -> None:
    """Print a line for each model and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--tables", default=TABLES)
    parser.add_argument("--splits", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        for model in args.models.split(","):
            for table in args.tables.split(","):
                shown, before = [], None
                for size in SIZES:
                    values, seconds = losses(model, table, size, args.splits, home)
                    text = f"{size} {fmean(values):.4g} ({seconds:.1f} s)"
                    shown.append(text + (f" {_in_errors(values, before):+.1f}" if before else ""))
                    before = values
                print(f"{model:23} {table:14} {'   '.join(shown)}", flush=True)


def _in_errors(values: list[float], before: list[float]) -> float:
    differences = [new - old for new, old in zip(values, before, strict=True)]
    error = stdev(differences) / math.sqrt(len(differences))
    return fmean(differences) / error if error else 0.0


if __name__ == "__main__":
    main()
