"""Sends random requests to `nextchar serve`, and reports answers by status, the longest wait and the memory over time.

    python tools/fuzz_server.py --requests 100000

Most requests follow the schema with random values, the others have fields of any kind, broken JSON, odd headers,
or a client that leaves. Status 500 and above, a wait of 10 seconds or a growing memory is a fault: exit status 1.
"""

import argparse
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from nextchar.storage import write_model

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]
from server import random_model, serving  # noqa: E402  the benchmark of the same server

POST = ["/v1/completions", "/v1/chat/completions", "/completion", "/infill", "/tokenize", "/detokenize"] * 3
# Nothing is trained: the options are wrong.
POST += ["/api/neurons/text", "/api/trainings?steps=-1", "/api/trainings?name=..%2fa", "/api/trainings/0/keep?name=a"]
GET = ["/", "/page.js", "/page.css", "/v1/models", "/v1/models/nothing", "/tokenizer_info", "/health", "/metrics"]
GET += [
    "/api/trainings",
    "/api/trainings/0?since=1_2_3_4",
    "/api/neurons",
    "/api/neurons?model=%00",
    "/api/nothing",
    "/../../etc/passwd",
    "/%00",
    "/v1/models/%2e%2e%2f",
]
LONGEST = 10.0  # seconds
GROWTH = (
    0.05  # of the memory, from the third quarter of the requests to the last: the cache of prefixes has filled by then
)
MOST = 1 << 20  # bytes of an answer that are looked at
CLIENTS = 16
FINE = {"200", "204", "400", "401", "403", "404", "405", "413", "429", "left"}


def text(rng: Random, most: int = 40) -> str:
    """Return a text that is mostly in the model's vocabulary."""
    letters = "ABC XYZ.,\n" if rng.random() < 0.98 else "aé☃\U0001f600\0\u202e\ud800"
    return "".join(rng.choice(letters) for _ in range(rng.randint(0, most)))


def ids(rng: Random) -> list[int]:
    """Return ids, most of which exist."""
    return [rng.randint(-1, 70) if rng.random() < 0.05 else rng.randint(0, 64) for _ in range(rng.randint(0, 20))]


