"""Records commands in a terminal as one animated SVG, which browsers and GitHub play without a script.

    python tools/recording.py "nextchar train book.txt --minutes 1 -o runs/book" "nextchar sample runs/book" -o out.svg

Each command is typed, run in a pseudo-terminal, and shown as it came. Pauses are cut to a second, and a command that
still takes longer than `--longest` seconds is shortened to them. Where nothing moves, as in a viewer without CSS
animation, the last screen is shown. Needs Linux or macOS.
"""

import argparse
import os
import shlex
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar
from xml.sax.saxutils import escape

import pyte

CELL, LINE, FONT = 8.4, 18, 14  # pixels: width of a character, height of a line, size of the font
EDGE, BAR = 14, 30  # pixels around the text, and of the title
TYPING = 0.07  # seconds between two steps of typing
TYPED = 3  # characters in one such step
PAUSE = 0.6  # seconds before a typed command starts
IDLE = 1.0  # seconds to which pauses of a command are cut
HOLD = 5.0  # seconds for which the last screen stays
PER_SECOND = 5  # screens, at most
BACK, FORE = "#16181c", "#d9dce1"
COLORS = {
    "black": "#3b4048", "red": "#f2777a", "green": "#8fc96f", "brown": "#e6c15a",
    "blue": "#6ca8f0", "magenta": "#d98fd9", "cyan": "#5ec4c4", "white": FORE,
}  # fmt: skip

T = TypeVar("T")
Chunk = tuple[float, bytes]


class Style(NamedTuple):
    """How a run of characters looks."""

    fore: str
    back: str
    bold: bool


Run = tuple[int, int, str, Style]  # first column, number of columns, text, style
Row = tuple[Run, ...]
Screen = tuple[float, tuple[Row, ...]]


def run_in_terminal(words: list[str], columns: int, rows: int) -> Iterator[Chunk]:
    """Run a command in a pseudo-terminal; yield what it writes, with the seconds since its start.

    Raises:
        CalledProcessError: The command failed.
    """
    import fcntl  # noqa: PLC0415  Windows has none
    import pty  # noqa: PLC0415  as above
    import termios  # noqa: PLC0415  as above

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    silent = {"NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"}
    env = {name: value for name, value in os.environ.items() if name not in silent}
    env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONUTF8": "1"}
    begun = time.monotonic()
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    try:
        while data := _read(ours):
            yield time.monotonic() - begun, data
    finally:
        os.close(ours)
        code = process.wait()
    if code:
        raise subprocess.CalledProcessError(code, words)


