"""Training on a GPU: the same seed gives the same bytes, in little more time than a plain PyTorch loop.

    python benchmarks/gpu.py [--epochs 10] [-n ROUNDS] [--resolution 28] [--device auto]

Needs the extra torch. Without a GPU it prints "not run: no GPU" (``--device cpu`` runs it on the processor instead).

* bytes: coloured digits, convolutional network, trained twice by the command line, each time in a process and a home of
  its own; compared are the SHA-256 of the exported graph and of the predictions.
* seconds: the same rows, network, optimiser, batches and epochs in a plain loop whose rows lie on the device, and in
  ours, in turn; medians over the rounds, after one that warms up. Both start with the rows in the memory of the
  processor and end with the weights there. Export and evaluation are not part of it.

The exit code is 1 if the bytes differ, or if ours takes more than 1.5 times as long as the plain loop.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from startup import OURS
from when_ml_pipeline_meets_hydra import PreparedData, run
from when_ml_pipeline_meets_hydra.ml.models.cnn import Cnn
from when_ml_pipeline_meets_hydra.ml.networks import devices
from when_ml_pipeline_meets_hydra.ml.training.matrices import Matrices, read_split
from when_ml_pipeline_meets_hydra.ml.training.network_param import NetworkParam
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress

MODEL = Cnn(channels=(16, 32), dropout_prob=0.1)
COMPARED = ("model.onnx", "predictions.parquet")
MOST = 1.5


def digests(folder: Path, choices: Sequence[str], epochs: int, device: str) -> list[str]:
    """Train in a process of its own; returns the SHA-256 of what is stored."""
    words = [*OURS, "c=modeling", *choices, f"m_param.epochs={epochs}", f"model.device={device}"]
    words += ["modeling/model=cnn", "m_param.patience=null"]
    done = subprocess.run(words, env={**os.environ, "WMH_HOME": str(folder)}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    files = [next((folder / "store").rglob(name)) for name in COMPARED]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def plain(data: PreparedData, rows: Matrices, param: NetworkParam, device: torch.device) -> None:
    """Train in a plain loop."""
    torch.manual_seed(param.seed)
    assert data.image is not None
    net = nn.Sequential(nn.Unflatten(1, data.image.shape), MODEL.build(data.image.shape, out_dim=len(data.classes)))
    net.to(device).train()
    features, target = (torch.tensor(values).to(device) for values in (rows.features, rows.target))
    optimizer = torch.optim.AdamW(net.parameters(), lr=param.learning_rate, weight_decay=param.weight_decay)
    for _ in range(param.epochs):
        for batch in torch.randperm(len(features), device=device).split(param.batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(features[batch]), target[batch])
            loss.backward()
            optimizer.step()
    net.cpu()


def ours(data: PreparedData, rows: Matrices, param: NetworkParam, device: torch.device) -> None:
    """Train as the stage does."""
    model = replace(MODEL, device=str(device))
    with redirect_stdout(io.StringIO()):
        model.fit(data.task, param, rows.features, rows.target, NoProgress(), image=data.image)


def seconds(what: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The median seconds of each function, called in turn."""
    found: dict[str, list[float]] = {name: [] for name in what}
    for turn in range(rounds + 1):
        for name, function in what.items():
            began = time.perf_counter()
            function()
            if turn:  # the first round warms up
                found[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in found.items()}


def compare(device: torch.device, choices: Sequence[str], epochs: int, rounds: int, home: Path) -> dict[str, float]:
    """The seconds of the plain loop, and of ours in 32-bit and in mixed precision."""
    data: Any = run(["c=preprocessing", *choices, f"home={home}"]).artifact("preprocessing")
    rows, param = read_split(data, "train"), NetworkParam(epochs=epochs, patience=None)
    what = {
        "plain loop": lambda: plain(data, rows, param, device),
        "ours": lambda: ours(data, rows, param, device),
        "ours, mixed precision": lambda: ours(data, rows, replace(param, mixed_precision=True), device),
    }
    if devices.without_bfloat16(device):
        del what["ours, mixed precision"]
    torch.set_num_threads(1)
    print(f"{len(rows.target):,} images, {epochs} epochs, batches of {param.batch_size}, medians of {rounds} rounds\n")
    return seconds(what, rounds)


def main() -> None:
    """Measure, and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each training (default: 10)")
    parser.add_argument("-n", type=int, default=5, metavar="ROUNDS", help="rounds (default: 5)")
    parser.add_argument("--resolution", type=int, default=28, help="height and width of an image (default: 28)")
    parser.add_argument("--device", default="auto", help="device of the trainings (default: the GPU)")
    args = parser.parse_args()
    device = devices.device(args.device)
    if args.device == "auto" and device.type == "cpu":
        print("not run: no GPU")
        return
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{card}, PyTorch {torch.__version__}")
    choices = ("preprocessing/dataset=cmnist", f"dataset.resolution={args.resolution}")
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        folder = Path(name)
        first, second = (digests(folder / home, choices, args.epochs, str(device)) for home in ("first", "second"))
        took = compare(device, choices, args.epochs, args.n, folder / "third")
    print("| training | s | of the plain loop |\n|---|---:|---:|")
    for what, measured in took.items():
        print(f"| {what} | {measured:.2f} | {measured / took['plain loop']:.2f} |")
    ratio = took["ours"] / took["plain loop"]
    print(f"\nTwo trainings with one seed: {'the same bytes' if first == second else 'DIFFERENT BYTES'}")
    for file, *both in zip(COMPARED, first, second, strict=True):
        print(f"  {file} {' '.join(both)}")
    print(f"Ours takes {ratio:.2f} of the time of the plain loop, {'at most' if ratio <= MOST else 'MORE THAN'} {MOST}")
    sys.exit(first != second or ratio > MOST)


if __name__ == "__main__":
    main()
