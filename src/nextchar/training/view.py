"""How a training is shown: a live panel in a terminal or notebook, plain lines elsewhere, on standard error."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from nextchar.text.display import duration, visible
from nextchar.training import events
from nextchar.training.events import Event
from nextchar.training.panel import BITS, UNIT, TrainingState, html, panel

PLAIN_SECONDS = 10.0  # between two lines of progress where there is no live panel
NOTEBOOK_SECONDS = 1.0  # between two updates of a notebook


class TrainingView:
    """Shows events: what the run is, a panel that is replaced while it trains, and how it ended.

    A terminal that was closed ends neither the view nor the training.

    Args:
        console: To print on; standard error by default.
        name: Of the run.
        hint: What the reader can do while it trains.
    """

    def __init__(self, console: Console | None = None, *, name: str = "training", hint: str = "") -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self.state = TrainingState(name, hint)
        self._notebook = self._console.is_jupyter
        # Some systems ask for colours in files, too; what moves the cursor has no place there.
        self._live = not self._notebook and self._console.is_interactive and self._console.file.isatty()
        self._display: Live | None = None
        self._shown: list[Text] = []
        self._handle: Any = None
        self._last_line = self._last_update = 0.0
        self._closed = False

    def follow(self, happening: Iterable[Event]) -> Iterator[Event]:
        """Show events, and pass them on."""
        done: events.Finished | None = None
        try:
            for event in happening:
                self._try(self.show, event)
                done = event if isinstance(event, events.Finished) else done
                yield event
        finally:
            self.state.ended = True
            self._try(self._refresh)
            with suppress(OSError):
                if self._display:
                    self._display.stop()
            for line in closing(self.state, done) if done else ():
                self._try(self.say, line)

    def _try(self, show: Callable[..., object], *what: object) -> None:
        """Show something, unless that has failed before: what cannot be written would be kept for the next time."""
        if not self._closed:
            try:
                show(*what)
            except OSError:
                self._closed = True

    def show(self, event: Event) -> None:
        """Show one event."""
        self.state.update(event)
        if isinstance(event, events.Started):
            for line in opening(event):
                self.say(line)
            if self._live:
                self._display = Live(
                    console=self._console, auto_refresh=False, redirect_stdout=False, vertical_overflow="visible"
                )
                self._display.start()
        elif not (self._live or self._notebook):
            self._lines(event)
        # Of a notebook, every update is kept in memory by some front ends.
        if not self._notebook or event.seconds - self._last_update >= NOTEBOOK_SECONDS:
            self._last_update = event.seconds
            self._refresh()

    def say(self, line: str) -> None:
        """Show one line; it is text, never markup."""
        if self._notebook:
            self.state.notes.append(line)
            self._refresh()
        else:
            self._console.print(Text(visible(line)), soft_wrap=not self._live)

    def _refresh(self) -> None:
        """Replace what is shown."""
        if self._display:
            lines = panel(self.state, self._console)
            # A terminal that became narrower has wrapped the lines, so there are more rows to go up.
            more = sum(max(cell_len(line.plain) - 1, 0) // self._console.width for line in self._shown)
            up: list[tuple[ControlType, int]] = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)]
            self._console.control(Control(ControlType.CARRIAGE_RETURN, *(up * more)))
            self._display.update(Group(*lines), refresh=True)
            self._shown = lines
        elif self._notebook:
            data = {"text/html": html(self.state), "text/plain": "\n".join(map(str, panel(self.state, self._console)))}
            if self._handle:
                self._handle.update(data, raw=True)
            else:
                self._handle = import_module("IPython.display").display(data, raw=True, display_id=True)

    def _lines(self, event: Event) -> None:
        """Show an event where there is no panel."""
        if isinstance(event, events.Progress):
            if event.seconds - self._last_line >= PLAIN_SECONDS or event.step >= event.steps:
                self._last_line = event.seconds
                valid = f", validation {self.state.valid[-1][1]:.3f}" if self.state.valid else ""
                self.say(
                    f"{duration(event.seconds_left)} left · step {event.step:,} of {event.steps:,} · epoch {event.epoch:.2f} "
                    f"· train {event.loss * BITS:.3f}{valid} {UNIT} · {event.chars_per_second:,.0f} characters/s"
                )
        elif isinstance(event, events.Validated):
            mark = " (best so far)" if event.best else ""
            self.say(f"step {event.step:>7,} · validation {event.score.bits_per_char:.3f} {UNIT}{mark}")
        elif isinstance(event, events.Sampled):
            self._console.print(Text(f"── sample at step {event.step:,} " + "─" * 40, style="cyan"))
            self.say(event.text)
            self._console.print(Text("─" * 60, style="cyan"))


def opening(event: events.Started) -> list[str]:
    """Return what a run is, and once what its unit means."""
    again = f"resuming at step {event.step:,} · " if event.step else ""
    texts = f"{event.train_chars:,} characters for training, {event.valid_chars:,} for validation"
    guess = f"a uniform guess over {event.vocabulary:,} characters is {math.log2(event.vocabulary):.2f}"
    lines = [
        f"{again}{event.network}, {event.parameters:,} parameters · {texts} · {event.device}, {event.precision} ({event.reason})",
        f"{UNIT}: 0 is certain; {guess}; lower is better",
    ]
    if event.valid_chars:
        dropout = (", with dropout", ", without dropout") if event.dropout else ("", "")
        lines.append(f"train: measured while it learns{dropout[0]}; validation: on text kept apart{dropout[1]}")
    return lines


def closing(state: TrainingState, done: events.Finished) -> list[str]:
    """Return what a run has reached, and why it ended before its budget if it did."""
    planned = state.progress.steps if state.progress else done.step
    spent = f"{done.step:,} steps, {done.epochs:.2f} epochs, {duration(done.seconds)}"
    how = {
        "steps": f"done: {spent}",
        "patience": f"stopped early, at step {done.step:,} of {planned:,}: validation did not improve any more (--patience); {spent}",
        "time": f"ended because its time was over, as the machine was slower than measured: {spent}",
        "text": f"ended before its time: so short a text has been read often enough, more would only memorize it; {spent}",
    }[done.reason]
    if not (score := done.score):
        return [how]
    calibrated = f" (calibrated: temperature {done.temperature:.2f})" if round(done.temperature, 2) != 1 else ""
    guess = f"; a uniform guess is {math.log2(state.started.vocabulary):.2f}" if state.started else ""
    return [
        how,
        f"best model: {score.bits_per_char:.3f} {UNIT} on {score.chars:,} validation characters{calibrated}{guess}",
    ]
