"""Equal files of records take the room of one, and are removed with the last of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.storage.shared_files import share, unreferenced

SIZE = 100_000


def record(folder: Path, store: Path, content: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "bundle.json").write_text(folder.name)
    share(folder, store)
    return folder


def test_equal_files_are_one(tmp_path: Path) -> None:
    store = tmp_path / "store"
    records = [record(tmp_path / f"runs/{n}/effects/push", store, b"x" * SIZE) for n in range(3)]
    models = [folder / "model.onnx" for folder in records]
    assert len({model.stat().st_ino for model in models}) == 1
    assert {model.read_bytes() for model in models} == {b"x" * SIZE}
    other = record(tmp_path / "runs/9/effects/push", store, b"y" * SIZE)
    assert [(folder / "bundle.json").read_text() for folder in records] == ["push"] * 3
    assert list(unreferenced(store)) == []
    for folder in records[:2]:
        shutil.rmtree(folder)
    assert list(unreferenced(store, remove=True)) == []
    assert models[2].read_bytes() == b"x" * SIZE
    shutil.rmtree(records[2])
    assert list(unreferenced(store)) == [SIZE]
    done = inside("store", "gc", env={"WMH_HOME": str(tmp_path)})
    assert (done.code, done.out) == (
        0,
        "0 unfinished and 0 results (0 B), 1 files of removed records (100.0 kB) removed\n",
    )
    assert list(unreferenced(store)) == []
    assert (other / "model.onnx").read_bytes() == b"y" * SIZE


def test_a_damaged_file_is_not_shared(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = record(tmp_path / "runs/1", store, b"x" * SIZE) / "model.onnx"
    first.chmod(0o644)
    first.write_bytes(b"z" * SIZE)
    assert (record(tmp_path / "runs/2", store, b"x" * SIZE) / "model.onnx").read_bytes() == b"x" * SIZE
