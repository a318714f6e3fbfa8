"""The picture of a training: what is known so far, as lines for a terminal or as HTML for a notebook."""

import math
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from nextchar.notebook import TEXT, card, curve, escape, note
from nextchar.text.display import duration, visible
from nextchar.training import events
from nextchar.training.events import Event

BITS = 1 / math.log(2)  # in a nat
UNIT = "bits per character"
SAMPLE_ROWS = 8
MOST_POINTS = 2000  # of the training loss; beyond, every second one is dropped
LABEL = 15  # columns before a bar or a curve
LEVELS = "▁▂▃▄▅▆▇█"
ASCII = str.maketrans(LEVELS + "━─│·…", "_.-:=+*##-|,~")  # for a terminal without Unicode


@dataclass(slots=True)
class TrainingState:
    """What a view knows about a training.

    Attributes:
        name: Of the run.
        hint: What can be done, or what happens now.
        notes: Lines that were said before and after the training.
        started: What the run is.
        progress: Where it is.
        sampled: The present sample.
        ended: Whether it is over.
        train: Step and loss in bits per character.
        valid: The same of validations.
    """

    name: str = "training"
    hint: str = ""
    notes: list[str] = field(default_factory=list)
    started: events.Started | None = None
    progress: events.Progress | None = None
    sampled: events.Sampled | None = None
    ended: bool = False
    train: list[tuple[int, float]] = field(default_factory=list)
    valid: list[tuple[int, float]] = field(default_factory=list)

    def update(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, events.Started):
            self.started = event
        elif isinstance(event, events.Progress):
            self.progress = event
            self.train.append((event.step, event.loss * BITS))
            if len(self.train) > MOST_POINTS:
                del self.train[1::2]
            if event.step >= event.steps:
                self.hint = "scoring the best model ..."
        elif isinstance(event, events.Validated):
            self.valid.append((event.step, event.score.bits_per_char))
        elif isinstance(event, events.Sampled):
            self.sampled = event

    @property
    def fraction(self) -> float:
        """How much of the training is done, from 0 to 1."""
        return self.progress.step / max(self.progress.steps, 1) if self.progress else 0.0

    @property
    def time_left(self) -> str:
        """The time left, in words."""
        if self.ended:
            return "done" if self.fraction == 1 else "stopped"
        # The first step is slower than all others.
        return f"{duration(self.progress.seconds_left)} left" if self.progress and len(self.train) > 1 else "starting"

    def facts(self) -> list[str]:
        """Return speed and position, the most useful first."""
        if not (now := self.progress):
            return []
        facts = [f"{now.chars_per_second:,.0f} characters/s", f"step {now.step:,} of {now.steps:,}"]
        facts.append(f"epoch {now.epoch:.2f}")
        if self.valid and (best := min(self.valid, key=lambda point: point[1])) != self.valid[-1]:
            facts.append(f"best validation {best[1]:.3f} at step {best[0]:,}")
        return facts


def panel(state: TrainingState, console: Console) -> list[Text]:
    """Return the lines that show a training, which all fit into a terminal.

    The last column stays free, because a full line could move the cursor, and so does the last row. What the encoding of
    the terminal lacks is replaced or escaped.
    """
    wide, rows = max(console.width - 1, 1), max(console.height - 1, 1)
    name = visible(state.name)
    name = name if len(name) < wide - 5 else f"…{name[-max(wide - 6, 1) :]}"
    room = max(wide - LABEL - len(f"  0.000 {UNIT}"), 0)
    done = round(state.fraction * room)
    time_left, bar = f" {state.time_left} ".ljust(LABEL), (("━" * done, "green"), ("─" * (room - done), "dim"))
    # Each line with its rank: where rows are few, the first ranks are shown.
    ranked = [
        (5, Text(f"── {name} ".ljust(wide, "─"), "bold")),
        (0, Text.assemble((time_left, "bold"), *bar, f" {100 * state.fraction:3.0f} %")),
    ]
    # The top is not far above both ends, or the first steps would flatten the rest.
    steps = state.progress.steps if state.progress else 1
    lowest = [min(bits for _, bits in points) for points in (state.train, state.valid) if points] or [0.0]
    bounds = min(lowest), 1.3 * max(lowest)
    for rank, label, points, style in ((2, "train", state.train, ""), (1, "validation", state.valid, "cyan")):
        if points or not (state.started and label == "validation" and not state.started.valid_chars):
            value = f"  {points[-1][1]:.3f} {UNIT}" if points else "  not measured yet"
            row = sparkline(points, steps, room, bounds)[: max(done, 1)].ljust(room)
            ranked.append((rank, Text.assemble(f" {label}".ljust(LABEL), (row[:room], style), value)))
    facts = state.facts()
    while len(" · ".join(facts)) >= wide and len(facts) > 1:
        facts.pop()
    ranked.append((3, Text(" " + " · ".join(facts))))
    ranked += [(6, line) for line in _sample(state, console, rows - len(ranked) - 1)]
    if state.hint and not state.ended:
        ranked.append((4, Text(" " + state.hint, "dim")))
    last = sorted(rank for rank, _ in ranked)[:rows][-1]
    lines = [line for rank, line in ranked if rank <= last]
    for line in lines:
        line.plain = _encodable(line.plain, console)
        line.truncate(wide)
        line.no_wrap, line.overflow = True, "ignore"
    return lines[:rows]


