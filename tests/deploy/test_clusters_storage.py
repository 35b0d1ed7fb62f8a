"""Where bundles lie: folders of this machine need nothing, object stores the extra kserve."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from when_ml_pipeline_meets_hydra.deploy.clusters.kserve import Kserve
from when_ml_pipeline_meets_hydra.deploy.clusters.storage import Storage
from when_ml_pipeline_meets_hydra.errors import BadInput, StepFailed


@pytest.fixture
def no_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.fs"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("is_uri", [False, True])
def test_a_folder_of_this_machine_needs_no_library(is_uri: bool, tmp_path: Path, no_arrow: None) -> None:
    folder, file, copy = tmp_path / "models of ours" / "50%", tmp_path / "file", tmp_path / "copy"
    file.write_bytes(b"content")
    storage = Storage(folder.as_uri() if is_uri else str(folder))
    storage.put({"things/versions/1/model.onnx": file})
    assert (folder / "things" / "versions" / "1" / "model.onnx").read_bytes() == b"content"
    storage.get({"things/versions/1/model.onnx": copy})
    assert copy.read_bytes() == b"content"
    with pytest.raises(StepFailed, match=r"50.* cannot be read or written: .*No such file"):
        storage.get({"things/versions/2/model.onnx": copy})


def test_an_object_store_without_its_library_names_the_extra(tmp_path: Path, no_arrow: None) -> None:
    with pytest.raises(BadInput, match=r"s3://ours/models needs pyarrow, which cannot be imported") as refused:
        Storage("s3://ours/models").get({"file": tmp_path / "file"})
    (problem,) = refused.value.problems
    assert problem.remedy == "Install it: pip install 'when_ml_pipeline_meets_hydra[kserve]'"
    cluster = Kserve(image="models:1", storage="s3://ours/models", region="eu-west-1", pw=SecretStr("of-ours-only"))
    with pytest.raises(BadInput, match=r"s3://ours/models needs pyarrow"):
        cluster._filesystem()


@pytest.mark.integration("pyarrow")
def test_an_object_store_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"nothing://at/all cannot be read or written: "):
        Storage("nothing://at/all").get({"file": tmp_path / "file"})
