"""Everything about a GPU in one run of at most nine minutes: tests, kernels, training, generation, and two short trainings.

    python benchmarks/gpu.py results.jsonl --texts tiny-shakespeare.txt enwik8_prefix.txt
    python benchmarks/gpu.py results.jsonl --show

A line is written as soon as something is measured, so what a run has measured before it is cut off is not lost, and
`--show` makes the tables of it. What fails, as for lack of memory, has its error in its line. `--toy --device cpu` does
the same with tiny sizes in a few seconds, which shows that the script works and measures nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nextchar.benchmark.workloads import VOCABULARY_SIZE, Size
from nextchar.config import Config
from nextchar.device import pick_device, pick_precision
from nextchar.sampling.engine import Engine
from nextchar.sampling.options import SamplingParams
from nextchar.text.corpus import open_corpus
from nextchar.training.autosize import plan
from nextchar.training.events import Finished
from nextchar.training.probe import seconds_each, training_step
from nextchar.training.start import make_trainer

ROOT = Path(__file__).parents[1]
KINDS = ("fp32", "tf32", "bf16", "fp16")
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
Row = dict[str, Any]


class Job(NamedTuple):
    """What is measured.

    Attributes:
        device: Where.
        sizes: Networks of the training steps and of generation.
        hidden: Widths of the matrix of kernels.
        batches: Batch sizes of the matrix of kernels.
        length: Of its sequences.
        texts: How many texts are generated together.
        seconds: For one figure.
        minutes: Of each training.
        corpora: To train on.
        end: When to end, by `time.monotonic`.
    """

    device: torch.device
    sizes: Sequence[str]
    hidden: Sequence[int]
    batches: Sequence[int]
    length: int
    texts: Sequence[int]
    seconds: float
    minutes: float
    corpora: Sequence[Path]
    end: float


class Plain(nn.Module):
    """The usual model: an embedding, `nn.LSTM` with all layers in one call or one a call, and a linear head."""

    def __init__(self, layers: int, hidden: int, *, stacked: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY_SIZE, hidden)
        calls = (1, layers) if stacked else (layers, 1)
        self.lstms = nn.ModuleList(nn.LSTM(hidden, hidden, calls[1]) for _ in range(calls[0]))
        self.head = nn.Linear(hidden, VOCABULARY_SIZE)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits `(T, B, V)` for ids `(T, B)`, from the empty state."""
        x = self.embedding(ids)
        for lstm in self.lstms:
            x, _ = lstm(x)
        return self.head(x)


def wait(device: torch.device) -> None:
    """Wait until a device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(job: Job, work: Callable[[], object]) -> float:
    """Return the median seconds of a call."""

    def complete() -> None:
        work()
        wait(job.device)

    return seconds_each(complete, job.seconds, at_least=2)


@contextmanager
def precision(kind: str) -> Iterator[None]:
    """Let products of float32 use TF32, or not."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def loss_of(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of logits `(T, B, V)`."""
    return functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten())


def plain_step(
    job: Job, model: Plain, ids: torch.Tensor, kind: str, *, loss: Callable[..., torch.Tensor] = loss_of
) -> Callable[[], None]:
    """Return a training step of the usual model with Adam, whose tensors stay where they are, so it can be captured."""
    on_gpu = job.device.type == "cuda"
    optimizer = torch.optim.Adam(model.parameters(), fused=on_gpu, capturable=on_gpu)

    def step() -> None:
        dtype = AUTOCAST.get(kind, torch.bfloat16)
        with torch.autocast(job.device.type, dtype, enabled=kind in AUTOCAST):
            logits = model(ids)
        loss(logits, ids).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    return step


def random_ids(job: Job, length: int, batch: int) -> torch.Tensor:
    """Return ids `(T, B)`."""
    return torch.randint(0, VOCABULARY_SIZE, (length, batch), generator=torch.Generator().manual_seed(0)).to(job.device)


# -- parts: each yields functions that return a row -------------------------------------------------------------------


def machine(job: Job) -> Iterator[Callable[[], Row]]:
    """Name what is measured."""
    cuda = job.device.type == "cuda"
    chosen, reason = pick_precision("auto", job.device)
    yield lambda: {
        "what": torch.cuda.get_device_name() if cuda else "cpu",
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
        "auto precision": f"{chosen} ({reason})",
        "date": datetime.now(UTC).date().isoformat(),
    }


