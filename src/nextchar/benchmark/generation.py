"""Writing speed: ours with each kind of weights, and the loops one would write around torch and ONNX Runtime."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from nextchar.architecture import Architecture
from nextchar.benchmark.ceilings import Product, rate, read_rate, seconds_each
from nextchar.benchmark.training import VOCABULARY
from nextchar.kernels.packing import KINDS
from nextchar.kernels.threads import available_cores, parallel_for
from nextchar.model.compiled import own_threads
from nextchar.model.network import Network, initialize
from nextchar.sampling.engine import Engine, Filters, Group
from nextchar.storage import ModelFile
from nextchar.text.vocabulary import Vocabulary

STREAMS = 64


def make_model(layers: int, hidden: int) -> ModelFile:
    """Return a network of a size with random weights."""
    shape = Architecture(layers=layers, hidden=hidden)
    network = Network(shape, VOCABULARY)
    initialize(network, torch.Generator().manual_seed(0))
    arrays = {name: p.detach().numpy() for name, p in network.named_parameters()}
    return ModelFile(shape, Vocabulary("characters", tuple(range(32, 32 + VOCABULARY))), arrays)


def one_stream(engine: Engine, seconds: float) -> float:
    """Return characters per second of one text, choosing included, on as many cores as the engine takes."""
    group = Group(engine, 1, Filters())
    group.add(engine.start, 0)
    length = 64
    for _ in range(6):  # the engine tries what is fastest
        group.write(length)
    return length / seconds_each(lambda: group.write(length), seconds)


def many_streams(engine: Engine, seconds: float, streams: int = STREAMS) -> float:
    """Return characters per second of many texts together on all cores."""
    size = -(-streams // available_cores())
    groups = []
    for _ in range(available_cores()):
        group = Group(engine, size, Filters(), team=1)
        for key in range(size):
            group.add(engine.start, key)
        groups.append(group)

    def one(first: int, _: int) -> None:
        groups[first].write(16)

    each = seconds_each(lambda: parallel_for(one, len(groups), 1), seconds)
    return 16 * size * len(groups) / each


def matrix_bytes(engine: Engine) -> int:
    """Return how many bytes of weights a character reads."""
    packed = engine.packed
    return packed.first.nbytes + packed.above.nbytes + packed.head.nbytes


def _per_second(step: Callable[[], object], seconds: float) -> float:
    """Return steps per second, two trial steps aside."""
    step(), step()
    count, begun = 0, time.perf_counter()
    while count < 5 or time.perf_counter() - begun < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - begun)


def eager(layers: int, hidden: int, seconds: float, *, cells: bool = False) -> float:
    """Return characters per second of torch's `nn.LSTM`, or `nn.LSTMCell`, one character at a time on one thread.

    Of the cells oneDNN is switched off, which is their best.
    """
    embedding, head = nn.Embedding(VOCABULARY, hidden), nn.Linear(hidden, VOCABULARY)
    lstm = nn.LSTM(hidden, hidden, layers)
    stack = [nn.LSTMCell(hidden, hidden) for _ in range(layers)]
    chosen = torch.zeros(1, dtype=torch.int64)
    whole: Any = None
    states: list[Any] = [None] * layers

    def step() -> None:
        nonlocal chosen, whole
        x = embedding(chosen)
        if cells:
            for index, cell in enumerate(stack):
                states[index] = cell(x, states[index])
                x = states[index][0]
        else:
            outputs, whole = lstm(x[None], whole)
            x = outputs[0]
        chosen = torch.multinomial(torch.softmax(head(x)[0], -1), 1)

    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = not cells  # type: ignore[assignment]
    try:
        with torch.no_grad(), own_threads():
            return _per_second(step, seconds)
    finally:
        torch.backends.mkldnn.enabled = before


def onnx_runtime(layers: int, hidden: int, seconds: float) -> float:
    """Return characters per second of ONNX Runtime's LSTM operator, one step a call; 0 where it is not installed."""
    if not (importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")):
        return 0.0
    import onnx  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    random = np.random.default_rng(0)
    weights, nodes, inputs, outputs = [], [], [], []

    def weight(name: str, *shape: int) -> str:
        values = random.standard_normal(shape).astype(np.float32) * np.float32(hidden**-0.5)
        weights.append(numpy_helper.from_array(values, name))
        return name

    nodes.append(helper.make_node("Gather", [weight("embedding", VOCABULARY, hidden), "ids"], ["x0"]))
    for layer in range(layers):
        names = [f"{part}{layer}" for part in ("h", "c")]
        inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, hidden]) for name in names]
        outputs += [
            helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [1, 1, hidden]) for name in names
        ]
        given = [
            f"x{layer}",
            weight(f"w{layer}", 1, 4 * hidden, hidden),
            weight(f"r{layer}", 1, 4 * hidden, hidden),
            weight(f"b{layer}", 1, 8 * hidden),
        ]
        made = [f"y{layer}", *(f"{name}_out" for name in names)]
        nodes.append(helper.make_node("LSTM", [*given, "", *names], made, hidden_size=hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "axis"], [f"x{layer + 1}"]))
    weights.append(numpy_helper.from_array(np.array([1]), "axis"))
    nodes.append(helper.make_node("MatMul", [f"x{layers}", weight("head", hidden, VOCABULARY)], ["logits"]))
    inputs.append(helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 1]))
    outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, VOCABULARY]))
    graph = helper.make_graph(nodes, "step", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    state = {
        f"{part}{layer}": np.zeros((1, 1, hidden), np.float32) for layer in range(layers) for part in "hc"
    }
    names = [output.name for output in session.get_outputs()]
    chosen = np.zeros((1, 1), np.int64)

    def step() -> None:
        results = dict(zip(names, session.run(names, {**state, "ids": chosen}), strict=True))
        for name in state:
            state[name] = results[f"{name}_out"]
        logits = results["logits"][0, 0]
        p = np.cumsum(np.exp(logits - logits.max()))
        chosen[0, 0] = np.searchsorted(p, random.random() * p[-1])

    return _per_second(step, seconds)


def measure(layers: int, hidden: int, seconds: float) -> dict[str, Any]:
    """Measure one size: ours, its share of what memory or the multipliers allow, and the loops beside it."""
    model = make_model(layers, hidden)
    kinds: dict[str, Any] = {}
    engines = {kind: Engine(model, kind) for kind in KINDS}  # type: ignore[arg-type]
    for kind, engine in engines.items():
        size = matrix_bytes(engine)
        bound = read_rate(size, seconds / 4) / size
        one = one_stream(Engine(model, kind, team=1), seconds)  # type: ignore[arg-type]
        kinds[kind] = {
            "chars_per_second": one_stream(engine, seconds),
            "one_core": one,
            "bound": bound,
            "bound_share": one / bound,
        }
    flop = 2.0 * matrix_bytes(engines["fp32"]) / 4
    streams = many_streams(engines["fp32"], seconds)
    ceiling = rate([Product(STREAMS, hidden, 4 * hidden, 8)], "fp32", seconds / 4)
    beside = {
        "nn.LSTM": eager(layers, hidden, seconds),
        "nn.LSTMCell": eager(layers, hidden, seconds, cells=True),
        "ONNX Runtime": onnx_runtime(layers, hidden, seconds),
    }
    return {
        "one_stream": kinds,
        "streams": {
            "count": STREAMS,
            "chars_per_second": streams,
            "gflops": streams * flop / 1e9,
            "ceiling_gflops": ceiling / 1e9,
            "ceiling_share": streams * flop / ceiling,
        },
        "beside": beside,
        "times": {
            kind: {name: row["chars_per_second"] / other for name, other in beside.items() if other}
            for kind, row in kinds.items()
        },
    }
