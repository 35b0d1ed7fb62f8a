"""Write the images of the example: scikit-learn's handwritten digits, in three parts."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
from sklearn.datasets import load_digits

digits = load_digits()
parts = pl.Series("part", [("train", "train", "train", "validation", "test")[n % 5] for n in range(len(digits.target))])
pixels = pl.DataFrame(digits.data, schema=[f"pixel_{n}" for n in range(64)])
folder = Path(sys.argv[1]) / "numbers_cropped_split"
folder.mkdir(parents=True, exist_ok=True)
pixels.insert_column(0, pl.Series("number", digits.target)).insert_column(1, parts).write_csv(folder / "numbers.csv")
