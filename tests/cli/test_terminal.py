"""`train` in a terminal: the first word, the panel, the last lines, and Ctrl-C."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nextchar.cli.console import transient
from nextchar.training.run import Run

pytestmark = [pytest.mark.shell, pytest.mark.skipif(os.name != "posix", reason="this system has no pseudo-terminals")]
SIZES = ["--hidden", "12", "--embedding", "8", "--batch-size", "4", "--seq-length", "16"]


def in_terminal(
    words: list[str], *, width: int = 80, until: Callable[[bytes], bool] | None = None, close: bool = False
) -> SimpleNamespace:
    """Run a command in a pseudo-terminal; return code, screen and output.

    Once `until` is true of its output, press Ctrl-C, or close the terminal.
    """
    import fcntl
    import pty
    import struct
    import termios

    pyte = pytest.importorskip("pyte", reason="pyte is not installed")
    screen = pyte.HistoryScreen(width, 40, history=1000, ratio=0.5)
    stream, output = pyte.ByteStream(screen), b""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    program = [sys.executable, "-m", "nextchar", *words]
    with subprocess.Popen(program, env=environment, start_new_session=True, **streams) as process:
        os.close(theirs)
        while True:
            try:
                found = os.read(ours, 65_536)
            except OSError:
                break
            if not found:
                break
            output += found
            stream.feed(found)
            if until and until(output):
                if close:
                    break
                process.send_signal(signal.SIGINT)
                until = None
        os.close(ours)
    above = ["".join(line[place].data for place in range(width)).rstrip() for line in screen.history.top]
    lines = [*above, *(line.rstrip() for line in screen.display)]
    return SimpleNamespace(code=process.returncode, lines=lines, raw=output, cursor=screen.cursor)


@pytest.mark.slow
def test_a_training_in_a_terminal(tmp_path: Path, text_file: Path) -> None:
    """The first word is replaced, the panel stands once with its last sample, and three commands follow."""
    folder = tmp_path / "a run"
    done = in_terminal(["train", str(text_file), "--steps", "120", *SIZES, "-o", str(folder)], width=120)
    assert done.code == 0, "\n".join(done.lines)
    assert done.raw.startswith(b"starting ...\r")
    shown = "\n".join(done.lines)
    assert "starting" not in shown
    assert "loading" not in shown
    assert shown.count("sample at step") == 1
    assert " sample at step 120" in shown
    assert " done " in shown
    assert "100 %" in shown
    assert "done: 120 steps" in shown
    assert "best model: " in shown
    after = done.raw.decode().partition("Next: ")[2].splitlines()[1:]
    assert [shlex.split(line)[:3] for line in after] == [
        ["nextchar", command, str(folder)] for command in ("sample", "inspect", "discover")
    ]
    assert not done.cursor.hidden


@pytest.mark.slow
def test_ctrl_c_keeps_the_panel_whole(tmp_path: Path, text_file: Path) -> None:
    """Ctrl-C ends the run with everything saved, and the cursor is visible again."""
    words = ["train", str(text_file), "--steps", "100000", *SIZES, "-o", str(tmp_path / "r")]
    done = in_terminal(words, until=lambda output: b"sample at step 50" in output)
    shown = "\n".join(done.lines)
    assert done.code == 130, shown
    assert shown.count("sample at step") == 1
    assert "everything is saved. Resume with:" in shown
    assert not done.cursor.hidden


@pytest.mark.slow
def test_a_terminal_that_is_gone_ends_nothing(tmp_path: Path, text_file: Path) -> None:
    """Where the terminal is closed and no signal says so, the training goes on to its end."""
    words = ["train", str(text_file), "--steps", "120", *SIZES, "-o", str(tmp_path / "r")]
    done = in_terminal(words, until=lambda output: b"sample at step 20" in output, close=True)
    assert done.code == 0
    assert Run.open(tmp_path / "r").finished


def test_the_first_word_waits_for_nothing(text_file: Path) -> None:
    """On a terminal, `train` and `demo` say that they are starting before anything is imported that takes long."""
    code = """
import sys
from nextchar.cli.main import main

class Terminal:
    def isatty(self):
        return True

    def write(self, text):
        print(repr(text), *sorted({"cyclopts", "pydantic", "numpy", "torch", "rich.console"} & set(sys.modules)))
        raise KeyboardInterrupt

    def flush(self):
        pass

sys.stderr = Terminal()
main(WORDS)
"""
    for words in (["train", str(text_file)], ["demo"]):
        program = code.replace("WORDS", repr(words))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[0] == repr("starting ...\r")


@pytest.mark.parametrize("words", [["train", "--help"], ["demo", "-h"], ["corpora"]])
def test_help_is_not_announced(
    words: list[str], monkeypatch: pytest.MonkeyPatch, shell: Callable[..., SimpleNamespace]
) -> None:
    """Only work that takes long is announced, and only on a terminal."""
    said: list[str] = []
    monkeypatch.setattr("nextchar.cli.main.transient", said.append)
    assert shell(*words).code == 0
    assert said == []


def test_files_have_no_passing_words(capsys: pytest.CaptureFixture[str]) -> None:
    """What is to be printed over is not written to a file."""
    transient("starting ...")
    assert capsys.readouterr().err == ""
