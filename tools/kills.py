"""Kills at random moments of training, resuming, discovering, exporting and encoding, and what is left then.

Every command runs in a fork of this process, which has imported all modules and started no thread, and gets a signal at a
random moment of the time that it takes. What it leaves must be readable, and a run that is resumed, however often it is
killed, must end with the same bits as one that is not.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random

import numpy as np

TEXT = "To be, or not to be: that is the question; whether 'tis nobler in the mind. " * 90
SIZES = (
    "--steps 40 --hidden 16 --embedding 4 --batch-size 4 --seq-length 16 --eval-every 5 --eval-chars 200 --valid 0.2"
)
DISCOVER = "--shifts 99 --rotations 2 --no-causal --features general"
SIGNALS = {"SIGKILL": 1, "SIGTERM": 1, "SIGHUP": 1, "SIGINT": 2}
"""Each signal, and how many of it are sent one after the other."""

IMPORTED = (
    "cli.train",
    "cli.discover",
    "cli.export",
    "training.record",
    "discovery.folder",
    "exporting.html",
    "exporting.weights",
)

Result = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is killed.

    Attributes:
        name: In the table.
        words: Command lines for a folder and the number of the attempt, the first being 0.
        check: Returns what is wrong in a folder in which a command was killed; "" if nothing is.
        differs: Returns in what a finished folder differs from that of a command that was not killed; "" if in nothing.
    """

    name: str
    words: Callable[[Path, int], list[str]]
    check: Callable[[Path], str]
    differs: Callable[[Path, Path], str]


def killed(count: int, seed: int, only: str, folder: Path) -> Iterator[Result]:
    """Kill each scenario by SIGKILL `count` times in all, and a quarter as often by each other signal."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["NEXTCHAR_CACHE"] = str(folder / "cache")
    import torch  # noqa: PLC0415  after the variables are set

    torch.set_num_threads(1)
    for name in IMPORTED:  # once, and not in every fork
        import_module(f"nextchar.{name}")
    text, model = folder / "text.txt", folder / "model"
    text.write_text(TEXT, encoding="utf-8")
    one = scenarios(text, model)[0]
    status, _ = forked(one.words(model, 0))
    if status:
        raise SystemExit(f"the command that is to be killed ends with {status} by itself")
    for name, times in SIGNALS.items():
        for scenario in scenarios(text, model):
            label = f"{name}{' twice' * (times > 1)}: {scenario.name}"
            share = {"train and resume": 0.6}.get(scenario.name, 0.1) * (1.0 if name == "SIGKILL" else 0.25)
            if only in label:
                tried = max(1, round(count * share))
                yield label, tried, _kill(scenario, getattr(signal, name), times, tried, seed, folder / "killed")


def _kill(scenario: Scenario, number: int, times: int, count: int, seed: int, folder: Path) -> str:
    """Kill a scenario some times, each time beginning anew once it has ended; return what came of it."""
    random = Random(f"{scenario.name} {number} {seed}")  # noqa: S311  nothing secret
    shutil.rmtree(folder, ignore_errors=True)
    whole, broken = folder / "whole", folder / "broken"
    status, seconds = forked(scenario.words(whole, 0))
    outcomes, faults, attempt = Counter[str](), list[str](), 0
    if status:
        return f"0 tried, 1 faults: it ends with {status} by itself"
    for _ in range(count):
        delay = random.uniform(0, 1.2 * seconds)
        status, _ = forked(scenario.words(broken, attempt), delay, number, times)
        outcomes["ended" if status == 0 else "stopped"] += 1
        if wrong := _checked(scenario, broken):
            faults.append(f"after {delay:.2f} s: {wrong}")
        attempt += 1
        if status == 0 or wrong:
            if not wrong and (other := scenario.differs(whole, broken)):
                faults.append(f"after {attempt} attempts, {delay:.2f} s: another {other}")
            shutil.rmtree(broken, ignore_errors=True)
            attempt = 0
    if attempt:
        status, _ = forked(scenario.words(broken, attempt))
        if status or (other := scenario.differs(whole, broken)):
            faults.append(f"the end of the last one has status {status}, or another {other}")
    for fault in faults[:20]:
        print(f"  {scenario.name}: {fault}", file=sys.stderr)
    return f"{outcomes['stopped']} stopped, {outcomes['ended']} ended before; {len(faults)} faults"


def _checked(scenario: Scenario, folder: Path) -> str:
    try:
        return scenario.check(folder)
    except Exception as error:  # noqa: BLE001  any of them is a fault
        return f"{type(error).__name__}: {error}"


def forked(words: Sequence[str], delay: float | None = None, number: int = 0, times: int = 0) -> tuple[int, float]:
    """Run a command line in a fork, silently; return its status and how long it took.

    Args:
        words: Of the command line.
        delay: Seconds after which it gets a signal; None lets it end.
        number: Of the signal.
        times: How often it is sent; a program of which nothing is left after a minute is a fault.
    """
    from nextchar.cli.main import main  # noqa: PLC0415  after the variables are set

    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become_silent()
        code = 70
        try:
            code = main(list(words))
        finally:
            os._exit(code)
    if delay is not None:
        _wait(pid, begun + delay)
        for _ in range(times):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            time.sleep(0.001)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - begun


def _wait(pid: int, until: float) -> None:
    """Wait until a moment, or until a child has ended, without collecting it."""
    while time.monotonic() < until:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.0005)


def _become_silent() -> None:
    """Send what a fork prints to nowhere; Ctrl-C and hanging up are not ignored, as they are in the background."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def scenarios(text: Path, model: Path) -> list[Scenario]:
    """Return what is killed.

    Args:
        text: A file to read.
        model: A run folder of a model; the first scenario can make it.
    """

    def train(folder: Path, attempt: int) -> list[str]:
        begun = attempt and any((folder / name).exists() for name in ("config.toml", "training.safetensors"))
        return ["train", "--resume", str(folder)] if begun else ["train", str(text), "-o", str(folder), *SIZES.split()]

    def encode(folder: Path, _attempt: int) -> list[str]:
        os.environ["NEXTCHAR_CACHE"] = str(folder)
        return ["train", str(text), "-o", str(folder / "run"), "--overwrite", *SIZES.replace("40", "1", 1).split()]

    def discover(folder: Path, _attempt: int) -> list[str]:
        os.environ["NEXTCHAR_CACHE"] = str(text.parent / "cache")
        return ["discover", str(model), str(text), "-o", str(folder), *DISCOVER.split()]

    def export(ending: str) -> Callable[[Path, int], list[str]]:
        return lambda folder, _: ["export", str(model), str(folder / f"model.{ending}")]

    return [
        Scenario("train and resume", train, check_run, other_run),
        Scenario("discover", discover, check_pages, other_files),
        Scenario("export to .html", export("html"), check_pages, other_files),
        Scenario("export to .safetensors", export("safetensors"), check_pages, other_files),
        Scenario("encode a text", encode, lambda folder: check_cache(folder, text), lambda *_: ""),
    ]