def anything(rng: Random, depth: int = 0) -> Any:
    """Return any JSON value; NaN and infinity, too, which Python's parser accepts."""
    simple: list[Any] = [
        None,
        True,
        False,
        rng.randint(-5, 50),
        rng.randint(-(2**70), 2**70),
        rng.gauss(0, 3),
        float("nan"),
    ]
    simple += [float("inf"), 1e308, "", text(rng), "null", [], {}]
    if depth > 3 or rng.random() < 0.7:
        return rng.choice(simple)
    if rng.random() < 0.5:
        return [anything(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    return {text(rng, 4): anything(rng, depth + 1) for _ in range(rng.randint(0, 4))}


def sensible(rng: Random) -> dict[str, Any]:
    """Return fields with values that mostly are in their range."""
    length = rng.randint(0, 60)
    stops = [text(rng, 3) for _ in range(rng.randint(0, 4))]
    messages = [{"role": "user", "content": text(rng)} for _ in range(rng.randint(0, 3))]
    fields: dict[str, Any] = {
        "best_of": rng.randint(1, 4),
        "content": text(rng),
        "echo": rng.random() < 0.5,
        "frequency_penalty": rng.uniform(-2, 2),
        "input_prefix": text(rng),
        "logit_bias": {str(rng.randint(0, 64)): rng.uniform(-100, 100) for _ in range(rng.randint(0, 3))},
        "logprobs": rng.choice([0, 1, 5, True]),
        "max_tokens": length,
        "messages": messages,
        "min_p": rng.random(),
        "n": rng.randint(1, 4),
        "n_predict": length,
        "n_probs": rng.randint(0, 5),
        "presence_penalty": rng.uniform(-2, 2),
        "prompt": rng.choice([text(rng), ids(rng), [text(rng), text(rng)], [ids(rng), ids(rng)]]),
        "repetition_penalty": rng.uniform(0.5, 2),
        "response_fields": ["content", text(rng, 5)],
        "seed": rng.randint(-1, 2**40),
        "stop": rng.choice([stops, text(rng, 3)]),
        "stream": rng.random() < 0.3,
        "stream_options": {"include_usage": rng.random() < 0.5},
        "t_max_predict_ms": rng.uniform(-1, 50),
        "temperature": rng.uniform(0, 2),
        "tokens": ids(rng),
        "top_k": rng.randint(-1, 70),
        "top_logprobs": rng.randint(0, 20),
        "top_p": rng.random(),
    }
    return {name: value for name, value in fields.items() if rng.random() < 0.4}


def request(rng: Random) -> bytes:
    """Return a whole request."""
    headers = {"host": "127.0.0.1", "connection": "close", "content-type": "application/json"}
    if rng.random() < 0.05:
        names = ["host", "origin", "authorization", "content-type", "accept", "transfer-encoding", "x-" + "y" * 500]
        headers[rng.choice(names)] = rng.choice(
            ["", "*", "null", "evil.example", "localhost", "Bearer x", "é", "a" * 3000]
        )
    if rng.random() < 0.1:
        return _encoded("GET", rng.choice(GET), headers, b"")
    body: Any = {
        "prompt": "A",
        "tokens": [1],
        "messages": [{"content": "A"}],
        "max_tokens": 5,
        "n_predict": 5,
        **sensible(rng),
    }
    if rng.random() < 0.3:
        body[rng.choice(sorted(body))] = anything(rng)
        # What asks for more than this takes as long as it takes.
        for name in ("max_tokens", "n_predict"):
            body[name] = body[name] if isinstance(body[name], int) and 0 <= body[name] < 100 else 7
    content = json.dumps(body).encode()
    if rng.random() < 0.1:
        kept = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            kept[rng.randrange(len(kept))] = rng.randrange(256)
        content = bytes(kept[: rng.randint(0, len(kept))])
    method = "POST" if rng.random() < 0.98 else rng.choice(["PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
    return _encoded(method, rng.choice(POST), headers, content)


def _encoded(method: str, path: str, headers: dict[str, str], content: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode() + content


def answer(place: tuple[str, int], sent: bytes, *, leave: bool) -> bytes:
    """Send a request; return its answer, or nothing if the client leaves before it."""
    with socket.create_connection(place, timeout=LONGEST) as connection:
        connection.sendall(sent)
        if leave:
            return b""
        got = b""
        while piece := connection.recv(1 << 16):
            got = got if len(got) > MOST else got + piece
        return got


def memory(process: int) -> float:
    """Return the resident memory of a process in MB; 0 where there is no /proc."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return 0.0
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


class Fuzz:
    """Requests by several clients, and what came back."""

    def __init__(self, place: tuple[str, int], process: int, count: int, seed: int) -> None:
        self._place, self._process, self._count, self._seed = place, process, count, seed
        self._lock = threading.Lock()
        self._next = 0
        self.statuses: Counter[str] = Counter()
        self.faults: list[dict[str, Any]] = []
        self.longest = 0.0
        self.memory: list[float] = []

    def run(self) -> None:
        """Send all."""
        clients = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def _client(self) -> None:
        while True:
            with self._lock:
                number = self._next
                if number >= self._count:
                    return
                self._next += 1
                if number % max(1, self._count // 20) == 0:
                    self.memory.append(memory(self._process))
                    print(f"{number} requests, {self.memory[-1]:.0f} MB, {len(self.faults)} faults", file=sys.stderr)
            rng = Random(f"{self._seed}/{number}")  # noqa: S311  so that one request can be repeated by its number
            sent, leave, begun = request(rng), rng.random() < 0.02, time.perf_counter()
            try:
                got = answer(self._place, sent, leave=leave)
                status = "left" if leave else got[9:12].decode() or "closed"
            except OSError as error:
                got, status = b"", type(error).__name__
            wait = time.perf_counter() - begun
            with self._lock:
                self.statuses[status] += 1
                self.longest = max(self.longest, wait)
                if status not in FINE or (b'"server_error"' in got and status != "429"):
                    self.faults.append({"number": number, "status": status, "sent": repr(sent[-400:])})


def main() -> None:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hidden", type=int, default=32, help="units of each of the two layers (default: 32)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        write_model(path, random_model(given.hidden))
        with serving(path) as (host, port, _, process):
            fuzz, begun = Fuzz((host, port), process, given.requests, given.seed), time.perf_counter()
            fuzz.run()
            seconds = time.perf_counter() - begun
            fuzz.memory.append(memory(process))
    quarter = max(1, len(fuzz.memory) // 4)
    early, late = statistics.median(fuzz.memory[2 * quarter : 3 * quarter]), statistics.median(fuzz.memory[-quarter:])
    report = {
        "requests": given.requests,
        "seconds": round(seconds),
        "statuses": dict(sorted(fuzz.statuses.items())),
        "faults": fuzz.faults[:20],
        "longest_seconds": round(fuzz.longest, 2),
        "memory_mb": {"begin": round(fuzz.memory[0]), "third_quarter": round(early), "last_quarter": round(late)},
    }
    print(json.dumps(report, indent=2))
    if fuzz.faults or fuzz.longest > LONGEST or (early and late > early * (1 + GROWTH)):
        sys.exit(1)


if __name__ == "__main__":
    main()
