"""A model as a graph for ONNX Runtime and other programs that read ONNX; built by hand, without torch."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.architecture import STATES, Architecture, WeightKind
from nextchar.errors import ConfigError, MissingExtraError
from nextchar.kernels.quantization import int8_rows, largest
from nextchar.storage import ModelFile

try:
    from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
    from onnx.helper import make_node as node
except ModuleNotFoundError as error:
    raise MissingExtraError(f"{error.name} is not installed; pip install 'nextchar[export]'") from None

Arrays = dict[str, npt.NDArray[Any]]

OPSET, IR = 17, 8  # of 2022: what programs of that year and later read
RUNTIME = "com.microsoft"  # operators of ONNX Runtime alone
LARGEST = 1 << 31  # bytes of a file
# The order in which ONNX stacks the gates, as places in torch's order: i o f g of an lstm, z r n of a gru.
ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}
STATE = ("hidden", "cell")  # of each layer; a gru and an rnn have only the first
ABOUT = (
    "Reads ids and predicts the next ones. The metadata has the vocabulary: a JSON list of code points (or byte values, "
    "see units); the place of each is its id. START, the id after the last, stands for the beginning of a text: feed it "
    "first, with a state of zeros. It is never predicted."
)


def encode(file: ModelFile, weights: WeightKind) -> bytes:
    """Return the content of an ONNX file.

    Inputs are `ids`, `(B, T)` int64, and the state before them, `hidden` and for an lstm also `cell`, `(L, B, H)`.
    Outputs are `logits`, `(B, T, V)`, and the state after them, `hidden_after` and `cell_after`. B and T are free.

    Raises:
        ConfigError: The model is too large for the format, or int8 was asked for and its cell is not an lstm.
    """
    if weights == "int8" and file.architecture.cell != "lstm":
        raise ConfigError(f"ONNX Runtime has no int8 {file.architecture.cell}, only an int8 lstm; take --weights fp32")
    model = graph(file, int8=weights == "int8")
    if model.ByteSize() >= LARGEST:
        raise ConfigError(f"the model has {model.ByteSize() / 1e9:.1f} GB, but an ONNX file at most 2")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def graph(file: ModelFile, *, int8: bool) -> "ModelProto":
    """Return the model as ONNX's own value; with int8, an lstm for ONNX Runtime alone."""
    shape, size = file.architecture, len(file.vocabulary)
    states = STATE[: STATES[shape.cell]]
    constants: Arrays = {"head.bias": file.arrays["head.bias"], "direction": np.array([1])}
    nodes = [node("Transpose", ["ids"], ["time_first"], perm=[1, 0])]
    if shape.embedding:
        constants["embedding.weight"] = file.arrays["embedding.weight"]
        nodes.append(node("Gather", ["embedding.weight", "time_first"], ["input.0"]))
    else:  # START is past the last, which gives zeros
        constants |= {"size": np.array(size), "off_on": np.array([0, 1], np.float32)}
        nodes.append(node("OneHot", ["time_first", "size", "off_on"], ["input.0"]))
    layers = range(shape.layers)
    nodes += [node("Split", [name], [f"{name}.{layer}" for layer in layers], axis=0) for name in states]
    for layer in layers:
        constants |= _weights(file, layer, int8=int8)
        nodes += _layer(shape, layer, states, int8=int8)
    nodes += [node("Concat", [f"{name}.{k}.after" for k in layers], [f"{name}_after"], axis=0) for name in states]
    nodes.append(node("Sum", [f"input.{k + 1}" for k in (layers if shape.sum_outputs else layers[-1:])], ["total"]))
    # MatMul reads the weights of the head transposed.
    if int8:
        constants |= _rounded("head.weight", file.arrays["head.weight"])
        nodes += [
            node("DynamicQuantizeLinear", ["total"], ["total.int8", "total.scale", "total.zero"]),
            node("MatMulInteger", ["total.int8", "head.weight", "total.zero", "head.weight.zero"], ["sums"]),
            node("Cast", ["sums"], ["sums.float"], to=TensorProto.FLOAT),
            node("Mul", ["total.scale", "head.weight.scale"], ["scale"]),
            node("Mul", ["sums.float", "scale"], ["products"]),
        ]
    else:
        constants["head.weight"] = file.arrays["head.weight"].T
        nodes.append(node("MatMul", ["total", "head.weight"], ["products"]))
    nodes.append(node("Add", ["products", "head.bias"], ["logits_time_first"]))
    nodes.append(node("Transpose", ["logits_time_first"], ["logits"], perm=[1, 0, 2]))
    value = helper.make_tensor_value_info
    read: list[int | str | None] = ["B", "T"]
    state: list[int | str | None] = [shape.layers, "B", shape.hidden]
    logits = value("logits", TensorProto.FLOAT, [*read, size])
    built = helper.make_graph(
        nodes,
        "nextchar",
        [value("ids", TensorProto.INT64, read), *(value(name, TensorProto.FLOAT, state) for name in states)],
        [logits, *(value(f"{name}_after", TensorProto.FLOAT, state) for name in states)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
        doc_string=ABOUT,
    )
    sets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(RUNTIME, 1)] if int8 else [])]
    model = helper.make_model(built, opset_imports=sets, ir_version=IR, producer_name="nextchar")
    helper.set_model_props(model, _metadata(file))
    return model


