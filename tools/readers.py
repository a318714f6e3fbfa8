"""Every reader of nextchar's own files, each with a valid file, its mutants, and a watch over what reading them does.

A reader that is given a mutant may accept it or refuse it with one sentence. Anything else is a fault: another exception,
more than a second, more memory than twice the file and a constant, a program, a connection, an import of a pickled name,
or a file outside the folder.
"""

import json
import re
import shutil
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, get_args

import numpy as np

import mutants
from nextchar.architecture import WeightKind
from nextchar.cli import info, mistakes
from nextchar.config import Config, read_toml
from nextchar.errors import NextcharError
from nextchar.inspection.naming import read_names
from nextchar.inspection.timeline import timeline_page
from nextchar.language_model import LanguageModel
from nextchar.notebook import curve
from nextchar.sampling.options import SampleOptions
from nextchar.sampling.sample import sample
from nextchar.storage import CONFIG, LOG, MODEL, TRAINING, load, read_log, read_metadata, read_model, write_model
from nextchar.text.corpus import TEXTS, open_corpus
from nextchar.training.curve import draw_curve
from nextchar.training.run import Run, train

TEXT = "It was the best of times, it was the worst of times; it was the age of wisdom, {of} foolishness. " * 8
SMALL = {"steps": 4, "hidden": 16, "layers": 2, "embedding": 4, "batch_size": 2, "seq_length": 8}
SECONDS = 1.0  # of this process, that reading one file may take
ROOM = 12 << 20  # bytes beside twice the file: a table of all code points has 4.5 MB, and each block of a text 1 MB
FORBIDDEN = {"os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"}
FORBIDDEN |= {
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
    "ctypes.dlopen",
    "urllib.Request",
    "code.__new__",
}
LONGEST = 1000  # characters of a sentence, apart from what the file itself says


class Fault(Exception):  # noqa: N818  what a test reports, not an error of the program
    """What a reader must not do."""


class Slow(BaseException):
    """Raised in a reader that takes too long; a BaseException, so that no reader catches it."""


class Watch:
    """Notices programs, connections, pickled names and files outside a folder, while `on`; there is one for a process."""

    def __init__(self) -> None:
        self.on, self.seen = False, list[str]()
        self.folder = ""
        self._thread = threading.get_ident()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or threading.get_ident() != self._thread:
            return
        if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[1], str):
            writes = set(arguments[1]) & set("wax+")
            if writes and not arguments[0].startswith((self.folder, "/dev/null", "/tmp/")):  # noqa: S108  of tempfile
                self.seen.append(f"{event} {arguments[0]}")
        elif event in FORBIDDEN:
            self.seen.append(f"{event} {arguments!r:.100}")


WATCH = Watch()


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raise `Fault` if something forbidden happens, and `Slow` after a second of this process."""

    def slow(_number: int, _frame: FrameType | None) -> None:
        raise Slow

    WATCH.seen, WATCH.folder, WATCH.on = [], str(folder), True
    timed = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if timed:
        before = signal.signal(signal.SIGPROF, slow)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    except Slow:
        raise Fault(f"more than {SECONDS:g} s") from None
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
        WATCH.on = False
    if WATCH.seen:
        raise Fault(f"it did: {', '.join(WATCH.seen)}")


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of one kind of file.

    Attributes:
        name: What it reads.
        valid: The content of a valid file.
        mutate: Returns a changed one.
        read: Reads a content and uses what was read.
        folder: Where it is put.
    """

    name: str
    valid: bytes
    mutate: Callable[[bytes, Random], bytes]
    read: Callable[[bytes], object]
    folder: Path

    def __call__(self, content: bytes, *, measure: bool = False) -> bool:
        """Return whether a content is accepted.

        Args:
            content: Of the file.
            measure: Also measure the memory, which takes longer.

        Raises:
            Fault: The reader does what it must not do.
        """
        try:
            with watched(self.folder), measured(len(content) if measure else None):
                self.read(content)
        except NextcharError as error:
            check_sentence(str(error))
            return False
        except Fault:
            raise
        except Exception as error:
            raise Fault(f"{type(error).__name__}: {error!s:.300}") from error
        return True

    def mutant(self, seed: int) -> bytes:
        """Return the mutant of a seed."""
        return self.mutate(self.valid, Random(f"{self.name} {seed}"))  # noqa: S311  nothing secret


@contextmanager
def measured(size: int | None) -> Iterator[None]:
    """Raise `Fault` if more than twice a size, and a constant, is allocated; do nothing without a size."""
    if size is None:
        yield
        return
    tracemalloc.start()
    try:
        yield
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    if peak > 2 * size + ROOM:
        raise Fault(f"{peak:,} bytes for a file of {size:,}")


def check_sentence(message: str) -> None:
    """Refuse a message that is no sentence on one line."""
    if not message.strip() or re.search(r"[\r\n]", message) or len(message) > LONGEST + 3 * 3000:
        raise Fault(f"not one sentence: {message!r:.300}")


