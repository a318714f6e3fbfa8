"""What every command says and how: JSON on standard output, talk and progress on standard error."""

import json
import os
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_SECONDS = 10.0


class _Talk(Console):
    def on_broken_pipe(self) -> None:
        """Fall silent: whoever listened has gone, and the work need not end for that."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def stderr() -> Console:
    """Return the console for talk."""
    return _Talk(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: dict[str, Any]) -> None:
    """Print exactly one JSON object on standard output."""
    # What of a prompt or a file's name is not UTF-8 can be written as JSON writes any character.
    sys.stdout.write(json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode() + "\n")


def duration(seconds: float) -> str:
    """Write seconds as a person would.

    Example:
        >>> duration(75), duration(4000)
        ('1:15', '1:06:40')
    """
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def visible(text: str) -> str:
    """Show control characters other than line ends and tabs, so that no text can steer the terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" if ord(c) < 256 else "\ufffd"
        for c in text
    )


class ReadingProgress:
    """A bar for a long reading or encoding; silent until half a second has gone by."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = self._last = time.monotonic()
        self._bar: Progress | None = None
        self._task: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how many bytes of the total are done."""
        now = time.monotonic()
        if self._console.is_terminal and now - self._begun > 0.5:
            if self._bar is None:
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(40),
                    TextColumn("{task.percentage:.0f} %"),
                )
                self._bar = Progress(*columns, console=self._console, transient=True)
                self._task = self._bar.add_task(what, total=total)
                self._bar.start()
            self._bar.update(self._task, description=what, completed=done)
        elif now - self._last > PLAIN_SECONDS:
            self._last = now
            self._console.print(f"{what}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None
