"""Measures how long it takes from sending a text to `nextchar serve` until its training has shown a first sample.

    python benchmarks/first_sample.py
    python benchmarks/first_sample.py --cold      nothing is compiled yet, as on a new machine

Close other programs first. The state is asked for once a second, as the page does.
"""

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

BYTES = 100_000
LIMIT = 300.0  # seconds


def ask(request: "str | Request") -> Any:
    """Return the JSON of a reply."""
    with urlopen(request) as reply:  # noqa: S310  this machine
        return json.load(reply)


def main() -> None:
    """Print the seconds until the server is ready, and from the text to the first sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", action="store_true", help="compile everything, as on a new machine")
    options = parser.parse_args()
    text = (inspect.getsource(argparse) * 2).encode()[:BYTES]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **({"NUMBA_CACHE_DIR": folder} if options.cold else {})}
        words = [sys.executable, "-m", "nextchar", "serve", "--port", "0", "--runs", str(Path(folder) / "runs")]
        begun = time.perf_counter()
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603
            assert process.stderr
            address = next(line for line in process.stderr if "http://" in line).split()[-1]
            ask(f"{address}health")
            ready, begun = time.perf_counter() - begun, time.perf_counter()
            one = ask(Request(f"{address}api/trainings?name=book&minutes=5", text))["id"]  # noqa: S310
            try:
                while not (state := ask(f"{address}api/trainings/{one}"))["samples"]:
                    if state["status"] not in ("waiting", "running") or time.perf_counter() - begun > LIMIT:
                        sys.exit(f"no sample: {state}")
                    time.sleep(1)
                first = time.perf_counter() - begun
            finally:
                process.terminate()
                process.wait()
    print(json.dumps({"ready_seconds": round(ready, 2), "first_sample_seconds": round(first, 1), "cold": options.cold}))


if __name__ == "__main__":
    main()
