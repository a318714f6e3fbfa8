"""Output of every command: encodings, escaping for terminals, JSON on standard output, progress on standard error."""

import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from nextchar.text.display import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PLAIN_SECONDS = 10.0  # between two lines of progress where there is no terminal
# Marks a word that is a value, although it starts with a dash; no path or argument can contain it.
LITERAL = "\0"
WINDOWS = os.name == "nt"


def prepare_streams() -> None:
    """Make standard output and standard error able to take any character.

    What their encoding lacks is escaped instead of raising. On Windows they are UTF-8, unless PYTHONIOENCODING says
    otherwise, and lines end as they do elsewhere, so that data are the same bytes on every system.
    """
    encoding = "utf-8" if WINDOWS and "PYTHONIOENCODING" not in os.environ else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors="backslashreplace", newline="\n")


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], object], *names: str) -> Iterator[None]:
    """Handle signals by name, in the main thread.

    A signal that the system lacks, or that is ignored, as under nohup or in the background of a shell, is left as it is.
    """
    before = {}
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(ValueError):  # this is not the main thread
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def encode_output(text: str) -> bytes:
    """Encode text for `sys.stdout.buffer`.

    Bytes of the command line that are not UTF-8 come out as they were given; what the encoding lacks is escaped.
    """
    try:
        return text.encode(sys.stdout.encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(sys.stdout.encoding, "backslashreplace")


def stderr() -> "Console":
    """Return the console for messages. What it prints is never markup: names and texts may hold [brackets]."""
    from rich.console import Console  # noqa: PLC0415  not every command prints messages

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            """Go silent when standard error is closed; the command continues."""
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

        def print(self, *lines: Any, **options: Any) -> None:
            """Print lines; what could control the terminal, as in the name of a file, is escaped."""
            try:
                super().print(*(visible(line) if isinstance(line, str) else line for line in lines), **options)
            except OSError as error:
                if error.errno != errno.EIO:  # the terminal is gone
                    raise
                self.on_broken_pipe()

    return Quiet(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def transient(words: str) -> None:
    """Show on a terminal what happens now; the next line, which must be longer, is printed over it."""
    with suppress(OSError, ValueError):
        if sys.stderr and sys.stderr.isatty():
            sys.stderr.write(words + "\r")
            sys.stderr.flush()


def print_json(value: dict[str, Any]) -> None:
    """Print exactly one JSON object on standard output, in JSON's own escapes where the encoding is not UTF-8."""
    utf8 = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
    line = json.dumps(value, ensure_ascii=not utf8)
    # Lone surrogates, as in names of files that are not UTF-8, are escaped as JSON escapes them.
    sys.stdout.write(line.encode(errors="backslashreplace").decode() + "\n")


def shell_command(*words: object) -> str:
    """Return a command line that can be copied into a shell, quoted as this system's shells quote.

    Example:
        >>> shell_command("nextchar", "sample", "my run")
        "nextchar sample 'my run'"
    """
    given = list(map(str, words))
    return subprocess.list2cmdline(given) if WINDOWS else shlex.join(given)


class ReadingProgress:
    """A progress bar for reading or encoding a long text; silent for the first half second."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._begun = self._last = time.monotonic()
        self._bar: Progress | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how many bytes of the total are done."""
        now = time.monotonic()
        if self._console.is_terminal and now - self._begun > 0.5:
            self._bar = self._bar or self._started(total)
            self._bar.update(self._bar.task_ids[0], description=what, completed=done)
        elif now - self._last > PLAIN_SECONDS:
            self._last = now
            self._console.print(f"{what}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    def _started(self, total: int) -> "Progress":
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415  only long texts need it

        text, percentage = TextColumn("{task.description}"), TextColumn("{task.percentage:.0f} %")
        bar = Progress(text, BarColumn(40), percentage, console=self._console, transient=True)
        bar.add_task("", total=total)
        bar.start()
        return bar

    def close(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None