def check_run(folder: Path) -> str:
    """Return what is wrong with a run folder: it must be a run that can be resumed, or hold none."""
    from nextchar.errors import NextcharError  # noqa: PLC0415  as above
    from nextchar.storage import CONFIG, LOG, MODEL, TRAINING, read_log, read_model  # noqa: PLC0415  as above
    from nextchar.training.run import Run  # noqa: PLC0415  as above

    read_log(folder / LOG)
    if (folder / MODEL).exists():
        read_model(folder)
    if not any((folder / name).exists() for name in (CONFIG, TRAINING, MODEL)):
        return ""
    try:
        Run.open(folder)
    except NextcharError as error:
        return str(error)
    return ""


def other_run(whole: Path, broken: Path) -> str:
    """Return in what two runs differ that ended: weights, optimizer state and samples must be the same to the bit."""
    from nextchar.storage import MODEL, TRAINING, read_arrays  # noqa: PLC0415  as above

    for name in (MODEL, TRAINING):
        one, other = read_arrays(whole / name)[0], read_arrays(broken / name)[0]
        if one.keys() != other.keys() or not all(np.array_equal(one[key], other[key]) for key in one):
            return name
    samples = [folder / "samples.txt" for folder in (whole, broken)]
    same = all(path.exists() for path in samples) and samples[0].read_bytes() == samples[1].read_bytes()
    return "" if same else "samples.txt"


def check_pages(folder: Path) -> str:
    """Return what is wrong with files that a command wrote: each must be complete."""
    from nextchar.storage import read_model  # noqa: PLC0415  as above

    for path in folder.glob("*") if folder.exists() else ():
        if path.name.startswith("."):  # a temporary file
            continue
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".html" and not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
            return f"{path.name} is cut"
        elif path.suffix == ".safetensors":
            read_model(path)
    return ""


def other_files(whole: Path, broken: Path) -> str:
    """Return the names of files, apart from temporary ones, that two folders do not share."""
    one, other = ({path.name: path.read_bytes() for path in folder.glob("[!.]*")} for folder in (whole, broken))
    return ", ".join(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))


def check_cache(folder: Path, text: Path) -> str:
    """Return what is wrong with a cache: what is opened through it must be the text."""
    from nextchar.text.corpus import open_corpus  # noqa: PLC0415  as above

    os.environ["NEXTCHAR_CACHE"] = str(folder)
    shutil.rmtree(folder / "run", ignore_errors=True)
    corpus = open_corpus(text)
    return (
        ""
        if corpus.vocabulary.decode(corpus.take(0, len(corpus))) == text.read_text(encoding="utf-8")
        else "another text"
    )
