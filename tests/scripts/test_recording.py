"""The recording of a terminal: what a screen shows, when, and as an SVG that any XML parser reads."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import recording

SVG = "{http://www.w3.org/2000/svg}"
with_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")


def _texts(screen: recording.Screen) -> list[str]:
    """Return the lines of a screen without the blanks between runs."""
    return ["|".join(text for _, _, text, _ in row) for row in screen[1] if row]


def _last(drawing: str) -> list[str]:
    """Return the texts that an SVG shows where nothing is animated, read as a browser reads it."""
    root = ET.fromstring(drawing)  # noqa: S314  our own
    contents = {f"#{group.get('id')}": "|".join(group.itertext()) for group in root.find(f"{SVG}defs") or ()}
    rules = dict(re.findall(r"#(r\d+){transform:translateX\((-?\d+)px\)", drawing))
    shown = []
    for strip in root.iter(f"{SVG}g"):
        if strip.get("class") == "s":
            at = -int(rules[strip.get("id") or ""])
            shown += [contents[use.get("href") or ""] for use in strip if int(use.get("x") or 0) == at]
    return shown


def test_a_screen_is_kept_for_each_change_but_not_too_often() -> None:
    """A line that is written over appears once for each fifth of a second, and its last form always."""
    chunks = [(0.01 * k, f"\r{k:>3} %".encode()) for k in range(101)]
    shown = recording.screens([*chunks, (1.02, b"\r\n"), (1.5, b"\x1b[?25h")], 20, 3)
    seconds = [at for at, _ in shown]
    assert [_texts(screen) for screen in shown] == [[f"{min(100, round(100 * at))} %"] for at in seconds]
    assert (seconds[0], seconds[-1]) == (0, 1.02)
    assert all(0.1 < later - sooner < 0.3 for sooner, later in itertools.pairwise(seconds[:-1]))


def test_what_looks_alike_is_one_run() -> None:
    """Colours, bold and inverse characters become runs with their columns; tags, controls and wide ones do no harm."""
    line = "a \x1b[1;31mred\x1b[0m \x1b[7m in \x1b[0m <&>\x1b[38;2;1;2;255m漢字\x1b[0m!".encode()
    shown = recording.screens([(0.0, line)], 40, 2)
    (row,) = (row for row in shown[-1][1] if row)
    assert [(first, columns, text) for first, columns, text, _ in row] == [
        (0, 1, "a"),
        (2, 3, "red"),
        (6, 4, " in "),
        (11, 3, "<&>"),
        (14, 4, "漢字"),
        (18, 1, "!"),
    ]
    styles = [style for *_, style in row]
    assert styles[1] == (recording.COLORS["red"], recording.BACK, True)
    assert styles[2] == (recording.BACK, recording.FORE, False)
    assert styles[4].fore == "#0102ff"
    assert _last(recording.svg(shown, 40, 2, "<&>")) == ["a|red| in |<&>|漢字|!"]


def test_every_row_moves_at_its_own_changes_and_rests_at_its_last() -> None:
    """A row's animation has one place for each of its contents; the same content is stored once."""
    shown = recording.screens([(0.0, b"one\r\n"), (1.0, b"two"), (2.0, b"\rone"), (3.0, b"\x1b[1;1Hend")], 20, 2)
    drawing = recording.svg(shown, 20, 2)
    assert _last(drawing) == ["end", "one"]
    assert drawing.count(">one</text>") == 1
    places = re.findall(r"@keyframes m1{(.*?)}}", drawing)[0]
    assert [float(share) for share in re.findall(r"([\d.]+)%", places)] == pytest.approx([0, 12.5, 25])
    assert "prefers-reduced-motion" in drawing


@with_terminal
def test_a_command_is_typed_run_and_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sees a terminal of the asked size; its time is cut to the longest, and a failure is an error."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nprint(os.get_terminal_size(), all(map(os.isatty, range(3))))\nsys.exit(len(sys.argv) - 1)\n",
        encoding="utf-8",
    )
    command = shlex.join([sys.executable, str(script)])
    out = tmp_path / "out.svg"
    words = [command, "-o", str(out), "--columns", "999", "--rows", "5", "--longest", "0.01"]
    monkeypatch.setattr(sys, "argv", ["recording.py", *words])
    recording.main()
    shown = _last(out.read_text(encoding="utf-8"))
    assert shown == [f"$|{command}", "os.terminal_size(columns=999, lines=5) True"]
    chunks = list(recording.record([command], 999, 5, longest=0.01))
    seconds = [at for at, _ in chunks]
    assert seconds == sorted(seconds)
    started = recording.TYPING * -(-len(command) // recording.TYPED) + recording.PAUSE
    assert seconds[-1] <= started + recording.PAUSE + 0.1
    with pytest.raises(subprocess.CalledProcessError):
        list(recording.run_in_terminal([sys.executable, str(script), "fails"], 80, 24))