def tests(job: Job) -> Iterator[Callable[[], Row]]:
    """Run the tests that need a GPU."""

    def run() -> Row:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
        left = max(5.0, min(120.0, job.end - time.monotonic()))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=left)  # noqa: S603
        return {"what": "tests/gpu", "result": (done.stdout.strip().splitlines() or ["no output"])[-1]}

    yield run


def training(job: Job) -> Iterator[Callable[[], Row]]:
    """Measure our training step beside the usual model, in characters a second."""
    for name, kind in product(job.sizes, ("fp32", "bf16")):

        def run(name: str = name, kind: str = kind) -> Row:
            size = Size.parse(name)
            length, batch = (job.length, job.batches[0]) if job.device.type == "cpu" else size.batch_shape()
            config = Config(steps=1, layers=size.layers, hidden=size.hidden, batch_size=batch, seq_length=length)
            recipe = plan(config.replace(dropout=0.0, recurrent_dropout=0.0), length * batch, VOCABULARY_SIZE)
            ours = length * batch / timed(job, training_step(recipe, VOCABULARY_SIZE, job.device, kind))
            ids, row = random_ids(job, length, batch), {"size": name, "precision": kind, "ours": round(ours)}
            for stacked in (True, False):
                model = Plain(size.layers, size.hidden, stacked=stacked).to(job.device)
                speed = length * batch / timed(job, plain_step(job, model, ids, kind))
                row["nn.LSTM" if stacked else "nn.LSTM by layers"] = round(speed)
            return row

        yield run


