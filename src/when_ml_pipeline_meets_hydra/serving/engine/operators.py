"""Facts about a graph that its operators tell without running it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from when_ml_pipeline_meets_hydra.serving.formats.manifest import MODEL, BundleRefused

# Their time and memory depend on shapes alone. Left out are those for which a value decides: Loop, Scan, Range, Expand,
# Tile, Pad, ConstantOfShape, Resize, sequences, random numbers, and all that are not known.
_STEADY = frozenset(
    re.findall(
        r"\w+",
        """
    Abs Acos Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization BitwiseAnd BitwiseOr Cast Ceil Celu Clip
    Concat Constant Conv ConvTranspose Cos Cosh CumSum Div Dropout Elu Equal Erf Exp Flatten Floor GRU Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization
    HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pow RNN Reciprocal ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
    Reshape Round Selu Shape Shrink Sigmoid Sign Sin Slice Softmax Softplus Softsign Split Sqrt Squeeze StringConcat
    StringNormalizer Sub Sum Swish Tan Tanh ThresholdedRelu TopK Transpose Unsqueeze Where Xor
    ArrayFeatureExtractor Binarizer CategoryMapper FeatureVectorizer Imputer LabelEncoder LinearClassifier
    LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier
    TreeEnsembleRegressor
    """,
    )
)
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def are_steady(content: bytes) -> bool:
    """Whether the time and the memory that a graph needs depend on the number of rows alone, not on their values."""
    return _are_steady(parsed(content).graph)


def load_quickly(content: bytes) -> bool:
    """Whether loading a graph takes little beyond reading its weights.

    onnxruntime computes whatever depends on constants alone when it loads a graph, without a limit of time or memory.
    """
    graph = parsed(content).graph
    constants = {tensor.name for tensor in graph.initializer} | {""}
    return _are_steady(graph) and not any(constants.issuperset(node.input) for node in graph.node if node.input)


def _are_steady(graph: Any) -> bool:
    return all(node.op_type in _STEADY and node.domain in _DOMAINS for node in graph.node)


def check_no_external_data(content: bytes) -> None:
    """Check that a graph refers to no other file.

    Raises:
        BundleRefused: it does, or is no ONNX model.
    """
    if any(tensor.external_data or tensor.data_location for tensor in _tensors(parsed(content))):
        raise BundleRefused(f"{MODEL} refers to data outside its own file")


def parsed(content: bytes) -> Any:
    """Return the ONNX model of these bytes.

    Raises:
        BundleRefused: they are none.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load_model_from_string(content)
    except DecodeError:
        raise BundleRefused(f"{MODEL} is not an ONNX model") from None


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor of a model, in nodes, subgraphs, functions and attributes."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(part)
