"""The process of a training: started with less priority than the server, or found at work after the server was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from nextchar.kernels import compile_cache
from nextchar.kernels.threads import available_cores
from nextchar.training.folder import training_process

OUTPUT = "train.log"  # what it prints, in its folder
NICE = 10
WARM = "trained"  # in the folder of compiled code, when all that a training needs is there
EXERCISE = """import pathlib, sys
from nextchar.config import Config
from nextchar.training.start import exercise
exercise(Config())
pathlib.Path(sys.argv[1]).touch()"""
SHARED = 3  # with so many cores, one is left for serving


class TrainingProcess:
    """A process that trains into a folder.

    Args:
        folder: The run folder.
        process: What this server has started; None for a process that an earlier server has left.
    """

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.folder, self._process = folder, process

    @classmethod
    def start(cls, folder: Path, words: Sequence[str]) -> "TrainingProcess":
        """Run `nextchar` with some words.

        Raises:
            OSError: No process can be started, or its output cannot be written.
        """
        with (folder / OUTPUT).open("wb") as output:
            # Its working directory is the run folder, where no file has the name of a module or of a corpus.
            return cls(folder, _run(["-m", "nextchar", *words], folder, output))

    @classmethod
    def find(cls, folder: Path) -> "TrainingProcess | None":
        """Return the process that trains into a folder, if there is one."""
        return None if training_process(folder) is None else cls(folder)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return (training_process(self.folder) is None) if self._process is None else self._process.poll() is not None

    @property
    def code(self) -> int | None:
        """Its exit code; None of a process that another server has started."""
        return None if self._process is None else self._process.returncode

    def stop(self) -> None:
        """Ask it to save and to end; without a console that both share, Windows can only end it."""
        gently = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)
        try:
            self._send(gently)
        except (OSError, ValueError):
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        with suppress(OSError):
            self._send(getattr(signal, "SIGKILL", signal.SIGTERM))

    def _send(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)
        elif pid := training_process(self.folder):  # which holds the lock, so it is no other process of that id
            os.kill(pid, number)


def printed(folder: Path) -> list[str]:
    """Return the lines that the process of a folder has printed."""
    try:
        lines = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()]


def warm_up() -> "subprocess.Popen[bytes] | None":
    """Compile what a training needs, so that the first one need not; return the process, or None if that was done before."""
    place = compile_cache.folder()
    if place is None or (place / WARM).exists():
        return None
    return _run(["-c", EXERCISE, str(place / WARM)], place, subprocess.DEVNULL)


def _run(words: Sequence[str], folder: Path, output: "BinaryIO | int") -> "subprocess.Popen[bytes]":
    """Run Python with less priority, out of reach of Ctrl-C in the server's terminal."""
    options: dict[str, object] = {"cwd": folder, "env": _environment(), "stdin": subprocess.DEVNULL}
    if os.name == "nt":
        flags = ("CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS")
        options["creationflags"] = sum(getattr(subprocess, name, 0) for name in flags)
    else:
        options["start_new_session"] = True
    process = subprocess.Popen([sys.executable, *words], stdout=output, stderr=output, **options)  # type: ignore[call-overload]  # noqa: S603
    if hasattr(os, "setpriority"):
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
    return process


def _environment() -> dict[str, str]:
    """Return the environment of a training: this package, paths that are valid in any working directory, and its cores."""
    given, home = dict(os.environ), Path(__file__).parents[2]
    paths = given.get("PYTHONPATH", "").split(os.pathsep)
    if not home.name.endswith("-packages"):  # the server may run from a checkout, by its working directory
        paths.append(str(home))
    given |= {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, paths))), "PYTHONUTF8": "1"}
    for name in ("NEXTCHAR_CACHE", "NEXTCHAR_DATA", "NUMBA_CACHE_DIR"):
        if given.get(name):
            given[name] = str(Path(given[name]).absolute())
    if available_cores() >= SHARED:
        given["OMP_NUM_THREADS"] = str(available_cores() - 1)
    return given
