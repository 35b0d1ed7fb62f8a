"""A bundle as a model of MLflow's ONNX flavor, which MLflow loads and serves without pickles and without our code.

https://mlflow.org/docs/latest/ml/model/ has the format.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.serving.formats.manifest import INPUT_DATATYPES, MODEL, PIXELS, Datatype, Manifest

DTYPES = {Datatype.FP64: "float64", Datatype.FP32: "float32", Datatype.BYTES: "object", Datatype.BOOL: "object"}
REQUIREMENTS = ("onnx", "onnxruntime", "numpy")


def write(folder: Path, manifest: Manifest, model_id: str) -> None:
    """Write ``MLmodel`` and the requirements beside ``model.onnx`` into ``folder``."""
    pinned = [f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS]
    python = platform.python_version()
    files = {
        "MLmodel": _mlmodel(manifest, model_id, python),
        "python_env.yaml": {"python": python, "dependencies": ["-r requirements.txt"]},
    }
    for name, content in files.items():  # JSON is YAML
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(["mlflow", *pinned]) + "\n", encoding="utf-8")


def _mlmodel(manifest: Manifest, model_id: str, python: str) -> Mapping[str, Any]:
    inputs = [_tensor(column.name, INPUT_DATATYPES[column.dtype], (-1, 1)) for column in manifest.inputs]
    if manifest.image is not None:
        inputs = [_tensor(PIXELS, Datatype.FP64, (-1, len(manifest.inputs)))]
    outputs = [_tensor(output.name, output.datatype, output.shape) for output in manifest.outputs]
    return {
        "flavors": {
            "onnx": {
                "data": MODEL,
                "onnx_version": importlib.metadata.version("onnx"),
                "providers": ["CPUExecutionProvider"],
            },
            "python_function": {
                "loader_module": "mlflow.onnx",
                "data": MODEL,
                "env": {"virtualenv": "python_env.yaml"},
                "python_version": python,
            },
        },
        "model_id": model_id,
        "model_uuid": model_id,
        "utc_time_created": f"{manifest.provenance.created:%Y-%m-%d %H:%M:%S.%f}",
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)},
        "metadata": {"dataset": manifest.dataset, "source": manifest.source},
    }


def _tensor(name: str, datatype: Datatype, shape: tuple[int, ...]) -> Mapping[str, Any]:
    return {"name": name, "type": "tensor", "tensor-spec": {"dtype": DTYPES[datatype], "shape": list(shape)}}