def sparkline(points: list[tuple[int, float]], steps: int, width: int, bounds: tuple[float, float]) -> str:
    """Return a curve as a row of characters; it continues at its last height.

    Args:
        points: Step and value.
        steps: Of the whole width.
        width: Columns.
        bounds: The values of the lowest and the highest level; what lies beyond is cut.
    """
    columns: list[list[float]] = [[] for _ in range(width)]
    for step, value in points if width else []:
        columns[min(step * width // max(steps, 1), width - 1)].append(value)
    row, shown = "", " "
    for values in columns:
        if values:
            height = (sum(values) / len(values) - bounds[0]) / max(bounds[1] - bounds[0], 1e-9)
            shown = LEVELS[min(max(round(height * (len(LEVELS) - 1)), 0), len(LEVELS) - 1)]
        row += shown
    return row


def html(state: TrainingState) -> str:
    """Return the same for a notebook, with what was said above it."""
    parts = []
    facts = [("time", f"{state.time_left}, {100 * state.fraction:.0f} %")] if state.started else []
    losses = [
        f"{name} {each[-1][1]:.3f}" for name, each in (("train", state.train), ("validation", state.valid)) if each
    ]
    if losses:
        facts += [("loss", f"{', '.join(losses)} {UNIT}"), ("progress", " · ".join(state.facts()))]
        parts.append(curve([*_entries("progress", state.train), *_entries("validated", state.valid)]))
    if state.started and not state.ended:
        parts.insert(
            0, f'<progress max="1" value="{state.fraction:.3f}" style="width:100%"></progress>{note(state.hint)}'
        )
    if state.sampled:
        text = f'<pre style="{TEXT};max-height:12em;overflow:auto">{escape(state.sampled.text)}</pre>'
        parts.append(f"<div>sample at step {state.sampled.step:,}</div>{text}")
    return card(state.name, facts, *parts, *(f"<div>{note(line)}</div>" for line in state.notes))


def _entries(event: str, points: list[tuple[int, float]]) -> list[dict[str, Any]]:
    return [{"event": event, "step": step, "loss": bits / BITS} for step, bits in points]


def _sample(state: TrainingState, console: Console, rows: int) -> list[Text]:
    """Return the present sample in so many rows, with its heading; none if there is no room."""
    if not state.sampled or rows < 3:
        return []
    text = Text(_encodable(visible(state.sampled.text), console))
    lines = text.wrap(console, max(console.width - 4, 1), tab_size=4, overflow="fold")[: min(rows - 2, SAMPLE_ROWS)]
    heading = Text(f" sample at step {state.sampled.step:,}", "dim")
    return [Text(), heading, *(Text.assemble((" │ ", "dim"), line.plain.rstrip()) for line in lines)]


def _encodable(text: str, console: Console) -> str:
    """Replace what a terminal's encoding lacks."""
    if not console.options.ascii_only:
        return text
    return text.translate(ASCII).encode(console.encoding, "backslashreplace").decode(console.encoding)
