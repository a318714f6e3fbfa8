"""The report of `nextchar bench`: the machine, and the speed of training, generation, scoring and start-up."""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from nextchar.benchmark.workloads import STREAMS, VOCABULARY_SIZE, Size, many_streams, one_stream, training_step_of
from nextchar.device import pick_precision
from nextchar.errors import ConfigError, did_you_mean
from nextchar.evaluation.score import score_ids
from nextchar.kernels.packing import KINDS
from nextchar.kernels.threads import available_cores
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.storage import to_language_model, write_model
from nextchar.training.probe import seconds_each

SIZES = ("2x128", "1x512", "2x512", "2x640", "3x512")
PARTS = ("training", "generation", "scoring", "starting")

Report = dict[str, Any]


def measure(
    sizes: Sequence[str] = SIZES,
    parts: Sequence[str] = PARTS,
    *,
    seconds: float = 3.0,
    on_progress: Callable[[str], object],
) -> Report:
    """Measure the speed of this machine.

    Args:
        sizes: Networks, such as 2x512.
        parts: Out of `PARTS`.
        seconds: How long each measurement is repeated; medians are reported.
        on_progress: Called with a line before each measurement.

    Raises:
        ConfigError: A size or a part is unknown, or the seconds are not positive.
    """
    for part in parts:
        if part not in PARTS:
            raise ConfigError(f"the part is '{part}', but must be one of {', '.join(PARTS)}{did_you_mean(part, PARTS)}")
    if not seconds > 0:
        raise ConfigError(f"the seconds are {seconds:g}, but must be more than 0")
    parsed = {name: Size.parse(name) for name in sizes}
    report: Report = {"machine": machine()}
    by_size = {"training": training, "generation": generation, "scoring": scoring}
    for name, size in parsed.items():
        for part, function in by_size.items():
            if part in parts:
                on_progress(f"measuring {part} {name} ...")
                report.setdefault(part, {})[name] = function(size, seconds)
    if "starting" in parts:
        on_progress("measuring starting ...")
        report["starting"] = starting()
    return report


def machine() -> Report:
    """Describe the machine; `precision` is that of training on the CPU."""
    name = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        lines = described.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return {
        "cpu": name,
        "cores": available_cores(),
        "precision": cpu_precision(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def cpu_precision() -> str:
    """Return the precision in which this machine trains on the CPU."""
    return pick_precision("auto", torch.device("cpu"))[0]


def training(size: Size, seconds: float) -> Report:
    """Measure characters per second of training."""
    length, count = size.batch_shape()
    each = seconds_each(training_step_of(size, cpu_precision()), seconds)
    return {"chars_per_second": length * count / each}


def generation(size: Size, seconds: float) -> Report:
    """Measure characters per second of one stream with each kind of weights, and of many streams in float32."""
    model = size.model()
    one = {
        kind: {
            "chars_per_second": one_stream(CompiledNetwork(model, kind), seconds),  # type: ignore[arg-type]
            "one_core": one_stream(CompiledNetwork(model, kind, threads=1), seconds),  # type: ignore[arg-type]
        }
        for kind in KINDS
    }
    together = many_streams(CompiledNetwork(model, "fp32"), seconds)
    return {"one_stream": one, "streams": {"count": STREAMS, "chars_per_second": together}}


def scoring(size: Size, seconds: float) -> Report:
    """Measure characters per second of the *stream* protocol."""
    lm = to_language_model(size.model())
    ids = np.random.default_rng(0).integers(0, VOCABULARY_SIZE, 1 << 17)
    each = seconds_each(lambda: score_ids(lm.network, ids, lm.vocabulary), seconds, at_least=1)
    return {"chars_per_second": len(ids) / each}


def starting() -> Report:
    """Measure `nextchar sample -n 1000` as a process: the time to its first character, and to its end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        write_model(path, Size(2, 512).model())
        command = [sys.executable, "-m", "nextchar", "sample", str(path), "-n"]

        def run(length: int) -> tuple[float, float]:
            begin = time.perf_counter()
            with subprocess.Popen(  # noqa: S603  our own program
                [*command, str(length)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            ) as process:
                assert process.stdout is not None
                process.stdout.read(1)
                first = time.perf_counter() - begin
                process.stdout.read()
            return first, time.perf_counter() - begin

        run(10)  # fills the cache of compiled code
        runs = [run(1000) for _ in range(5)]
    return {
        "first_character_seconds": median(first for first, _ in runs),
        "whole_seconds": median(whole for _, whole in runs),
    }
