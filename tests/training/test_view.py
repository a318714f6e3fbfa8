"""The training view: what a terminal, a notebook and a file show of a training."""

import io
import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from nextchar.evaluation.score import Score
from nextchar.training import view as room
from nextchar.training.events import Event, Finished, Progress, Sampled, Started, Validated
from nextchar.training.panel import LEVELS, TrainingState, panel, sparkline
from nextchar.training.view import TrainingView, closing

CAPTURES = Path(__file__).parent / "captures"
SAMPLE = "ROMEO:\nThe sun \u3042\u3044 with \x1b[31m[red]brackets[/red]\n\tand tabs, and one line that is much longer than the others are\n"
NETWORK = {"network": "lstm 2x256", "vocabulary": 65, "dropout": True}


def started(step: int = 0, **changes: Any) -> Started:
    """Return how a run starts."""
    sizes = {"steps": 1000, "steps_per_epoch": 500, "parameters": 812_345, "train_chars": 1_003_854}
    machine = {"device": "cpu", "precision": "bf16", "reason": "the CPU has AMX"}
    return Started(step, 0.0, **{**NETWORK, **sizes, "valid_chars": 55_770, **machine, **changes})


def score(bits: float) -> Score:
    """Return a score of so many bits per character."""
    return Score("stream", 50_000, 50_000, bits * math.log(2), bits, bits)


def story(steps: int = 1000, end: bool = True, sample: str = SAMPLE) -> Iterator[Event]:
    """Yield what happens in a run: progress, validations and samples."""
    yield started()
    for step in range(10, steps + 1, 10):
        loss = 0.69 * (1.6 + 4 * 10 / step)
        yield Progress(step, step / 4, 1000, step / 500, loss, 1e-3, 1.0, 46_831.2, (1000 - step) / 4 + 2)
        if step in (50, 100, 500, 1000):
            yield Sampled(step, step / 4, f"{sample}{step}")
        if step % 250 == 0:
            yield Validated(step, step / 4, score(1.7 + 50 / step), best=True)
    if end:
        yield Finished(1000, 250.0, "steps", 2.0, 46_831.2, score(1.71), 0.94)