def _weights(file: ModelFile, layer: int, *, int8: bool) -> Arrays:
    """Return the weights of a layer by name, in the layout of ONNX: one direction, gates in its own order."""
    order, hidden = ORDER[file.architecture.cell], file.architecture.hidden
    stacked: Arrays = {}
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        array = file.arrays[f"layers.{layer}.{part}"]
        gates = array.reshape(len(order), hidden, *array.shape[1:])[order].reshape(array.shape)
        rounded = int8 and part.startswith("weight")
        stacked |= _rounded(f"layers.{layer}.{part}", gates) if rounded else {f"layers.{layer}.{part}": gates}
    biases = [stacked.pop(f"layers.{layer}.{part}") for part in ("bias_ih", "bias_hh")]
    stacked[f"layers.{layer}.bias"] = np.concatenate(biases)
    return {name: array[None] for name, array in stacked.items()}


def _rounded(name: str, rows: npt.NDArray[Any]) -> Arrays:
    """Return weights as ONNX Runtime multiplies them in int8: transposed, with the scale and zero of each column."""
    whole, scale = int8_rows(rows, largest(rows)[:, None])
    return {name: whole.T, f"{name}.scale": scale[:, 0], f"{name}.zero": np.zeros(len(rows), np.int8)}


def _layer(shape: Architecture, layer: int, states: Sequence[str], *, int8: bool) -> "list[NodeProto]":
    """Return the nodes of a layer: from input K, `(T, B, X)`, to input K + 1, `(T, B, H)`."""
    inputs, recurrent, bias = (f"layers.{layer}.{part}" for part in ("weight_ih", "weight_hh", "bias"))
    read = [f"input.{layer}", inputs, recurrent, bias, "", *(f"{name}.{layer}" for name in states)]
    written = [f"outputs.{layer}", *(f"{name}.{layer}.after" for name in states)]
    # As in torch, the reset gate of a gru comes after the product.
    options: dict[str, Any] = {
        "hidden_size": shape.hidden,
        **({"linear_before_reset": 1} if shape.cell == "gru" else {}),
    }
    if int8:
        read += ["", *(f"{name}.{part}" for name in (inputs, recurrent) for part in ("scale", "zero"))]
        recurrence = node("DynamicQuantizeLSTM", read, written, domain=RUNTIME, **options)
    else:
        recurrence = node(shape.cell.upper(), read, written, **options)
    return [recurrence, node("Squeeze", [f"outputs.{layer}", "direction"], [f"input.{layer + 1}"])]


def _metadata(file: ModelFile) -> dict[str, str]:
    """Return what a program needs beside the graph, as texts."""
    vocabulary = file.vocabulary
    return {
        "units": vocabulary.units,
        "vocabulary": json.dumps(vocabulary.codes),
        "start": str(vocabulary.start),
        "architecture": json.dumps(file.architecture.as_dict()),
    }
