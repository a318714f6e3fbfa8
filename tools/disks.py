"""Disks that fail: the power is cut between any two operations, or there is no space after any number of bytes.

The power cut is simulated in this process: every sync, rename and removal in a folder is noticed, and the states that the
disk may then show are made in another folder. What was not synced may be missing, cut, or zeros of the right length; a
rename or a new name that was not followed by a sync of its folder may be missing; what was synced is there.
"""

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from kills import check_run, other_run
from nextchar.config import Config
from nextchar.storage import CONFIG, MODEL, TRAINING, read_model, write_model, write_text
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.training.folder import LOCK
from nextchar.training.record import record
from nextchar.training.run import Run
from nextchar.training.start import make_trainer

TEXT = "To be, or not to be: that is the question; whether 'tis nobler in the mind. " * 60
SMALL: dict[str, float] = {
    "steps": 20,
    "hidden": 16,
    "layers": 2,
    "embedding": 4,
    "batch_size": 4,
    "seq_length": 16,
    "eval_every": 5,
}
SMALL |= {"eval_chars": 200, "valid": 0.2}
MOST_NAMES = 5  # of names that are not synced, all combinations are tried; of more, some

Result = tuple[str, int, str]
Tree = dict[str, bytes]
"""Files by their path in a folder."""


class Recorder:
    """Notices syncs, renames and removals below a folder, and yields the states that a disk may show after a power cut."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.synced: dict[int, bytes] = {}
        """What each file, by its number, was when it was last synced."""
        self.durable: dict[str, int] = {}
        """The names that a sync of their folder has made durable."""
        self.moments: list[tuple[dict[str, int], dict[str, tuple[int, bytes]], dict[int, bytes]]] = []
        """Durable names, present names with their files, and what is synced, before each operation."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Notice what happens meanwhile."""
        for name, (number, content) in self._present().items():
            self.durable[name], self.synced[number] = number, content
        real: dict[str, Callable[..., Any]] = {
            name: getattr(os, name) for name in ("fsync", "replace", "rename", "unlink")
        }

        def noticed(name: str) -> Callable[..., Any]:
            def call(*words: Any, **named: Any) -> Any:
                self._keep()
                result = real[name](*words, **named)
                if name == "fsync":
                    self._sync(words[0])
                return result

            return call

        for name in real:
            setattr(os, name, noticed(name))
        try:
            yield
        finally:
            for name, function in real.items():
                setattr(os, name, function)
            self._keep()

    def _present(self) -> dict[str, tuple[int, bytes]]:
        found = {}
        for path in self.folder.rglob("*"):
            if path.is_file() and path.name != LOCK:
                found[path.relative_to(self.folder).as_posix()] = (path.stat().st_ino, path.read_bytes())
        return found

    def _keep(self) -> None:
        self.moments.append((dict(self.durable), self._present(), dict(self.synced)))

    def _sync(self, descriptor: int) -> None:
        about, present = os.fstat(descriptor), self._present()
        if not stat.S_ISDIR(about.st_mode):
            self.synced |= {number: content for number, content in present.values() if number == about.st_ino}
            return
        folders = {path.relative_to(self.folder).as_posix(): path for path in [self.folder, *self.folder.rglob("*/")]}
        inside = next((name for name, path in folders.items() if path.stat().st_ino == about.st_ino), None)
        if inside is not None:
            own = {name for name in {*present, *self.durable} if Path(name).parent.as_posix() == inside}
            self.durable = {name: number for name, number in self.durable.items() if name not in own}
            self.durable |= {name: present[name][0] for name in own & {*present}}

    def states(self, random: Random) -> Iterator[Tree]:
        """Yield what the disk may hold, for every moment, without repetitions."""
        seen = set[int]()
        files: dict[int, bytes] = {}
        for durable, present, synced in self.moments:
            files |= dict(present.values())
            open_names = sorted(
                name for name in {*durable, *present} if durable.get(name) != present.get(name, (None,))[0]
            )
            choices = list(product((False, True), repeat=min(len(open_names), MOST_NAMES)))
            for choice in choices:
                new = {name for name, taken in zip(open_names, choice, strict=False) if taken}
                new |= {name for name in open_names[MOST_NAMES:] if random.random() < 0.5}
                numbers = {
                    name: present[name][0] if name in new and name in present else durable.get(name)
                    for name in {*durable, *present}
                    if name not in open_names or (name in present if name in new else name in durable)
                }
                kept = {name: (files[number], synced.get(number)) for name, number in numbers.items() if number}
                unsure = [name for name, (content, safe) in kept.items() if content != safe]
                hows = product(range(4), repeat=len(unsure)) if len(unsure) <= 2 else _some(len(unsure), random)
                for how in hows:
                    ways = dict(zip(unsure, how, strict=True))
                    tree = {name: _left(*pair, ways.get(name, 0)) for name, pair in kept.items()}
                    key = hash(tuple(sorted(tree.items())))
                    if key not in seen:
                        seen.add(key)
                        yield tree


def _some(length: int, random: Random) -> list[tuple[int, ...]]:
    return [tuple(random.randrange(4) for _ in range(length)) for _ in range(12)]


