"""Faults on purpose, for hours: damaged files, kills, full disks, power cuts, long service. Prints a table in Markdown.

    python tools/torture.py                              every part with its usual count
    python tools/torture.py files --count 1000000        one part
    python tools/torture.py soak --minutes 120
    python tools/torture.py files --only snapshot --seed 7000000 -o more.md

Each row is written as soon as it is known; `--seed` sets the first case, so that a run can be continued where another one
ended. Short forms of the same parts are in tests/faults/. For requests to the server see tools/fuzz_server.py.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import NamedTuple

STEP = 500  # mutants between two reports of a child
SILENT = 120.0  # seconds without a report after which a child hangs
MEMORY = 1 << 30  # bytes of address space beside what the child has when it begins
SHARES = {"config.toml": 0.02, "claims.json": 0.08, "metadata": 0.1}  # of all mutants; the others have equal parts


class Row(NamedTuple):
    """A line of the table: what was done, how often, and what came of it."""

    what: str
    cases: int
    result: str


Part = Callable[[int, int, str, Path], Iterator[Row]]


def files(count: int, seed: int, only: str, folder: Path) -> Iterator[Row]:
    """Give mutants to every reader, in child processes: a crash or a hang of one of them is found, too."""
    names = _ask("names", str(folder / "names")).splitlines()
    rest = (1 - sum(SHARES.values())) / (len(names) - len(SHARES))
    for name in names:
        if only in name:
            share = count if only else round(count * SHARES.get(name, rest))
            yield _reader(name, share, seed, folder)


def _ask(*words: str) -> str:
    done = subprocess.run([sys.executable, __file__, "--child", *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _reader(name: str, count: int, seed: int, folder: Path) -> Row:
    counts, faults, place = Counter[str](), list[str](), seed
    while place < seed + count:
        words = [name, str(folder / f"{name.replace(' ', '-')}-{place}"), str(place), str(seed + count)]
        with subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--child", *words], stdout=subprocess.PIPE, text=True
        ) as child:
            for line in _lines(child):
                report = json.loads(line)
                place = report["place"]
                counts.update(report["counts"])
                faults += report["faults"]
                print(f"\r{name}: {place - seed:,} of {count:,}, {len(faults)} faults", end="", file=sys.stderr)
        if child.returncode:
            faults.append(f"seeds {place} to {place + STEP}: exit status {child.returncode}")
            place += STEP
    print(file=sys.stderr)
    for fault in faults[:20]:
        print(f"  {fault}", file=sys.stderr)
    said = f"{counts['accepted']:,} read, {counts['refused']:,} refused in one sentence, {len(faults)} faults"
    return Row(f"mutants of {name}", count, said)


def _lines(child: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the lines of a child as they come; kill it when it is silent for long."""
    lines: Queue[str] = Queue()

    def read() -> None:
        assert child.stdout
        for line in child.stdout:
            lines.put(line)
        lines.put("")

    Thread(target=read, daemon=True).start()
    while True:
        try:
            if not (line := lines.get(timeout=SILENT)):
                return
        except Empty:
            child.kill()
            return
        yield line


def child(name: str, folder: str, start: str = "0", stop: str = "0") -> None:
    """Be a child: give the mutants of some seeds to a reader, in limited memory, and report."""
    Path(folder).mkdir(parents=True)
    _share_compiled_code()
    os.environ["NEXTCHAR_CACHE"] = str(Path(folder) / "cache")
    import torch  # noqa: PLC0415  what takes long is imported in the children

    from readers import Fault, make_readers  # noqa: PLC0415  as above

    torch.set_num_threads(1)
    readers = make_readers(Path(folder))
    if name == "names":
        print("\n".join(readers))
        return
    _limit_memory()
    counts, faults = Counter[str](), list[str]()
    for seed in range(int(start), int(stop)):
        content = readers[name].mutant(seed)
        try:
            counts["accepted" if readers[name](content, measure=seed % 20 == 0) else "refused"] += 1
        except Fault as fault:
            faults.append(f"seed {seed}: {fault}")
        if (seed + 1) % STEP == 0 or seed + 1 == int(stop):
            print(json.dumps({"place": seed + 1, "counts": counts, "faults": faults}), flush=True)
            counts.clear()
            faults.clear()


def _share_compiled_code() -> None:
    """Let compiled code be stored where all processes find it, while texts are cached in a new folder."""
    from nextchar.kernels import compile_cache  # noqa: PLC0415  not needed by all parts

    os.environ.setdefault("NUMBA_CACHE_DIR", str(compile_cache.bases()[0].parent))


def _limit_memory() -> None:
    try:
        import resource  # noqa: PLC0415  not on Windows

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError):
        print("the memory of children cannot be limited on this system", file=sys.stderr)


def _of(module: str, function: str) -> Part:
    """Return a part that is a function of another file, which only this part needs."""

    def run(count: int, seed: int, only: str, folder: Path) -> Iterator[Row]:
        for what, tried, result in getattr(import_module(module), function)(count, seed, only, folder):
            yield Row(what, tried, result)

    return run


PARTS: dict[str, tuple[Part, int]] = {
    "files": (files, 1_000_000),
    "kills": (_of("kills", "killed"), 200),
    "power": (_of("disks", "power_cuts"), 400),
    "full": (_of("disks", "full_disks"), 2_000),
    "soak": (_of("soak", "soaked"), 120),
}
"""Each part, and its usual count: mutants, kills, states of a disk, numbers of bytes, minutes."""


def main() -> int:
    """Run parts and write their rows; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; without any, all of them")
    parser.add_argument("--count", type=int, help="how many cases of each part; minutes of the soak")
    parser.add_argument("--minutes", type=int, dest="count", help="the same, for the soak")
    parser.add_argument("--seed", type=int, default=0, help="the first case")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("-o", "--output", type=Path, help="also append the table to this file")
    given = parser.parse_args()
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; there is {', '.join(PARTS)}")
    command = shlex.join(["python", "tools/torture.py", *sys.argv[1:]])
    now = datetime.now(UTC).date().isoformat()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    _write(given.output, f"`{command}`, {now}, {machine}\n\n| what | count | result | s |\n|---|---:|---|---:|")
    faults = 0
    with tempfile.TemporaryDirectory(prefix="nextchar-torture-", ignore_cleanup_errors=True) as name:
        for part in given.parts or PARTS:
            run, usual = PARTS[part]
            begun = time.monotonic()
            for row in run(given.count or usual, given.seed, given.only, Path(name)):
                seconds, begun = time.monotonic() - begun, time.monotonic()
                _write(given.output, f"| {row.what} | {row.cases:,} | {row.result} | {seconds:,.0f} |")
                faults += "0 faults" not in row.result
    return min(faults, 1)


def _write(path: Path | None, line: str) -> None:
    print(line, flush=True)
    if path:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main())
