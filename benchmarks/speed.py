"""What `nextchar bench` measures, beside the machine's ceilings, PyTorch's LSTM and ONNX Runtime.

    python benchmarks/speed.py --sizes 2x512 --only training generation
    python benchmarks/speed.py --agree runs/shakespeare tiny.txt

Close other programs first; all of it takes some minutes. ONNX Runtime is measured if `onnx` and `onnxruntime` are installed.
"""

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nextchar.architecture import WeightKind
from nextchar.benchmark import report as bench
from nextchar.benchmark.workloads import STREAMS, VOCABULARY_SIZE, Size, training_step_of
from nextchar.cli.bench import Rows, print_tables, tables
from nextchar.cli.console import print_json
from nextchar.evaluation.score import score_ids
from nextchar.kernels.gemm import compiled
from nextchar.kernels.packing import KINDS
from nextchar.model.compiled import own_threads
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.storage import ModelFile, read_model, to_language_model
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.text.encoding import Encoder
from nextchar.text.sources import Source, read_codes
from nextchar.training.probe import seconds_each

PARTS = ("ceilings", *bench.PARTS, "encoding")
OTHERS = ("nn.LSTM", "nn.LSTMCell", "ONNX Runtime", "ONNX Runtime int8")
Report = dict[str, Any]


COPIES = 32  # of a text of a megabyte that is encoded


class Product(NamedTuple):
    """A matrix product `(m, k) @ (k, n)`, done `times` times."""

    m: int
    k: int
    n: int
    times: int = 1

    @property
    def flop(self) -> float:
        """FLOP of all of them."""
        return 2.0 * self.m * self.k * self.n * self.times


CEILINGS = {"2048x2048x2048": Product(2048, 2048, 2048), "64x512x2048": Product(64, 512, 2048, 8)}


def products_of_step(size: Size) -> list[Product]:
    """Return the products of one training step; the first layer's input is a table row and takes no product."""
    length, count = size.batch_shape()
    rows, h, gates, upper = length * count, size.hidden, 4 * size.hidden, size.layers - 1
    return [
        Product(count, h, gates, size.layers * length),  # recurrent, forward
        Product(count, gates, h, size.layers * length),  # recurrent, backward
        Product(gates, rows, h, size.layers),  # gradient of the recurrent weights
        Product(rows, h, gates, upper),  # input, forward
        Product(rows, gates, h, upper),  # input, backward
        Product(gates, rows, h, upper),  # gradient of the input weights
        Product(rows, h, VOCABULARY_SIZE, 3),  # head: forward and both backward products
    ]


def product_seconds(products: Sequence[Product], precision: str, seconds: float) -> float:
    """Return how long torch takes for the products alone, on all cores; each is measured for `seconds`."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    total = 0.0
    for product in products:
        m, k, n, times = product
        a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
        out = torch.empty(m, n, dtype=dtype)
        # Small products are repeated between two readings of the clock.
        repeats = max(1, min(times, int(1e8 / (2 * m * k * n))))
        multiply = partial(torch.mm, a, b, out=out)
        total += seconds_each(partial(_repeat, multiply, repeats), seconds) / repeats * times
    return total


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def flops(products: Sequence[Product], precision: str, seconds: float) -> float:
    """Return FLOP/s of the products alone."""
    return sum(product.flop for product in products) / product_seconds(products, precision, seconds)


@compiled
def _sum(values: Any, times: int) -> Any:
    total = np.float32(0)
    for _ in range(times):
        a = b = c = d = np.float32(0)
        quarter = len(values) // 4
        for index in range(quarter):
            a += values[index]
            b += values[quarter + index]
            c += values[2 * quarter + index]
            d += values[3 * quarter + index]
        total += a + b + c + d
    return total


def read_rate(size: int, seconds: float) -> float:
    """Return bytes per second of one core that reads the same `size` bytes repeatedly."""
    values = np.ones(max(16, size // 4), np.float32)
    times = max(1, int(2e7 / size))
    return values.nbytes * times / seconds_each(lambda: _sum(values, times), seconds)


def ceilings(seconds: float) -> Report:
    """Measure matrix products on all cores, and reading memory on one core."""
    kinds = ("fp32", "bf16") if bench.cpu_precision() == "bf16" else ("fp32",)
    return {
        "gemm_gflops": {
            kind: {name: flops([product], kind, seconds) / 1e9 for name, product in CEILINGS.items()} for kind in kinds
        },
        "read_gbps": {f"{mib} MiB": read_rate(mib << 20, seconds) / 1e9 for mib in (1, 4, 13, 33)},
    }


class StockLSTM(nn.Module):
    """The usual PyTorch model: an embedding as wide as the hidden layers, `nn.LSTM`, and a linear head."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY_SIZE, size.hidden)
        self.lstm = nn.LSTM(size.hidden, size.hidden, size.layers)
        self.head = nn.Linear(size.hidden, VOCABULARY_SIZE)


