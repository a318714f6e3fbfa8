"""Two hosts on one machine: a training by torchrun over two network namespaces with a slow wire between them. Linux, root.

    python tools/two_hosts.py TEXT --steps 20 --mbit 100 -- --hidden 128 --batch-size 32
    python tools/two_hosts.py TEXT --steps 1000000 --cut 10 -- --hidden 16 --batch-size 4

Each host has a cache of its own, as two machines do. The first form compares the weights with those of one process, and
says how long a step took. The second pulls the wire after some seconds, and says how long it took until all had ended.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nextchar.kernels import compile_cache
from nextchar.storage import read_arrays

HOSTS = ("nextchar-a", "nextchar-b")
WIRES = ("nextchar0", "nextchar1")
ADDRESSES = ("10.213.0.1", "10.213.0.2")
PORT = "29507"
WAIT = 300.0  # seconds until the hosts must have ended


def possible() -> str:
    """Return why there can be no namespaces here, or "" if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    try:
        done = subprocess.run(["ip", "netns", "add", "nextchar-try"], capture_output=True, text=True, check=False)  # noqa: S607
    except OSError as error:
        return str(error)
    subprocess.run(["ip", "netns", "del", "nextchar-try"], capture_output=True, check=False)  # noqa: S607
    return done.stderr.strip()


def ip(*words: str) -> None:
    """Call `ip`."""
    subprocess.run(["ip", *words], check=True)  # noqa: S603, S607


@contextmanager
def hosts(mbit: float) -> Iterator[None]:
    """Make two namespaces with a wire of some megabits a second between them, and remove them at the end."""
    try:
        for host in HOSTS:
            ip("netns", "add", host)
            ip("-n", host, "link", "set", "lo", "up")
        ip("link", "add", WIRES[0], "netns", HOSTS[0], "type", "veth", "peer", "name", WIRES[1], "netns", HOSTS[1])
        for host, wire, address in zip(HOSTS, WIRES, ADDRESSES, strict=True):
            ip("-n", host, "addr", "add", f"{address}/24", "dev", wire)
            ip("-n", host, "link", "set", wire, "up")
            rate = ["tbf", "rate", f"{mbit}mbit", "burst", "256kb", "latency", "50ms"]
            command = ["ip", "netns", "exec", host, "tc", "qdisc", "add", "dev", wire, "root", *rate]
            subprocess.run(command, check=True)  # noqa: S603
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)  # noqa: S603, S607


def start(rank: int, folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    """Start torchrun on one of the hosts."""
    own = {"NEXTCHAR_CACHE": str(folder / f"cache-{rank}"), "GLOO_SOCKET_IFNAME": WIRES[rank]}
    compiled = os.environ.get("NUMBA_CACHE_DIR") or str(compile_cache.bases()[0].parent)  # it takes a minute
    environment = {**os.environ, **own, "NUMBA_CACHE_DIR": compiled}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    launcher += ["--node-rank", str(rank), "--master-addr", ADDRESSES[0], "--master-port", PORT, "-m", "nextchar"]
    command = ["ip", "netns", "exec", HOSTS[rank], *launcher, "train", *words]
    with (folder / f"host-{rank}.txt").open("w", encoding="utf-8") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True)  # noqa: S603


def measure(text: Path, steps: int, mbit: float, cut: float, words: Sequence[str]) -> dict[str, Any]:
    """Train on two hosts, and with one process; return what came of it."""
    with tempfile.TemporaryDirectory() as name, hosts(mbit):
        folder = Path(name)
        common = [str(text.resolve()), "--steps", str(steps), "--precision", "fp32", "--optimizer", "adamw", *words]
        both = [start(rank, folder, [*common, "-o", str(folder / "both")]) for rank in (0, 1)]
        log = folder / "both" / "log.jsonl"
        if cut:
            while not log.exists() and both[0].poll() is None:
                time.sleep(0.1)
            time.sleep(cut)
            ip("-n", HOSTS[1], "link", "set", WIRES[1], "down")
        begun = time.monotonic()
        try:
            codes = [host.wait(WAIT) for host in both]
        except subprocess.TimeoutExpired:
            for host in both:
                host.kill()
            logs = [(folder / f"host-{rank}.txt").read_text(encoding="utf-8") for rank in (0, 1)]
            raise SystemExit("the hosts did not end\n" + "\n".join(logs)) from None
        took = time.monotonic() - begun
        said = [(folder / f"host-{rank}.txt").read_text(encoding="utf-8") for rank in (0, 1)]
        if cut:
            return {
                "codes": codes,
                "seconds_to_end": round(took, 1),
                "said": [line for part in said for line in errors(part)],
            }
        if any(codes):
            raise SystemExit("\n".join(said))
        alone = [sys.executable, "-m", "nextchar", "train", *common, "-o", str(folder / "alone")]
        subprocess.run(alone, check=True, capture_output=True)  # noqa: S603
        one, other = (read_arrays(folder / run / "training.safetensors")[0] for run in ("both", "alone"))
        last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        weights = [key for key in one if key.startswith("weights/")]
        return {
            "mbit": mbit,
            "gradient_megabytes": round(sum(one[key].nbytes for key in weights) / 1e6, 3),
            "chars_per_second": round(last["chars_per_second"]),
            "largest_difference": max(float(np.abs(one[key] - other[key]).max()) for key in weights),
        }


def errors(said: str) -> list[str]:
    """Return the sentences of nextchar about an error."""
    return [line for line in said.splitlines() if line.startswith("nextchar: error")]


def main() -> None:
    """Parse the command line, and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--mbit", type=float, default=100)
    parser.add_argument("--cut", type=float, default=0, help="seconds after which to pull the wire")
    given, words = sys.argv[1:], []
    if "--" in given:
        given, words = given[: given.index("--")], given[given.index("--") + 1 :]
    arguments = parser.parse_args(given)
    if reason := possible():
        raise SystemExit(f"skipped: {reason}")
    print(json.dumps(measure(arguments.text, arguments.steps, arguments.mbit, arguments.cut, words)))


if __name__ == "__main__":
    main()
