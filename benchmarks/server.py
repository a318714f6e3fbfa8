"""Measures `nextchar serve` from outside: speed of many streams, time to the first character, and idle connections.

    python benchmarks/server.py
    python benchmarks/server.py runs/book --seconds 20

Close other programs first. The server is a process of its own; the clients are this one, and take some of the cores.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nextchar.architecture import Architecture
from nextchar.sampling.engine import Engine
from nextchar.sampling.sample import sample
from nextchar.storage import ModelFile, write_model
from nextchar.text.vocabulary import Vocabulary

PROMPT = "\n"
FIRST = b'"text":"'


def random_model(hidden: int) -> ModelFile:
    """Return a model of two layers with random weights, over 65 characters."""
    vocabulary = Vocabulary("characters", (10, *range(32, 96)))
    architecture = Architecture(hidden=hidden, embedding=64)
    generator = np.random.default_rng(0)
    shapes = architecture.shapes(len(vocabulary))
    arrays = {name: generator.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    return ModelFile(architecture, vocabulary, arrays)


@contextmanager
def serving(model: Path) -> Iterator[tuple[str, int, float, int]]:
    """Run a server, with its trainings beside the model; yield host, port, the seconds until it was ready, the process."""
    begun = time.perf_counter()
    words = [sys.executable, "-m", "nextchar", "serve", str(model), "--port", "0", "--runs", str(model.parent / "runs")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  this program itself
        assert process.stderr
        try:
            address = next(line for line in process.stderr if "serving" in line).split()[-1]
            host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
            ready = time.perf_counter() - begun
            # Messages are read, since a full pipe would stop the server.
            threading.Thread(target=deque, args=(process.stderr, 0), daemon=True).start()
            yield host, int(port), ready, process.pid
        finally:
            process.terminate()


async def text(host: str, port: int, length: int, seed: int) -> tuple[float, float]:
    """Let the server stream one text; return the seconds until its first characters, and until its end."""
    asked = {"prompt": PROMPT, "max_tokens": length, "seed": seed, "stream": True}
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(head.encode() + body)
    first, received = 0.0, b""
    while piece := await reader.read(1 << 16):
        received += piece
        first = first or (time.perf_counter() - begun if FIRST in received else 0.0)
    writer.close()
    if b"[DONE]" not in received or b'"error"' in received:
        raise RuntimeError(received[-300:].decode())
    return first, time.perf_counter() - begun


async def streams(host: str, port: int, count: int, length: int) -> float:
    """Return the characters per second of so many texts at the same time."""
    begun = time.perf_counter()
    await asyncio.gather(*(text(host, port, length, seed) for seed in range(count)))
    return count * length / (time.perf_counter() - begun)


async def waiting(host: str, port: int, clients: int, length: int, seconds: float) -> dict[str, float]:
    """Return the milliseconds to the first character for clients that ask in a loop, each for one text at a time."""
    firsts: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal errors
        while time.perf_counter() < end:
            try:
                firsts.append((await text(host, port, length, number))[0])
            except (OSError, RuntimeError):
                errors += 1

    await asyncio.gather(*map(client, range(clients)))
    p50, p99 = np.percentile(firsts, [50, 99]) * 1000
    return {"texts": len(firsts), "errors": errors, "p50_ms": round(p50, 1), "p99_ms": round(p99, 1)}


async def beside_idle(host: str, port: int, count: int, rest: argparse.Namespace) -> dict[str, float]:
    """Do what `waiting` does while connections are open of which half send nothing, and half a byte a second."""
    opened = [await asyncio.open_connection(host, port) for _ in range(count)]

    async def drip() -> None:
        for byte in b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n" * 100:
            for _, writer in opened[::2]:
                writer.write(bytes([byte]))
            await asyncio.sleep(1)

    slow = asyncio.create_task(drip())
    try:
        return await waiting(host, port, rest.clients, rest.chars, rest.seconds)
    finally:
        slow.cancel()
        for _, writer in opened:
            writer.close()


def measure(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    engine = Engine(model)
    sample(engine, PROMPT, length=options.length, count=options.streams)
    begun = time.perf_counter()
    sample(engine, PROMPT, length=options.length, count=options.streams)
    alone = options.streams * options.length / (time.perf_counter() - begun)
    with serving(model) as (host, port, ready, _):
        asyncio.run(streams(host, port, options.streams, options.length))
        served = asyncio.run(streams(host, port, options.streams, options.length))
        loop = asyncio.run(waiting(host, port, options.clients, options.chars, options.seconds))
        idle = asyncio.run(beside_idle(host, port, options.idle, options))
    return {
        "ready_seconds": round(ready, 2),
        "sample_chars_per_second": round(alone),
        "served_chars_per_second": round(served),
        "share": round(served / alone, 3),
        "clients": loop,
        "beside_idle_connections": idle,
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, help="default: 2x512 with random weights")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--length", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--chars", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--idle", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if model is None:
            model = Path(folder) / "random.safetensors"
            write_model(model, random_model(options.hidden))
        print(json.dumps(measure(model, options), indent=2))


if __name__ == "__main__":
    main()
