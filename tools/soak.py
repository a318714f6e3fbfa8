"""Hours of work in one process: train, sample and evaluate in turn, and a server under load; memory and open files over time.

The first third of the time fills caches and pools. After it, the memory may grow by 1 %, and no file may stay open.
"""

import os
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

GROWTH = 0.01  # of the median memory, from the second third of the time to the last
CLIENTS = 8
BODY = b'{"prompt": "A", "max_tokens": 200, "temperature": 0.8}'
SIZES: dict[str, Any] = {"steps": 8, "hidden": 32, "embedding": 8, "batch_size": 8, "seq_length": 32}
TEXT = "To be, or not to be: that is the question; whether 'tis nobler in the mind. " * 90

Result = tuple[str, int, str]


def soaked(minutes: int, seed: int, only: str, folder: Path) -> Iterator[Result]:
    """Work for half of some minutes, and serve for the other half."""
    folder.mkdir(parents=True, exist_ok=True)
    if only in "train, sample, evaluate":
        yield _work(30.0 * minutes, seed, folder)
    if only in "server":
        yield _serve(30.0 * minutes, folder)


class Meter:
    """Memory in MiB and number of open files of a process, over time."""

    def __init__(self, process: int) -> None:
        self._process = process
        self.memory, self.files = list[float](), list[int]()

    def read(self) -> None:
        """Add what they are now."""
        pages = int(Path(f"/proc/{self._process}/statm").read_text(encoding="ascii").split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        self.files.append(len(os.listdir(f"/proc/{self._process}/fd")))  # noqa: PTH208  one number is needed

    def result(self, what: str, cases: int) -> Result:
        """Return the row of the table."""
        third = max(1, len(self.memory) // 3)
        early, late = (statistics.median(part) for part in (self.memory[third : 2 * third], self.memory[-third:]))
        leaked = min(self.files[-third:]) - min(self.files[third : 2 * third])  # connections come and go
        faults = (late > early * (1 + GROWTH)) + (leaked > 0)
        said = f"{early:,.1f} MiB, then {late:,.1f} ({100 * (late / early - 1):+.2f} %), {leaked:+} open files"
        return f"soak: {what}", cases, f"{said}; {faults} faults"


def _work(seconds: float, seed: int, folder: Path) -> Result:
    import nextchar  # noqa: PLC0415  only this part needs it

    os.environ["NEXTCHAR_CACHE"] = str(folder / "cache")
    text = folder / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    meter, rounds, end = Meter(os.getpid()), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        run = folder / "run"
        lm = nextchar.train(text, out=run, overwrite=True, progress=False, seed=seed + rounds, **SIZES)
        nextchar.load(run).sample("To ", length=200, seed=rounds)
        nextchar.evaluate(lm, TEXT[:2000])
        rounds += 1
        meter.read()
    return meter.result("train, sample, evaluate in turn", rounds)


def _serve(seconds: float, folder: Path) -> Result:
    sys.path[:0] = [str(Path(__file__).parents[1] / "benchmarks")]
    from nextchar.storage import write_model  # noqa: PLC0415  as above
    from server import random_model, serving  # noqa: PLC0415  the benchmark of the same server

    path = folder / "served.safetensors"
    write_model(path, random_model(32))
    answered, end = [0] * CLIENTS, time.monotonic() + seconds
    with serving(path) as (host, port, _, process):
        meter = Meter(process)
        clients = [
            threading.Thread(target=_ask, args=(f"http://{host}:{port}/v1/completions", end, answered, number))
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        while time.monotonic() < end:
            clients[0].join(min(1.0, seconds / 30))
            meter.read()
        for client in clients:
            client.join()
    return meter.result(f"server with {CLIENTS} clients, requests", sum(answered))


def _ask(address: str, end: float, answered: list[int], number: int) -> None:
    while time.monotonic() < end:
        asked = urllib.request.Request(address, BODY, {"content-type": "application/json"})  # noqa: S310  http, of this machine
        with suppress(OSError), urllib.request.urlopen(asked, timeout=60) as reply:  # noqa: S310  as above
            reply.read()
            answered[number] += 1
