"""How a training is shown: a live line in a terminal or notebook, plain lines elsewhere, on standard error."""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from nextchar.text.display import duration, visible
from nextchar.training import events
from nextchar.training.events import Event

BITS = 1 / math.log(2)  # in a nat
PLAIN_SECONDS = 10.0  # between two lines of progress where there is no live line


class TrainingView:
    """Shows events: a live line with loss, speed and time left, and above it what is worth keeping.

    A terminal that was closed ends neither the view nor the training.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        self._live = self._console.is_terminal or self._console.is_jupyter
        self._last_line = 0.0
        self._valid = ""
        columns = (TextColumn("{task.percentage:>3.0f} %"), BarColumn(24), TextColumn("{task.fields[line]}"))
        self._bar = Progress(*columns, console=self._console, transient=True, auto_refresh=False)
        self._task = self._bar.add_task("", total=1.0, line="")

    def follow(self, happening: Iterable[Event]) -> Iterator[Event]:
        """Show events, and pass them on."""
        with suppress(OSError):
            if self._live:
                self._bar.start()
        try:
            for event in happening:
                with suppress(OSError):
                    self.show(event)
                yield event
        finally:
            with suppress(OSError):
                if self._live:
                    self._bar.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, events.Started):
            self.say(_started(event))
        elif isinstance(event, events.Progress):
            self._progress(event)
        elif isinstance(event, events.Validated):
            score = event.score
            self._valid = f" · valid {score.bits_per_char:.3f}"
            mark = " (best)" if event.best else ""
            self.say(
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
        elif event.seconds - self._last_line >= PLAIN_SECONDS or event.step >= event.steps:
            self._last_line = event.seconds
            self.say(line)

    def _sample(self, event: events.Sampled) -> None:
        self._console.print(Text(f"── sample at step {event.step:,} " + "─" * 40, style="cyan"))
        self._console.print(Text(visible(event.text)), soft_wrap=True)
        self._console.print(Text("─" * 60, style="cyan"))

    def say(self, line: str) -> None:
        """Show one line; it is text, never markup."""
        self._console.print(Text(line))


def _started(event: events.Started) -> str:
    again = f"resuming at step {event.step:,} · " if event.step else ""
    return (
        f"{again}{event.parameters:,} parameters · {event.train_chars:,} characters for training, "
        f"{event.valid_chars:,} for validation · {event.device}, {event.precision} ({event.reason})"
    )
