"""Join the graphs of preprocessing and model into one that takes raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, compose, helper

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.serving.formats.manifest import PIXELS

FEATURES = "features"
_ML = "ai.onnx.ml"
_MODEL_PREFIX, _LABEL_INDEX, _CLASSES = "model/", "model/label", "names/classes"


def join(
    preprocessing: Path, model: Path, *, outputs: Mapping[str, str], classes: Sequence[str], is_image: bool = False
) -> onnx.ModelProto:
    """Return one graph from raw columns to named predictions.

    Args:
        preprocessing: graph with one input [N, 1] for each raw column and the output ``features`` [N, F].
        model: graph with the input ``features`` and, for regression, the output ``prediction``, for
            classification ``label`` (int64 [N], index into ``classes``) and ``probabilities`` [N, K].
        outputs: the model's outputs to keep → their new names.
        classes: names of the classes; ``label`` is converted to a name.
        is_image: the raw columns are the pixels of an image: the graph has one input [N, pixels] in place of them.

    Raises:
        StepFailed: the two graphs do not fit each other, or differ in IR or operator set version.
    """
    try:
        merged = _merge(onnx.load(preprocessing), onnx.load(model))
        _name_outputs(merged, outputs, classes)
        if is_image:
            _take_pixels_together(merged.graph)
        onnx.checker.check_model(merged, full_check=True)
    except (ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise StepFailed(f"The graphs of preprocessing and model do not fit each other: {problem}") from problem
    return merged


def _merge(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    _adopt_ml_opset(first, second)
    first = compose.add_prefix(first, "preprocessing/", rename_inputs=False)
    second = compose.add_prefix(second, _MODEL_PREFIX)
    # By position, since a raw column may be called "features" too.
    joint = [(first.graph.output[0].name, f"{_MODEL_PREFIX}{FEATURES}")]
    merged = compose.merge_models(first, second, io_map=joint)
    merged.producer_name, merged.producer_version = "when_ml_pipeline_meets_hydra", ""
    merged.graph.name = "rows_to_predictions"
    return merged


def _take_pixels_together(graph: onnx.GraphProto) -> None:
    """Put one input in place of thousands: onnxruntime takes seconds to look at as many."""
    names = [entry.name for entry in graph.input]
    found = [n for n, node in enumerate(graph.node) if node.op_type == "Concat" and list(node.input) == names]
    if len(found) != 1:
        raise ValueError("its columns are not the pixels of an image")
    graph.node[found[0]].CopyFrom(helper.make_node("Identity", [PIXELS], list(graph.node[found[0]].output)))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.DOUBLE, ["N", len(names)]))


def _adopt_ml_opset(first: onnx.ModelProto, second: onnx.ModelProto) -> None:
    """Graphs of other exporters may need an earlier ai.onnx.ml; the operator of it in ours is the same in all."""
    wanted = [entry.version for entry in second.opset_import if entry.domain == _ML]
    for entry in first.opset_import:
        if entry.domain == _ML and wanted:
            entry.version = wanted[0]


def _name_outputs(model: onnx.ModelProto, outputs: Mapping[str, str], classes: Sequence[str]) -> None:
    graph = model.graph
    made = {output.name.removeprefix(_MODEL_PREFIX): output for output in graph.output}
    if missing := outputs.keys() - made.keys():
        raise ValueError(f"the model has no output {', '.join(sorted(missing))}")
    del graph.output[:]
    for old, new in outputs.items():
        if old == "label":
            graph.output.append(_class_names(graph, new, classes))
        else:
            graph.node.append(helper.make_node("Identity", [_MODEL_PREFIX + old], [new]))
            made[old].name = new
            graph.output.append(made[old])


def _class_names(graph: onnx.GraphProto, name: str, classes: Sequence[str]) -> onnx.ValueInfoProto:
    names = TensorProto(name=_CLASSES, data_type=TensorProto.STRING, dims=[len(classes)])
    names.string_data.extend(text.encode() for text in classes)
    graph.initializer.append(names)
    graph.node.append(helper.make_node("Gather", [_CLASSES, _LABEL_INDEX], [name], axis=0))
    return helper.make_tensor_value_info(name, TensorProto.STRING, ["N"])
