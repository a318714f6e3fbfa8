"""What people see while it works: live on a terminal, plain lines elsewhere; always on standard error."""

import json
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from nextchar.training import events
from nextchar.training.events import Event

BITS = 1.4426950408889634  # bits in a nat
PLAIN_SECONDS = 10.0


def stderr() -> Console:
    """Return the console for talk."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: dict[str, Any]) -> None:
    """Print exactly one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


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


class TrainingView:
    """Shows the events of a training: a live line with loss, rate and time left, and above it what is worth keeping."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._said = 0.0
        self._valid = ""
        columns = (
            TextColumn("{task.percentage:>3.0f} %"),
            BarColumn(24),
            TextColumn("{task.fields[line]}"),
        )
        self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self._task = self._bar.add_task("", total=1.0, line="")

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, events.Started):
            self._say(_started(event))
        elif isinstance(event, events.Progress):
            self._progress(event)
        elif isinstance(event, events.Validated):
            score = event.score
            self._valid = f" · valid {score.bits_per_char:.3f}"
            mark = " (best)" if event.best else ""
            self._say(
                f"step {event.step:>7,}  valid {score.bits_per_char:.3f} bits/char ({score.nats_per_char:.4f} nats){mark}"
            )
        elif isinstance(event, events.Sampled):
            self._sample(event)

    def _progress(self, event: events.Progress) -> None:
        line = (
            f"step {event.step:,}/{event.steps:,} · epoch {event.epoch:.2f} · train {event.loss * BITS:.3f}{self._valid} "
            f"bits/char · {event.chars_per_second:,.0f} chars/s · {duration(event.seconds_left)} left"
        )
        if self._live:
            self._bar.update(self._task, completed=event.step / event.steps, line=line, refresh=True)
        elif event.seconds - self._said >= PLAIN_SECONDS or event.step >= event.steps:
            self._said = event.seconds
            self._say(line)

    def _sample(self, event: events.Sampled) -> None:
        # Text is never markup: a sample may well hold [brackets].
        self._console.print(Text(f"── sample at step {event.step:,} " + "─" * 40, style="cyan"))
        self._console.print(Text(visible(event.text)), soft_wrap=True)
        self._console.print(Text("─" * 60, style="cyan"))

    def _say(self, line: str) -> None:
        self._console.print(Text(line))


def _started(event: events.Started) -> str:
    again = f"going on from step {event.step:,} · " if event.step else ""
    return (
        f"{again}{event.parameters:,} parameters · {event.train_chars:,} characters to learn from, "
        f"{event.valid_chars:,} to validate · {event.device}, {event.precision} ({event.reason})"
    )