def _left(content: bytes, synced: bytes | None, how: int) -> bytes:
    """Return what a power cut leaves of a file: all of it, what was synced, or beside that a part, or zeros.

    What was synced stays where a file only grew; one that was written anew since is as if it had never been synced.
    """
    safe = synced if synced is not None and content.startswith(synced) else b""
    new = content[len(safe) :]
    return safe + (new, b"", new[: len(new) // 2], bytes(len(new)))[how]


def put(tree: Tree, folder: Path) -> None:
    """Write a state of a disk into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def power_cuts(count: int, seed: int, only: str, folder: Path) -> Iterator[Result]:
    """Try states of the disk after a power cut: of a run folder, of a second run over it, and of the cache."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["NEXTCHAR_CACHE"] = str(folder / "cache")
    text = folder / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    random = Random(seed)  # noqa: S311  nothing secret
    if only in "run folder":
        yield _cut_runs(text, folder, count, random)
    if only in "cache of texts":
        yield _cut_caches(text, folder, count, random)


def _cut_runs(text: Path, folder: Path, count: int, random: Random) -> Result:
    whole, state = folder / "whole", folder / "state"
    recorder = Recorder(whole)
    corpus = open_corpus(text)
    whole.mkdir()
    with recorder.recording():
        write_text(whole / CONFIG, "steps = 1\n")  # what `Run.trainer` writes first
        _finish(make_trainer(corpus, Config(**SMALL)), whole, text)  # type: ignore[arg-type]
    states = list(recorder.states(random))
    tried = states if len(states) <= count else random.sample(states, count)
    faults, resumed = [], 0
    for place, tree in enumerate(tried):
        put(tree, state)
        if wrong := _wrong(state):
            faults.append(f"{sorted(tree)}: {wrong}")
        elif (state / TRAINING).exists() and place % 10 == 0:
            resumed += 1
            run = Run.open(state)
            if not run.finished:
                _finish(run.trainer(corpus), state, text)
                faults += [f"{sorted(tree)}: another {name}"] if (name := other_run(whole, state)) else []
    _report(faults)
    return "power cut: run folder", len(tried), f"of {len(states):,} states; {resumed} resumed; {len(faults)} faults"


def _wrong(folder: Path) -> str:
    try:
        return check_run(folder)
    except Exception as error:  # noqa: BLE001  any of them is a fault
        return f"{type(error).__name__}: {error}"


def _finish(trainer: Any, folder: Path, text: Path) -> None:
    for _ in record(trainer, folder, [str(text)]):
        pass


def _cut_caches(text: Path, folder: Path, count: int, random: Random) -> Result:
    cache, state = folder / "cut-cache", folder / "cut-state"
    cache.mkdir()
    os.environ["NEXTCHAR_CACHE"] = str(cache)
    recorder = Recorder(cache)
    with recorder.recording():
        open_corpus(text)
    states = list(recorder.states(random))
    # A folder that is renamed takes its files with it: they are found under both names.
    tried = states if len(states) <= count else random.sample(states, count)
    os.environ["NEXTCHAR_CACHE"] = str(state)
    faults = []
    for tree in tried:
        put(tree, state)
        corpus = open_corpus(text)
        if corpus.vocabulary.decode(corpus.take(0, len(corpus))) != TEXT:
            faults.append(f"{sorted(tree)}: another text")
    _report(faults)
    return "power cut: cache of texts", len(tried), f"of {len(states):,} states; {len(faults)} faults"


def full_disks(count: int, seed: int, only: str, folder: Path) -> Iterator[Result]:
    """Let writing fail after any number of bytes: of a model file, of a whole run, of the cache."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["NEXTCHAR_CACHE"] = str(folder / "cache")
    text = folder / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    corpus = Corpus.from_text(TEXT)
    trainer = make_trainer(corpus, Config(**SMALL))  # type: ignore[arg-type]
    run = folder / "run"
    _finish(trainer, run, text)
    model, random = read_model(run), Random(seed)  # noqa: S311  nothing secret
    size = (run / MODEL).stat().st_size

    def write(limit: int) -> str:
        path = folder / "small" / MODEL
        write_model(path, model)
        before = path.read_bytes()
        failed = _fails(limit, lambda: write_model(path, model))
        left = [each.name for each in path.parent.iterdir()]
        return (
            "" if left == [MODEL] and path.read_bytes() == before and failed == (limit < size) else f"{left} {failed}"
        )

    def train(limit: int) -> str:
        place = folder / "full"
        shutil.rmtree(place, ignore_errors=True)
        _fails(limit, lambda: _finish(make_trainer(corpus, Config(**SMALL)), place, text))  # type: ignore[arg-type]
        return _wrong(place) or ("" if not list(place.glob(".*-*")) else "a temporary file is left")

    def encode(limit: int) -> str:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        _fails(limit, lambda: open_corpus(text))
        again = open_corpus(text)
        return "" if len(again) == len(TEXT) else "another text"

    for name, act, share, most in (
        ("model", write, 0.5, size),
        ("run", train, 0.1, 40_000),
        ("cache", encode, 0.4, 8_000),
    ):
        if only in name:
            tried = round(count * share)
            near = [most - 2, most - 1, most, most + 1, 0, 1]
            limits = [*near, *(random.randrange(most + 10) for _ in range(tried - len(near)))][:tried]
            faults = [f"{name} after {limit:,} bytes: {wrong}" for limit in limits if (wrong := act(limit))]
            _report(faults)
            yield (
                f"disk full while a {name} is written",
                tried,
                f"at 0 to {most + 10:,} bytes a file; {len(faults)} faults",
            )


def _fails(limit: int, act: Callable[[], object]) -> bool:
    """Return whether an act fails for lack of space, where no file may be larger than a limit.

    The system itself fails the writes (RLIMIT_FSIZE), with another number than that of a full disk.
    """
    import resource  # noqa: PLC0415  not on Windows
    import signal  # noqa: PLC0415  as above

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        act()
    except OSError as error:
        if error.errno not in {errno.EFBIG, errno.ENOSPC}:
            raise
        return True
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    return False


def _report(faults: list[str]) -> None:
    for fault in faults[:20]:
        print(f"  {fault}", file=sys.stderr)
