"""The whole measurement as one dictionary: the machine, its ceilings, and every room beside them."""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import nextchar.benchmark.generation as writing
import nextchar.benchmark.training as learning
from nextchar.benchmark.ceilings import Product, rate, read_rate, seconds_each
from nextchar.device import pick_precision
from nextchar.errors import ConfigError
from nextchar.evaluation.score import score_ids
from nextchar.kernels.packing import KINDS
from nextchar.kernels.threads import available_cores
from nextchar.sampling.engine import Engine
from nextchar.storage import ModelFile, to_language_model, write_model
from nextchar.text.corpus import Corpus, encode

SIZES = ("2x128", "1x512", "2x512", "2x640", "3x512")
PARTS = ("ceilings", "training", "generation", "scoring", "encoding", "starting")

Report = dict[str, Any]


def parse_size(text: str) -> tuple[int, int]:
    """Read layers and units of a size such as 2x512.

    Raises:
        ConfigError: It is no size.
    """
    layers, cross, hidden = text.partition("x")
    if not (cross and layers.isdecimal() and hidden.isdecimal() and int(layers) and int(hidden)):
        raise ConfigError(f"the size is '{text}', but must be layers x units, such as 2x512")
    return int(layers), int(hidden)


def training_shape(layers: int, hidden: int) -> learning.Shape:
    """Return the window a size is measured with: char-rnn's for small ones, 64 lanes of 128 for the rest."""
    return learning.Shape(layers, hidden, *((50, 50) if hidden <= 128 else (64, 128)))


def measure(
    sizes: tuple[str, ...], parts: tuple[str, ...], seconds: float, say: Callable[[str], object]
) -> Report:
    """Measure, one thing after the other.

    Args:
        sizes: Such as 2x512.
        parts: Out of `PARTS`.
        seconds: To repeat each measurement for; medians are reported.
        say: Told what comes next.
    """
    shapes = {size: parse_size(size) for size in sizes}
    precision, _ = pick_precision("auto", torch.device("cpu"))
    report: Report = {"machine": machine(precision)}
    if "ceilings" in parts:
        say("ceilings")
        report["ceilings"] = ceilings(precision, seconds / 4)

    def training(layers: int, hidden: int, seconds: float) -> Report:
        return learning.measure(training_shape(layers, hidden), precision, seconds)

    by_size = {"training": training, "generation": writing.measure, "scoring": scoring}
    for size, (layers, hidden) in shapes.items():
        for part, measured in by_size.items():
            if part in parts:
                say(f"{part} {size}")
                report.setdefault(part, {})[size] = measured(layers, hidden, seconds)
    if "encoding" in parts:
        say("encoding")
        report["encoding"] = encoding(seconds)
    if "starting" in parts:
        say("starting")
        report["starting"] = starting()
    return report


def machine(precision: str | None = None) -> Report:
    """Describe what is measured on; the precision is that of training on the CPU unless another is given."""
    name = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        lines = described.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return {
        "cpu": name,
        "cores": available_cores(),
        "precision": precision or pick_precision("auto", torch.device("cpu"))[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def ceilings(precision: str, seconds: float) -> Report:
    """Measure products in FLOP/s, on all cores, and reading in bytes per second, on one."""
    shapes = {"2048x2048x2048": Product(2048, 2048, 2048), "64x512x2048": Product(64, 512, 2048, 8)}
    kinds = ("fp32", "bf16") if precision == "bf16" else ("fp32",)
    return {
        "gemm_gflops": {
            kind: {name: rate([p], kind, seconds) / 1e9 for name, p in shapes.items()} for kind in kinds
        },
        "read_gbps": {f"{mib} MiB": read_rate(mib << 20, seconds) / 1e9 for mib in (1, 4, 13, 33)},
    }


def scoring(layers: int, hidden: int, seconds: float) -> Report:
    """Measure how many characters per second are scored in the stream protocol."""
    lm = to_language_model(writing.make_model(layers, hidden))
    ids = np.random.default_rng(0).integers(0, learning.VOCABULARY, 1 << 17)
    each = seconds_each(lambda: score_ids(lm.network, ids, lm.vocabulary), seconds, least=1)
    return {"chars_per_second": len(ids) / each}


def encoding(seconds: float) -> Report:
    """Measure how many bytes of UTF-8 per second become ids."""
    ascii_ = ("The quick brown fox jumps over the lazy dog;\n" * 25_000).encode()
    mixed = ("Привет, мир! 你好,世界。Füße € naïve café ✓ and some plain words,\n" * 12_000).encode()
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, block in (("ascii", ascii_), ("mixed", mixed)):
            path = Path(folder, f"{name}.txt")
            path.write_bytes(block * 32)
            each = seconds_each(partial(encode, [str(path)], Path(folder, "ids")), seconds)
            result[f"{name}_mbps"] = 32 * len(block) / each / 1e6
    return result


def starting() -> Report:
    """Measure whole commands: 1,000 characters of a 2x512 model, and the first one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        write_model(path, writing.make_model(2, 512))
        command = [sys.executable, "-m", "nextchar", "sample", str(path), "-n"]

        def run(length: int) -> tuple[float, float]:
            begun = time.perf_counter()
            with subprocess.Popen(  # noqa: S603  our own program
                [*command, str(length)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            ) as process:
                assert process.stdout is not None
                process.stdout.read(1)
                first = time.perf_counter() - begun
                process.stdout.read()
            return first, time.perf_counter() - begun

        run(10)  # fills the cache of compiled code
        runs = [run(1000) for _ in range(5)]
    return {
        "first_character_seconds": median(first for first, _ in runs),
        "whole_seconds": median(whole for _, whole in runs),
    }


def agreement(model: ModelFile, corpus: Corpus, limit: int = 100_000) -> Report:
    """Compare bits per character of each kind of weights on real text, read by the compiled step from the empty state."""
    ids = corpus.take(0, min(limit, len(corpus)))
    bits = {
        kind: float(Engine(model, kind).nats(ids).mean() / np.log(2))  # type: ignore[arg-type]
        for kind in KINDS
    }
    reference = score_ids(to_language_model(model).network, ids, model.vocabulary).bits_per_char
    return {"chars": len(ids), "reference": reference, **bits}