def _read(terminal: int) -> bytes:
    """Read what there is; nothing at the end, which Linux reports as an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def record(commands: Iterable[str], columns: int, rows: int, longest: float) -> Iterator[Chunk]:
    """Type and run commands; yield what the terminal receives, with the seconds at which it is shown."""
    now = 0.0
    for command in commands:
        line = f"\x1b[1;32m$\x1b[0m {command}"
        start = line.index(command)
        yield now, line[:start].encode()
        for at in range(start, len(line), TYPED):
            now += TYPING
            yield now, line[at : at + TYPED].encode()
        now += PAUSE
        yield now, b"\r\n"
        words = shlex.split(command)
        if words[0] == "nextchar":
            words[:1] = [sys.executable, "-m", "nextchar"]
        chunks = list(run_in_terminal(words, columns, rows))
        times = [seconds for seconds, _ in chunks]
        gaps = [min(later - sooner, IDLE) for sooner, later in pairwise([0.0, *times])]
        share = min(1.0, longest / (sum(gaps) or 1.0))
        for gap, (_, data) in zip(gaps, chunks, strict=True):
            now += share * gap
            yield now, data
        print(f"{command}: {max(times, default=0):.1f} s, shown in {share * sum(gaps):.1f} s", file=sys.stderr)
        now += PAUSE
        yield now, b"\r\n"


def screens(chunks: Iterable[Chunk], columns: int, rows: int) -> list[Screen]:
    """Return what a terminal shows: a screen for each change, at most `PER_SECOND`, the last one always."""
    terminal = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(terminal)
    shown: list[Screen] = []
    due = 0.0
    pending: Screen | None = None
    for seconds, data in chunks:
        if pending and seconds >= due:
            shown.append(pending)
            due = pending[0] + 1 / PER_SECOND
        stream.feed(data)
        pending = (seconds, tuple(row_of(terminal, y) for y in range(rows)))
    if pending:
        shown.append(pending)
    return list(changed(shown))


def changed(timed: Iterable[tuple[float, T]]) -> Iterator[tuple[float, T]]:
    """Yield what differs from what was before it, with its time."""
    for _, same in groupby(timed, lambda pair: pair[1]):
        yield next(same)


def row_of(terminal: pyte.Screen, y: int) -> Row:
    """Return the runs of a row that look alike; blank ones are left out."""
    cells = [terminal.buffer[y][x] for x in range(terminal.columns)]
    runs: list[Run] = []
    for style, group in groupby(range(terminal.columns), lambda x: style_of(cells[x])):
        # Blanks at the ends of a run on the plain background only make the file larger.
        kept = [x for x in group if style.back != BACK or cells[x].data != " "]
        if kept:
            first, last = kept[0], kept[-1]
            text = "".join(cells[x].data for x in range(first, last + 1))
            runs.append((first, last + 1 - first, text, style))
    return tuple(runs)


def style_of(char: pyte.screens.Char) -> Style:
    """Return how a character looks."""
    fore, back = color(char.fg, FORE), color(char.bg, BACK)
    return Style(*((back, fore) if char.reverse else (fore, back)), bool(char.bold))


def color(name: str, default: str) -> str:
    """Return a colour of the terminal, a name or six digits, for SVG."""
    plain = name.removeprefix("bright")
    digits = f"#{name}" if len(name) == 6 and all(c in "0123456789abcdef" for c in name) else default
    return COLORS.get(plain, digits)


def svg(shown: list[Screen], columns: int, rows: int, title: str = "") -> str:
    """Return screens as an animated SVG: every row is a strip of its contents, moved sideways at each change."""
    width, height = round(columns * CELL) + 2 * EDGE, rows * LINE + 2 * EDGE + BAR
    length = shown[-1][0] + HOLD
    contents: dict[Row, int] = {}
    strips, rules = [], []
    for y in range(rows):
        changes = list(changed((seconds, screen[y]) for seconds, screen in shown))
        uses = [
            f'<use href="#c{contents.setdefault(row, len(contents))}" x="{k * width}"/>'
            for k, (_, row) in enumerate(changes)
            if row
        ]
        moves = [
            f"{100 * seconds / length:.2f}%{{transform:translateX({-k * width}px)}}"
            for k, (seconds, _) in enumerate(changes)
        ]
        if uses:
            last = (len(changes) - 1) * width
            strips.append(f'<g transform="translate(0,{y * LINE})"><g class="s" id="r{y}">{"".join(uses)}</g></g>')
            rules.append(
                f"#r{y}{{transform:translateX({-last}px);animation-name:m{y}}}@keyframes m{y}{{{''.join(moves)}}}"
            )
    drawn = "".join(f'<g id="c{k}">{"".join(map(drawn_run, row))}</g>' for row, k in contents.items())
    dots = "".join(f'<circle cx="{EDGE + 6 + 18 * k}" cy="{BAR / 2 + 2}" r="5" fill="#4a505a"/>' for k in range(3))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<title>{escape(title)}</title><style>"
        f"text{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        f"font-size:{FONT}px;white-space:pre}}"
        f".s{{animation:{length:.2f}s step-end infinite}}"
        f"{''.join(rules)}@media (prefers-reduced-motion:reduce){{.s{{animation:none!important}}}}</style>"
        f"<defs>{drawn}</defs>"
        f'<rect width="{width}" height="{height}" rx="8" fill="{BACK}" stroke="#4a505a"/>{dots}'
        f'<text x="{width / 2}" y="{BAR / 2 + 7}" text-anchor="middle" fill="#8b929c">{escape(title)}</text>'
        f'<svg x="{EDGE}" y="{EDGE + BAR}" width="{width - 2 * EDGE}" height="{rows * LINE}">{"".join(strips)}</svg></svg>\n'
    )


def drawn_run(run: Run) -> str:
    """Return a run as SVG, stretched to its columns, so that no font moves what follows."""
    first, columns, text, style = run
    x, width = round(first * CELL, 1), round(columns * CELL, 1)
    box = "" if style.back == BACK else f'<rect x="{x}" width="{width}" height="{LINE}" fill="{style.back}"/>'
    bold = ' font-weight="bold"' if style.bold else ""
    seen = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return f'{box}<text x="{x}" y="{FONT}" textLength="{width}" fill="{style.fore}"{bold}>{escape(seen)}</text>'


def main() -> None:
    """Record the commands of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="+", help="command lines to type and run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the SVG to write")
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--longest", type=float, default=12.0, help="seconds that a command may take in the recording")
    parser.add_argument("--title", default="nextchar")
    given = parser.parse_args()
    shown = screens(record(given.commands, given.columns, given.rows, given.longest), given.columns, given.rows)
    given.output.write_text(svg(shown, given.columns, given.rows, given.title), encoding="utf-8", newline="\n")
    print(f"{given.output}: {len(shown)} screens, {given.output.stat().st_size / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
