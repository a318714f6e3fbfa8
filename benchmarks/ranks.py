"""How fast several processes train beside one that uses all cores.

    python benchmarks/ranks.py tiny.txt --processes 2 --size 2x512
    python benchmarks/ranks.py tiny.txt --processes 2 --size 2x512 --rounds 5 --steps 30

They take turns, so that a slow moment affects both. Speeds are those of the training steps alone, as `nextchar train`
prints them; the median of the rounds counts. Nothing else may run on the machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from nextchar.benchmark.report import machine
from nextchar.benchmark.workloads import VOCABULARY_SIZE, Size


def speed(launcher: Sequence[str], text: Path, size: Size, steps: int) -> float:
    """Train some steps; return characters a second."""
    length, rows = size.batch_shape()
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", str(text), "-o", folder + "/run", "--json", "--valid", "0", "--test", "0"]
        words += ["--layers", str(size.layers), "--hidden", str(size.hidden), "--steps", str(steps)]
        words += ["--batch-size", str(rows), "--seq-length", str(length)]
        command = [sys.executable, *launcher, "-m", "nextchar", *words]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603
    return float(json.loads(done.stdout)["chars_per_second"])


def measure(text: Path, size: Size, processes: int, rounds: int, steps: int) -> dict[str, Any]:
    """Return the speed of one process and of several, and what a step sends."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    found: dict[str, list[float]] = {"one": [], "several": []}
    for _ in range(rounds):
        found["one"].append(speed([], text, size, steps))
        found["several"].append(speed(several, text, size, steps))
    one, together = median(found["one"]), median(found["several"])
    length, rows = size.batch_shape()
    return {
        "machine": machine(),
        "size": f"{size.layers}x{size.hidden}",
        "characters_per_step": length * rows,
        "gradient_megabytes": round(4 * size.model().architecture.parameters(VOCABULARY_SIZE) / 1e6, 2),
        "one_process": round(one),
        f"{processes}_processes": round(together),
        "share": round(together / one, 3),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }


def main() -> None:
    """Parse the command line, and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--size", type=Size.parse, default=Size(2, 512), help="layers x units")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    found = measure(arguments.text, arguments.size, arguments.processes, arguments.rounds, arguments.steps)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