class Terminal:
    """A pseudo-terminal of some size, whose screen can be read."""

    def __init__(self, width: int, height: int, encoding: str = "utf-8") -> None:
        pyte = pytest.importorskip("pyte", reason="pyte is not installed")
        self._screen = pyte.HistoryScreen(width, height, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        self.file = os.fdopen(slave, "w", encoding=encoding, errors="backslashreplace")
        self.console = Console(
            file=self.file, width=width, height=height, highlight=False, soft_wrap=True, markup=False, emoji=False
        )
        self.raw = b""

    def drain(self) -> None:
        """Let the screen show what was written."""
        self.file.flush()
        while True:
            try:
                found = os.read(self._master, 65_536)
            except (BlockingIOError, OSError):
                return
            self.raw += found
            self._stream.feed(found)

    def lines(self) -> list[str]:
        """Return everything that was scrolled out and the screen, without empty lines at the end."""
        self.drain()
        above = [
            "".join(line[place].data for place in range(self._screen.columns)) for line in self._screen.history.top
        ]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display]).rstrip().split("\n")

    def show(self, events: Iterator[Event], **options: Any) -> list[str]:
        """Show events, and return the lines."""
        for _ in TrainingView(self.console, **options).follow(events):
            self.drain()
        return self.lines()

    def close(self) -> None:
        """Close both ends."""
        self.file.close()
        os.close(self._master)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that opens a terminal."""
    if os.name != "posix":
        pytest.skip("this system has no pseudo-terminals")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    opened: list[Terminal] = []

    def make(width: int = 80, height: int = 24, encoding: str = "utf-8") -> Terminal:
        opened.append(Terminal(width, height, encoding))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_shows_one_panel(terminal: Any, width: int) -> None:
    """In the middle of a run and at its end, the terminal shows what the capture in this folder shows."""
    tty = terminal(width)
    events = story()
    view = TrainingView(tty.console, name="runs/shakespeare", hint="Ctrl-C saves and stops")
    for event in view.follow(events):
        tty.drain()
        if isinstance(event, Validated) and event.step == 500:
            middle = tty.lines()
    shown = "\n".join(["-- at step 500", *middle, "-- at the end", *tty.lines(), ""])
    capture = CAPTURES / f"{width}.txt"
    if not capture.exists():
        capture.write_text(shown, encoding="utf-8", newline="")
        pytest.fail(f"{capture} was missing and is written; look at it")
    assert shown == capture.read_text(encoding="utf-8")


def test_the_sample_is_replaced(terminal: Any) -> None:
    """Of four samples, only the last one is left, also in what was scrolled out; the cursor is visible again."""
    tty = terminal(80, 20)
    lines = tty.show(story())
    assert [line for line in lines if "sample at step" in line] == [" sample at step 1,000"]
    assert sum("────" in line for line in lines) == 1
    assert tty.raw.rindex(b"\x1b[?25h") > tty.raw.rindex(b"\x1b[?25l")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("width", [1, 20, 59, 60, 100, 200])
@pytest.mark.parametrize("height", [2, 5, 9, 12, 24, 60])
def test_every_line_fits(encoding: str, width: int, height: int) -> None:
    """No line is as wide as the terminal and the panel is lower than it, whatever is shown and whatever it can show."""
    state = TrainingState("runs/[bold]\u3042\x1b[2J" + "long" * 20, "Ctrl-C saves and stops")
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=file, width=width, height=height, force_terminal=True)
    for event in (None, *story(end=False)):
        if event:
            state.update(event)
        lines = panel(state, console)
        assert 1 <= len(lines) < height
        assert all(cell_len(line.plain) < max(width, 2) for line in lines)
        for line in lines:
            line.plain.encode(encoding)
            assert "\x1b" not in line.plain
    assert any("left" in line.plain for line in lines) or width < 20


def test_few_rows_show_the_time_first(terminal: Any) -> None:
    """One row is the time left and the bar; the sample needs at least nine rows."""
    state = TrainingState("runs/x", "hint")
    for event in story(500, end=False):
        state.update(event)
    for height, first, count in ((2, "2:07 left", 1), (3, "2:07 left", 2), (7, "── runs/x", 6), (12, "── runs/x", 11)):
        lines = [line.plain for line in panel(state, terminal(80, height).console)]
        assert first in lines[0]
        assert len(lines) == count
        assert any("sample" in line for line in lines) is (height == 12)


def test_ascii_terminals_have_a_bar_and_a_curve(terminal: Any) -> None:
    """Where Unicode cannot be shown, other characters stand for bar and curve, and letters are escaped."""
    tty = terminal(80, 24, "ascii")
    lines = tty.show(story(500, end=False), name="runs/é")
    assert "\n".join(lines).isascii()
    assert any(re.search(r"left +#+-+ +50 %", line) or re.search(r"stopped +#+-+ +50 %", line) for line in lines)
    assert any(re.match(r" train +[#*+=:._-]+ ", line) for line in lines)
    assert any("runs/\\xe9" in line for line in lines)


def test_no_color_is_respected(terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR there is no colour; without it there is."""
    colour = re.compile(rb"\x1b\[(?:\d+;)*3[0-9]m")
    tty = terminal()
    tty.show(story(end=False))
    assert colour.search(tty.raw)
    monkeypatch.setenv("NO_COLOR", "1")
    tty = terminal()
    tty.show(story(end=False))
    assert not colour.search(tty.raw)


def test_a_narrower_terminal_is_drawn_over(terminal: Any) -> None:
    """Lines that the terminal has wrapped take more rows, and the cursor goes up by these, too."""
    tty = terminal(100)
    view = TrainingView(tty.console, name="x")
    events = view.follow(story(500, end=False))
    while next(events).step < 250:
        tty.drain()
    tty.drain()
    wide = [cell_len(line.plain) for line in view._shown]
    tty.raw = b""
    tty.console.size = (60, 24)
    view._refresh()
    tty.drain()
    assert tty.raw.count(b"\x1b[1A") == len(wide) - 1 + sum(each > 60 for each in wide)
    events.close()


