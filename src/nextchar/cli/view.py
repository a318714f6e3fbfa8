"""What people see of a training: a live line on a terminal, plain lines elsewhere; always on standard error."""

import math
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from nextchar.cli.console import PLAIN_SECONDS, duration, visible
from nextchar.training import events
from nextchar.training.events import Event

BITS = 1 / math.log(2)  # in a nat


class TrainingView:
    """Shows the events of a training: a live line with loss, rate and time left, and above it what is worth keeping."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._said = 0.0
        self._valid = ""
        columns = (TextColumn("{task.percentage:>3.0f} %"), BarColumn(24), TextColumn("{task.fields[line]}"))
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
