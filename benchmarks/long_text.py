"""How fast a long text becomes ids, and how much memory its first hundred steps need.

    python benchmarks/long_text.py 1 corpora/tiny-shakespeare.txt
    python benchmarks/long_text.py 20 corpora/tiny-shakespeare.txt --folder /data

The text is the given one, again and again with its words in another order, so that it does not repeat itself. It is
written into a folder, with the cache, and both are removed at the end. Linux only: memory is read from /proc.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS = 0.05  # between two readings of the memory
STEPS = 100


def write_text(path: Path, source: Path, size: int) -> None:
    """Write a text of so many bytes: the words of another, shuffled within its lines."""
    lines = source.read_text(encoding="utf-8").splitlines()
    words = [re.findall(r"\S+", line) for line in lines]
    shuffled, written = random.Random(0), 0  # noqa: S311  no secret
    with path.open("w", encoding="utf-8", newline="") as file:
        while written < size:
            text = "\n".join(" ".join(shuffled.sample(line, len(line))) for line in words) + "\n"
            for _ in range(4):  # shuffling takes longer than writing
                written += file.write(text)
                text = text[len(text) // 3 :] + text[: len(text) // 3]


def memory(process: int) -> int:
    """Return the anonymous memory of a process in kB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^RssAnon:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0


def run(command: list[str], cache: Path) -> tuple[float, float]:
    """Run a command; return its seconds, and the most anonymous memory that it had, in MB."""
    environment = {**os.environ, "NEXTCHAR_CACHE": str(cache)}
    begun, most = time.perf_counter(), 0
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603  our own
        while process.poll() is None:
            most = max(most, memory(process.pid))
            time.sleep(SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - begun, most / 1000


def measure(gigabytes: float, source: Path, folder: Path) -> dict[str, float]:
    """Return speeds and memory of encoding a text of some size, and of the first steps of a training on it."""
    text, cache = folder / "long.txt", folder / "cache"
    write_text(text, source, round(gigabytes * 1e9))
    size = text.stat().st_size / 1e6
    encode = [sys.executable, "-c", f"import nextchar; nextchar.open_corpus({str(text)!r})"]
    first, encoding = run(encode, cache)
    again, _ = run(encode, cache)
    train = [sys.executable, "-m", "nextchar", "train", str(text), "--steps", str(STEPS), "-o", str(folder / "run")]
    _, training = run(train, cache)
    return {
        "megabytes": round(size),
        "encoding_seconds": round(first - again, 1),
        "encoding_mb_per_second": round(size / max(first - again, 1e-9)),
        "hashing_seconds": round(again, 1),
        "encoding_rss_anon_mb": round(encoding),
        "training_rss_anon_mb": round(training),
    }


def main() -> None:
    """Parse the command line, measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("gigabytes", type=float)
    parser.add_argument("source", type=Path, help="a real text of a megabyte or so")
    parser.add_argument("--folder", type=Path, help="where to write; it needs three times the size of the text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(json.dumps(measure(arguments.gigabytes, arguments.source, Path(folder))))


if __name__ == "__main__":
    main()