def generation(job: Job) -> Iterator[Callable[[], Row]]:
    """Measure generation of one text and of many, in characters a second of all together."""
    for name, count in product(job.sizes, job.texts):

        def run(name: str = name, count: int = count) -> Row:
            engine = Engine(Size.parse(name).model(), device=job.device.type)
            batches = engine.backend.batches(count)
            each = -(-count // len(batches))
            start = engine.backend.prefill(np.zeros(1, np.int64))
            for batch, key in product(batches, range(each)):
                batch.add(start, SamplingParams(), key)
            length = 16

            def generate() -> None:
                for batch in batches:
                    batch.generate(length)

            return {"size": name, "texts": count, "chars/s": round(length * each * len(batches) / timed(job, generate))}

        yield run


def kernels(job: Job) -> Iterator[Callable[[], Row]]:
    """Measure two layers of `nn.LSTM`, forward and backward, in microseconds a step: the matrix from which to choose."""
    for hidden, batch in product(job.hidden, job.batches):

        def run(hidden: int = hidden, batch: int = batch) -> Row:
            row: Row = {"H": hidden, "B": batch}
            for kind, stacked in product(KINDS, (True, False)):
                calls = (1, 2) if stacked else (2, 1)
                lstms = [nn.LSTM(hidden, hidden, calls[1]).to(job.device) for _ in range(calls[0])]
                x = torch.randn(job.length, batch, hidden, device=job.device, requires_grad=True)

                def step(kind: str = kind, lstms: list[nn.LSTM] = lstms, x: torch.Tensor = x) -> None:
                    dtype = AUTOCAST.get(kind, torch.bfloat16)
                    with torch.autocast(job.device.type, dtype, enabled=kind in AUTOCAST):
                        y = x
                        for lstm in lstms:
                            y, _ = lstm(y)
                    y.float().sum().backward()  # type: ignore[no-untyped-call]

                name = f"{kind} {'one call' if stacked else 'by layers'}"
                try:
                    with precision(kind):
                        row[name] = round(1e6 * timed(job, step) / job.length, 1)
                except RuntimeError as error:
                    row[name] = str(error).splitlines()[0][:60]
            return row

        yield run


def whole_step(job: Job) -> Iterator[Callable[[], Row]]:
    """Measure the usual model's training step as it is, captured in a CUDA graph, and with a compiled loss."""
    kinds = KINDS if job.device.type == "cuda" else KINDS[:3]  # a CPU does not train in fp16
    for name, kind in product(job.sizes[:2], kinds):

        def run(name: str = name, kind: str = kind) -> Row:
            size = Size.parse(name)
            ids = random_ids(job, job.length, job.batches[0])
            row: Row = {"size": name, "precision": kind}
            with precision(kind):
                model = Plain(size.layers, size.hidden, stacked=False).to(job.device)
                step = plain_step(job, model, ids, kind)
                row["eager ms"] = round(1e3 * timed(job, step), 3)
                if job.device.type == "cuda":
                    row["graph ms"] = round(1e3 * timed(job, captured(step)), 3)
                    compiled = plain_step(job, model, ids, kind, loss=torch.compile(loss_of))
                    row["compiled loss ms"] = round(1e3 * timed(job, compiled), 3)
            return row

        yield run


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Capture a step in a CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def runs(job: Job) -> Iterator[Callable[[], Row]]:
    """Train on each text for some minutes."""
    for place, path in enumerate(job.corpora):

        def run(path: Path = path, place: int = place) -> Row:
            left = (job.end - time.monotonic()) / 60 / (len(job.corpora) - place)
            minutes = min(job.minutes, 0.85 * left)
            trainer = make_trainer(open_corpus(path), Config.make({"minutes": minutes, "device": job.device.type}))
            done = next(event for event in trainer.events() if isinstance(event, Finished))
            recipe = trainer.recipe
            return {
                "text": path.name,
                "minutes": round(done.seconds / 60, 2),
                "size": f"{recipe.layers}x{recipe.hidden}",
                "steps": done.step,
                "epochs": round(done.epochs, 2),
                "chars/s": round(done.chars_per_second),
                "bits/char": round(done.score.bits_per_char, 4) if done.score else None,
            }

        yield run


# What decides most comes first; what takes longest comes last.
PARTS: dict[str, Callable[[Job], Iterator[Callable[[], Row]]]] = {
    "machine": machine,
    "training": training,
    "generation": generation,
    "whole step": whole_step,
    "tests": tests,
    "kernels": kernels,
    "runs": runs,
}


def measure(job: Job, out: Path, parts: Sequence[str]) -> None:
    """Measure, and append a line to a file for each row as soon as it is there."""
    for part in parts:
        skipped = 0
        for work in PARTS[part](job):
            if time.monotonic() >= job.end - (5 if part == "runs" else 0):
                skipped += 1
                continue
            begun = time.monotonic()
            try:
                row = work()
            except (RuntimeError, ValueError, subprocess.SubprocessError) as error:
                row = {"error": str(error).splitlines()[0][:200]}
            write(out, {"part": part, **row, "took": round(time.monotonic() - begun, 2)})
        if skipped:
            write(out, {"part": part, "error": f"the time was over: {skipped} not measured"})


def write(out: Path, row: Row) -> None:
    """Append a line, and see to it that it is on the disk."""
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def tables(out: Path) -> str:
    """Return what a file holds as tables in Markdown; a last line that was cut off is left out."""
    rows: dict[str, list[Row]] = {}
    for line in out.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        rows.setdefault(row.pop("part"), []).append({name: value for name, value in row.items() if name != "took"})
    found = []
    for part, several in rows.items():
        names = list(dict.fromkeys(name for row in several for name in row))
        lines = [names, ["---"] * len(names), *([f"{row.get(name, '')}" for name in names] for row in several)]
        found.append(f"### {part}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(found) + "\n"


def main() -> None:
    """Parse the command line, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="file of JSON lines to append to")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="texts to train on, in this order")
    parser.add_argument("--minutes", type=float, default=8.7, help="of the whole run")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--show", action="store_true", help="only show what the file holds")
    arguments = parser.parse_args()
    if not arguments.show:
        device = pick_device(arguments.device)
        end = time.monotonic() + 60 * arguments.minutes
        full = Job(
            device=device,
            sizes=("2x512", "3x512", "3x1024"),
            hidden=(512, 1024, 256, 128, 192, 160),
            batches=(64, 32, 128, 256, 512, 16),
            length=256,
            texts=(1, 64, 1024),
            seconds=0.15,
            minutes=2.0,
            corpora=arguments.texts,
            end=end,
        )
        toy = full._replace(
            sizes=("1x16",), hidden=(16,), batches=(4,), length=8, texts=(1, 3), seconds=0.001, minutes=0.02
        )
        job = toy if arguments.toy else full
        measure(job, arguments.out, arguments.only)
    print(tables(arguments.out), end="")


if __name__ == "__main__":
    main()