def stock_step(size: Size, precision: str) -> Callable[[], object]:
    """Return a function that does the same training step with `nn.LSTM` and fused Adam."""
    torch.manual_seed(0)
    model = StockLSTM(size)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    length, count = size.batch_shape()
    ids = torch.randint(0, VOCABULARY_SIZE, (length, count))
    state = (torch.zeros(size.layers, count, size.hidden),) * 2

    def step() -> None:
        nonlocal state
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            outputs, after = model.lstm(model.embedding(ids), state)
            logits = model.head(outputs)
        state = (after[0].detach().float(), after[1].detach().float())
        loss = functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def seconds_by_turns(steps: Mapping[str, Callable[[], object]], seconds: float, rounds: int = 3) -> dict[str, float]:
    """Return the median duration of several functions that take turns, so that a slow moment affects all of them."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds_each(step, seconds / rounds, at_least=2))
    return {name: median(each) for name, each in times.items()}


def training(size: Size, seconds: float) -> Report:
    """Measure training beside the ceiling of its products and beside `nn.LSTM`."""
    precision = bench.cpu_precision()
    products = products_of_step(size)
    length, count = size.batch_shape()
    chars = length * count
    ceiling = chars / product_seconds(products, precision, seconds / 5)
    steps = {"ours": training_step_of(size, precision), "fp32": stock_step(size, "fp32")}
    if precision == "bf16":
        steps["bf16"] = stock_step(size, "bf16")
    speeds = {name: chars / each for name, each in seconds_by_turns(steps, seconds).items()}
    ours, bf16 = speeds["ours"], speeds.get("bf16", 0.0)
    return {
        "chars_per_second": ours,
        "gflops": ours * sum(product.flop for product in products) / chars / 1e9,
        "ceiling_chars_per_second": ceiling,
        "ceiling_share": ours / ceiling,
        "stock_fp32": speeds["fp32"],
        "stock_bf16": bf16,
        "times_stock_fp32": ours / speeds["fp32"],
        "times_stock_bf16": ours / bf16 if bf16 else 0.0,
    }


def steps_per_second(step: Callable[[], object], seconds: float) -> float:
    """Return how often a function can be called a second, after two warm-up calls."""
    step(), step()
    count, begin = 0, time.perf_counter()
    while count < 5 or time.perf_counter() - begin < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - begin)


def torch_loop(size: Size, seconds: float, *, cells: bool = False) -> float:
    """Return characters per second of `nn.LSTM` or `nn.LSTMCell`, one character a call on one thread.

    `nn.LSTMCell` runs without oneDNN, which is faster.
    """
    embedding, head = nn.Embedding(VOCABULARY_SIZE, size.hidden), nn.Linear(size.hidden, VOCABULARY_SIZE)
    lstm = nn.LSTM(size.hidden, size.hidden, size.layers)
    stack = [nn.LSTMCell(size.hidden, size.hidden) for _ in range(size.layers)]
    ids = torch.zeros(1, dtype=torch.int64)
    state: Any = None
    states: list[Any] = [None] * size.layers

    def step() -> None:
        nonlocal ids, state
        x = embedding(ids)
        if cells:
            for index, cell in enumerate(stack):
                states[index] = cell(x, states[index])
                x = states[index][0]
        else:
            outputs, state = lstm(x[None], state)
            x = outputs[0]
        ids = torch.multinomial(torch.softmax(head(x)[0], -1), 1)

    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = not cells  # type: ignore[assignment]
    try:
        with torch.no_grad(), own_threads():
            return steps_per_second(step, seconds)
    finally:
        torch.backends.mkldnn.enabled = before


def onnx_loop(size: Size, seconds: float, weights: WeightKind) -> float:
    """Return characters per second of ONNX Runtime with an exported model on one thread; 0 if it is not installed."""
    if not (importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")):
        return 0.0
    import onnxruntime  # noqa: PLC0415  optional

    from nextchar.exporting.onnx import encode  # noqa: PLC0415  as above

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(encode(size.model(), weights), options, ["CPUExecutionProvider"])
    state = {name: np.zeros((size.layers, 1, size.hidden), np.float32) for name in ("hidden", "cell")}
    random, ids = np.random.default_rng(0), np.zeros((1, 1), np.int64)

    def step() -> None:
        logits, *after = session.run(None, {**state, "ids": ids})
        state.update(zip(state, after, strict=True))
        p = np.cumsum(np.exp(logits[0, 0] - logits.max()))
        ids[0, 0] = np.searchsorted(p, random.random() * p[-1])

    return steps_per_second(step, seconds)


def generation(size: Size, seconds: float) -> Report:
    """Measure generation beside the bound of memory bandwidth, the ceiling of products, and other loops."""
    report = bench.generation(size, seconds)
    model = size.model()
    others = {
        "nn.LSTM": torch_loop(size, seconds),
        "nn.LSTMCell": torch_loop(size, seconds, cells=True),
        "ONNX Runtime": onnx_loop(size, seconds, "fp32"),
        "ONNX Runtime int8": onnx_loop(size, seconds, "int8"),
    }
    for kind, row in report["one_stream"].items():
        weight_bytes = matrix_bytes(CompiledNetwork(model, kind))
        row["bound"] = read_rate(weight_bytes, seconds / 4) / weight_bytes
        row["bound_share"] = row["one_core"] / row["bound"]
    streams = report["streams"]
    flop = 2.0 * matrix_bytes(CompiledNetwork(model, "fp32")) / 4
    ceiling = flops([Product(STREAMS, size.hidden, 4 * size.hidden, 8)], "fp32", seconds / 4)
    streams["gflops"] = streams["chars_per_second"] * flop / 1e9
    streams["ceiling_gflops"] = ceiling / 1e9
    streams["ceiling_share"] = streams["gflops"] / streams["ceiling_gflops"]
    report["beside"] = others
    report["times"] = {
        kind: {name: row["chars_per_second"] / other for name, other in others.items() if other}
        for kind, row in report["one_stream"].items()
    }
    return report


def matrix_bytes(engine: CompiledNetwork) -> int:
    """Return how many bytes of weights one generated character reads."""
    packed = engine.packed
    return packed.first.nbytes + packed.above.nbytes + packed.head.nbytes


def encoding(seconds: float) -> Report:
    """Measure how many megabytes of UTF-8 per second become ids."""
    blocks = {
        "ascii": "The quick brown fox jumps over the lazy dog;\n" * 25_000,
        "mixed": "Привет, мир! 你好,世界。Füße € naïve café ✓ and some plain words,\n" * 12_000,
    }
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, block in blocks.items():
            path = Path(folder, f"{name}.txt")
            path.write_bytes(block.encode() * COPIES)
            each = seconds_each(partial(encode, path, Path(folder, "ids")), seconds)
            result[f"{name}_mbps"] = path.stat().st_size / each / 1e6
    return result


def encode(text: Path, ids: Path) -> None:
    """Encode a text file in UTF-8 as ids, without the cache."""
    encoder = Encoder(ids, "characters")
    encoder.add(read_codes(Source(text, text.name), "characters", "utf-8"))
    encoder.finish()


def agreement(model: ModelFile, corpus: Corpus, limit: int = 100_000) -> Report:
    """Compare bits per character of the model in torch and with each kind of weights, on the same text."""
    ids = corpus.take(0, min(limit, len(corpus)))
    reference = score_ids(to_language_model(model).network, ids, model.vocabulary).bits_per_char
    bits = {
        kind: float(CompiledNetwork(model, kind).read(ids)[0].mean() / np.log(2))  # type: ignore[arg-type]
        for kind in KINDS
    }
    return {"chars": len(ids), "reference": reference, **bits}


def measure(sizes: Sequence[str], parts: Sequence[str], seconds: float) -> Report:
    """Measure, one after the other; print what is measured."""
    report: Report = {"machine": bench.machine()}
    if "ceilings" in parts:
        report["ceilings"] = ceilings(seconds / 4)
    by_size = {"training": training, "generation": generation, "scoring": bench.scoring}
    for part in [part for part in by_size if part in parts]:
        report[part] = {size: by_size[part](Size.parse(size), seconds) for size in sizes}
    if "encoding" in parts:
        report["encoding"] = encoding(seconds)
    if "starting" in parts:
        report["starting"] = bench.starting()
    return report


def all_tables(report: Report) -> dict[str, Rows]:
    """Return a table for each part that was measured, with ceilings and comparisons."""
    found: dict[str, Rows] = {}
    if "ceilings" in report:
        products = [
            [f"{kind} product {shape}", f"{value:,.0f}"]
            for kind, shapes in report["ceilings"]["gemm_gflops"].items()
            for shape, value in shapes.items()
        ]
        reads = [[size, f"{value:,.0f}"] for size, value in report["ceilings"]["read_gbps"].items()]
        found["Ceilings: products, all cores"] = [["what", "GFLOP/s"], *products]
        found["Ceilings: reading, one core"] = [["size", "GB/s"], *reads]
    if "training" in report:
        rows = [["size", "chars/s", "GFLOP/s", "of ceiling", "x nn.LSTM fp32", "x nn.LSTM bf16"]]
        for size, row in report["training"].items():
            speed = [f"{row['chars_per_second']:,.0f}", f"{row['gflops']:,.0f}", f"{row['ceiling_share']:.0%}"]
            bf16 = f"{row['times_stock_bf16']:.2f}" if row["times_stock_bf16"] else "-"
            rows.append([size, *speed, f"{row['times_stock_fp32']:.2f}", bf16])
        found["Training, all cores"] = rows
    if "generation" in report:
        one = [["size", "weights", "one core", "of bound", "chars/s", *(f"x {other}" for other in OTHERS)]]
        many = [["size", "streams", "chars/s", "GFLOP/s", "of ceiling"]]
        for size, row in report["generation"].items():
            for kind, speed in row["one_stream"].items():
                times = [f"{row['times'][kind][o]:,.1f}" if o in row["times"][kind] else "-" for o in OTHERS]
                core = [f"{speed['one_core']:,.0f}", f"{speed['bound_share']:.0%}"]
                one.append([size, kind, *core, f"{speed['chars_per_second']:,.0f}", *times])
            each = row["streams"]
            speeds = [f"{each['chars_per_second']:,.0f}", f"{each['gflops']:,.0f}"]
            many.append([size, str(each["count"]), *speeds, f"{each['ceiling_share']:.0%}"])
        found |= {"Generation, one stream": one, "Generation, many streams, all cores, fp32": many}
    found |= tables({part: report[part] for part in ("scoring", "starting") if part in report})
    if "encoding" in report:
        rows = [[name.removesuffix("_mbps"), f"{value:,.0f}"] for name, value in report["encoding"].items()]
        found["Encoding, one core"] = [["text", "MB/s"], *rows]
    if "agreement" in report:
        bits = {kind: report["agreement"][kind] for kind in ("reference", *KINDS)}
        rows = [[kind, f"{each:.5f}", f"{each - bits['reference']:+.5f}"] for kind, each in bits.items()]
        title = f"Agreement on {report['agreement']['chars']:,} characters"
        found[title] = [["weights", "bits/char", "difference"], *rows]
    return found


def main() -> None:
    """Read the command line, measure, print tables or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(bench.SIZES), help="networks, layers x units")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each measurement is repeated")
    parser.add_argument(
        "--agree", nargs=2, metavar=("MODEL", "TEXT"), help="also compare the kinds of weights on a text"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.agree:  # read first: a missing file should not be found after minutes
        model = read_model(Path(options.agree[0]))
        corpus = open_corpus([options.agree[1]], units=model.vocabulary.units)
    report = measure(options.sizes, options.only, options.seconds)
    if options.agree:
        report["agreement"] = agreement(model, corpus.in_vocabulary(model.vocabulary))
    if options.json:
        print_json(report)
    else:
        print_tables(report["machine"], all_tables(report))


if __name__ == "__main__":
    main()