def test_a_dumb_terminal_is_not_drawn_over(terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cursor cannot be moved, all samples stand one below the other."""
    monkeypatch.setenv("TERM", "dumb")
    lines = terminal(120, 60).show(story())
    assert sum("sample at step" in line for line in lines) == 4
    assert sum("left · step" in line for line in lines) == 25


def test_files_have_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is not drawn over, even where colours are asked for: progress every ten seconds, and all samples."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = Console(file=io.StringIO(), width=100, highlight=False)
    for _ in TrainingView(console).follow(story()):
        pass
    lines = console.file.getvalue().splitlines()
    assert not any(code in "".join(lines) for code in ("\x1b[1A", "\x1b[2K", "\x1b[?25l"))
    assert sum("sample at step" in line for line in lines) == 4
    progress = [line for line in lines if " left · step " in line]
    assert len(progress) == 25
    assert progress[11] == (
        "2:12 left · step 480 of 1,000 · epoch 0.96 · train 1.676, validation 1.900 bits per character · 46,831 characters/s"
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("steps", "done: 900 steps"),
        ("patience", "stopped early, at step 900 of 1,000: validation did not improve any more"),
        ("time", "ended because its time was over, as the machine was slower"),
        ("text", "ended before its time: so short a text has been read often enough"),
    ],
)
def test_the_last_lines_say_why_it_ended(reason: str, said: str) -> None:
    """Every reason has its words, and the score its unit and its scale."""
    state = TrainingState()
    for event in story(900, end=False):
        state.update(event)
    lines = closing(state, Finished(900, 75.0, reason, 1.8, 1.0, score(1.71), 0.94))
    assert lines[0].startswith(said)
    assert "900 steps, 1.80 epochs, 1:15" in lines[0]
    assert lines[1] == (
        "best model: 1.710 bits per character on 50,000 validation characters (calibrated: temperature 0.94); "
        "a uniform guess is 6.02"
    )
    assert len(closing(state, Finished(900, 75.0, reason, 1.8, 1.0, None))) == 1


def test_a_run_without_validation_or_dropout_names_neither() -> None:
    """What is not there is not explained."""
    with_both, without = (
        "\n".join(room.opening(each)) for each in (started(), started(3, valid_chars=0, dropout=False))
    )
    assert "train: measured while it learns, with dropout; validation: on text kept apart, without dropout" in with_both
    assert "bits per character: 0 is certain; a uniform guess over 65 characters is 6.02; lower is better" in with_both
    assert "measured while" not in without
    assert without.startswith("resuming at step 3 · ")
    state = TrainingState()
    state.update(started(valid_chars=0))
    lines = panel(state, Console(file=io.StringIO(), width=80, height=24))
    assert not any("validation" in line.plain for line in lines)


def test_a_sparkline_is_as_high_as_its_values() -> None:
    """The lowest value is the lowest level, and values beyond the bounds are cut."""
    points = [(step, float(step)) for step in range(1, 9)]
    assert sparkline(points, 8, 8, (1.0, 8.0))[1:] == LEVELS[:7]
    assert set(sparkline(points, 8, 8, (20.0, 30.0))) == {" ", LEVELS[0]}
    assert sparkline([(1, 5.0), (4, 5.0)], 8, 8, (0.0, 5.0)) == " " + LEVELS[7] * 7
    assert sparkline([], 0, 3, (0.0, 0.0)) == "   "
    assert sparkline(points, 8, 0, (0.0, 1.0)) == ""


def test_a_notebook_has_one_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is shown in one output that is updated about once a second; texts are escaped."""
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            assert raw
            shown.append(data)

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        assert not shown
        shown.append(data)
        return Handle()

    module = ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    file = io.StringIO()
    view = TrainingView(Console(file=file, force_jupyter=True), name="a<b>")
    view.say("measuring this machine ...")
    assert "measuring this machine ..." in shown[0]["text/html"]
    for _ in view.follow(story()):
        pass
    assert file.getvalue() == ""
    assert len(shown) < 130
    last = shown[-1]["text/html"]
    assert "<b>a&lt;b&gt;</b>" in last
    assert "[red]brackets[/red]" in last
    assert "\x1b" not in last
    assert last.count("<svg") == last.count("sample at step 1,000") == 1
    assert "<progress" not in last
    assert "<progress" in shown[50]["text/html"]
    assert "best model: 1.710 bits per character" in last
    assert "train" in shown[-1]["text/plain"]


def test_the_time_left_waits_for_a_second_measurement() -> None:
    """The first step takes longer than the others, so nothing is estimated from it alone."""
    state = TrainingState()
    seen = []
    for event in story(30, end=False):
        state.update(event)
        seen.append(state.time_left)
    assert seen == ["starting", "starting", "4:07 left", "4:04 left"]
    state.ended = True
    assert state.time_left == "stopped"


def test_long_runs_keep_few_points() -> None:
    """The curve of hours has as many points as that of minutes, from first to last."""
    state = TrainingState()
    for step in range(1, 9000):
        state.update(Progress(step, step / 2, 9000, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0))
    assert len(state.train) <= 2001
    assert state.train[0][0] == 1
    assert state.train[-1][0] == 8999
