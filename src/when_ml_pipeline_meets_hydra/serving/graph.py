"""Joins the graph of the preprocessing and the graph of the model into one that takes raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, compose, helper, version_converter

from when_ml_pipeline_meets_hydra.errors import StepFailed

FEATURES = "features"
_MADE, _LABEL_INDEX, _CLASSES = "model/", "model/label", "names/classes"


def join(preprocessing: Path, model: Path, *, outputs: Mapping[str, str], classes: Sequence[str]) -> onnx.ModelProto:
    """One graph: raw columns in, named predictions out.

    Args:
        preprocessing: graph with one input [N, 1] for each raw column and the output ``features`` [N, F].
        model: graph with the input ``features`` and, for regression, the output ``prediction``, for
            classification ``label`` (int64 [N], index into ``classes``) and ``probabilities`` [N, K].
        outputs: the model's outputs to keep, and the names that they get.
        classes: names of the classes; ``label`` comes out as a name.

    Raises:
        StepFailed: the two graphs do not fit each other.
    """
    try:
        merged = _merge(onnx.load(preprocessing), onnx.load(model))
        _name_outputs(merged, outputs, classes)
        onnx.checker.check_model(merged, full_check=True)
    except (ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise StepFailed(f"The graphs of preprocessing and model do not fit each other: {problem}") from problem
    return merged


def _merge(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    first, second = _same_opset(first, second)
    first = compose.add_prefix(first, "preprocessing/", rename_inputs=False)
    second = compose.add_prefix(second, _MADE)
    first.ir_version = second.ir_version = max(first.ir_version, second.ir_version)
    joint = [(f"preprocessing/{FEATURES}", f"{_MADE}{FEATURES}")]
    merged = compose.merge_models(first, second, io_map=joint)
    _declare(merged, _opsets(merged))
    merged.producer_name, merged.producer_version = "when_ml_pipeline_meets_hydra", ""
    merged.graph.name = "rows_to_predictions"
    return merged


def _same_opset(first: onnx.ModelProto, second: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Merging needs equal versions of the operators; the older graph's standard operators are converted.

    The other operators (trees and the like) have only grown since: naming the younger version is enough. Whatever
    goes wrong here shows on the held-out rows.
    """
    versions = _opsets(first), _opsets(second)
    newest = {domain: max(v.get(domain, 0) for v in versions) for domain in versions[0] | versions[1]}
    return _at(first, versions[0], newest), _at(second, versions[1], newest)


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    # Exporters have been seen to name a domain twice.
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions[domain] = max(entry.version, versions.get(domain, 0))
    return versions


def _at(model: onnx.ModelProto, has: Mapping[str, int], wanted: Mapping[str, int]) -> onnx.ModelProto:
    _declare(model, has)
    if has.get("", 0) < wanted.get("", 0):
        model = version_converter.convert_version(model, wanted[""])
    for entry in model.opset_import:
        entry.version = wanted[entry.domain]
    return model


def _declare(model: onnx.ModelProto, versions: Mapping[str, int]) -> None:
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(versions.items()))


def _name_outputs(model: onnx.ModelProto, outputs: Mapping[str, str], classes: Sequence[str]) -> None:
    graph = model.graph
    made = {output.name.removeprefix(_MADE): output for output in graph.output}
    if missing := outputs.keys() - made.keys():
        raise ValueError(f"the model has no output {', '.join(sorted(missing))}")
    del graph.output[:]
    for old, new in outputs.items():
        if old == "label":
            graph.output.append(_class_names(graph, new, classes))
        else:
            graph.node.append(helper.make_node("Identity", [_MADE + old], [new]))
            made[old].name = new
            graph.output.append(made[old])


def _class_names(graph: onnx.GraphProto, name: str, classes: Sequence[str]) -> onnx.ValueInfoProto:
    names = TensorProto(name=_CLASSES, data_type=TensorProto.STRING, dims=[len(classes)])
    names.string_data.extend(text.encode() for text in classes)
    graph.initializer.append(names)
    graph.node.append(helper.make_node("Gather", [_CLASSES, _LABEL_INDEX], [name], axis=0))
    return helper.make_tensor_value_info(name, TensorProto.STRING, ["N"])