def make_readers(folder: Path) -> dict[str, Reader]:
    """Train a very small model into a folder, which holds all the valid files, and return the readers by name.

    The environment variable NEXTCHAR_CACHE must name a folder in that folder.
    """
    run, text = folder / "run", folder / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    lm = train(text, out=run, progress=False, **SMALL)  # type: ignore[arg-type]
    lm = load(run)
    cache = next((folder / "cache" / TEXTS).iterdir())
    claims = folder / "claims.json"
    claims.write_text(json.dumps(_claims(lm)), encoding="utf-8")
    made = [
        *(_of_models(run, kind) for kind in get_args(WeightKind)),
        _of_metadata(run),
        _of_snapshots(run),
        _of_cache(cache, text, "meta.json", mutants.some_json),
        _of_cache(cache, text, "ids.bin", mutants.some_bytes),
        _of_claims(claims, lm),
        _of_logs(run),
        _of_configs(run),
    ]
    for reader in made:  # what is imported and compiled at the first reading is not measured
        reader.read(reader.valid)
    return {reader.name: reader for reader in made}


def _of_models(run: Path, kind: WeightKind) -> Reader:
    """Read a model whose file has one kind of weights; describe it and sample from it."""
    path = run.parent / "mutant" / MODEL
    path.parent.mkdir(exist_ok=True)
    write_model(path, replace(read_model(run), weights=kind))

    def read(content: bytes) -> None:
        path.write_bytes(content)
        file = read_model(path)
        repr(file)
        with redirect_stdout(StringIO()):
            info.command(path)
            info.command(path, json=True)
        options = {"length": 3, "seed": 1}
        for weights in ("fp32", "bf16", "int8"):
            sample(file, "", SampleOptions(weights=weights, **options))  # type: ignore[arg-type]

    return Reader(f"model {kind}", path.read_bytes(), mutants.a_model, read, run.parent)


def _of_metadata(run: Path) -> Reader:
    """Read only the description of a model, as the list of runs does."""
    path = run.parent / "described.safetensors"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        mistakes._row(path)  # noqa: SLF001  a line of the list
        read_metadata(path)

    return Reader("metadata", (run / MODEL).read_bytes(), mutants.a_model, read, run.parent)


def _of_snapshots(run: Path) -> Reader:
    """Resume a run from a snapshot, and make a step."""
    folder = run.parent / "resumed"
    shutil.copytree(run, folder)
    corpus = Run.open(run).corpus()

    def read(content: bytes) -> None:
        (folder / TRAINING).write_bytes(content)
        trainer = Run.open(folder).trainer(corpus, steps=2)
        trainer._advance()  # noqa: SLF001  one step, without files
        trainer.snapshot()

    return Reader("snapshot", (run / TRAINING).read_bytes(), mutants.a_model, read, run.parent)


def _of_cache(entry: Path, text: Path, name: str, mutate: Callable[[bytes, Random], bytes]) -> Reader:
    """Open a text whose encoded form is in the cache: what is read is what would be encoded anew, or its ids are valid."""
    valid = {file.name: file.read_bytes() for file in entry.iterdir()}

    def read(content: bytes) -> None:
        for other, kept in valid.items():
            (entry / other).write_bytes(content if other == name else kept)
        corpus = open_corpus(text)
        if len(corpus) != len(TEXT) or int(np.max(corpus.ids)) >= len(corpus.vocabulary):
            raise Fault("ids that are not in the vocabulary")

    return Reader(f"cache {name}", valid[name], mutate, read, entry.parents[2])


def _of_claims(path: Path, lm: LanguageModel) -> Reader:
    """Read the neurons that were named."""

    def read(content: bytes) -> None:
        path.write_bytes(content)
        for named in read_names(path, lm):
            str(named)

    return Reader("claims.json", path.read_bytes(), mutants.some_json, read, path.parent)


def _of_logs(run: Path) -> Reader:
    """Read the log of a run, and draw it on the page, in a notebook and as a file."""
    path = run.parent / LOG

    def read(content: bytes) -> None:
        path.write_bytes(content)
        entries = read_log(path)
        curve(entries)
        draw_curve(entries, path.with_suffix(".svg"))
        timeline_page(entries)

    return Reader("log.jsonl", (run / LOG).read_bytes(), mutants.some_lines, read, run.parent)


def _of_configs(run: Path) -> Reader:
    """Read the options of a run."""
    path = run.parent / CONFIG

    def read(content: bytes) -> None:
        path.write_bytes(content)
        values, _ = read_toml(path)
        values.pop("init_from", "")
        Config.make(values, str(path))

    return Reader("config.toml", (run / CONFIG).read_bytes(), mutants.some_toml, read, run.parent)


def _claims(lm: LanguageModel) -> dict[str, Any]:
    from nextchar.inspection.naming import digest  # noqa: PLC0415  only here

    found = [{"unit": f"{layer}:3", "feature": "quotes", "score": 0.9, "measure": "correlation"} for layer in (0, 1)]
    return {
        "format": 1,
        "model": {"sha256": digest(lm), "vocabulary": 20},
        "findings": found,
        "claims": [{"a": [1, 2]}],
    }
