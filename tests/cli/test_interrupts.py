"""Ctrl-C ends a command at any time, also while libraries are imported that catch everything."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nextchar.cli import main as program
from nextchar.cli.main import main

CODE = """
import sys
from nextchar.cli import info, main

def work(_):
    {work}
    print("worked on")

info.read_model = work
sys.exit(main.main(["info", "x"]))
"""


SWALLOWS = """
import os, signal

try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:
    pass
"""


def interrupted(tmp_path: Path, work: str) -> subprocess.CompletedProcess[str]:
    """Run `nextchar info` in a process of its own, with other work in place of reading a model."""
    (tmp_path / "swallows.py").write_text(SWALLOWS, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", CODE.format(work=work)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )


@pytest.mark.shell
@pytest.mark.skipif(os.name != "posix", reason="os.kill cannot send Ctrl-C on Windows")
@pytest.mark.parametrize("work", ["import swallows", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"])
def test_an_interrupt_is_never_lost(tmp_path: Path, work: str) -> None:
    """Ctrl-C during an import that catches everything, or at any other time, ends with 130 and one sentence."""
    done = interrupted(tmp_path, work)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "nextchar: interrupted\n")


@pytest.mark.shell
@pytest.mark.skipif(os.name != "posix", reason="os.kill cannot send Ctrl-C on Windows")
def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    """The second Ctrl-C ends the process even where the first one was caught."""
    done = interrupted(
        tmp_path,
        "exec(open('swallows.py').read()); exec(open('swallows.py').read())".replace(
            "swallows.py", str(tmp_path / "swallows.py")
        ),
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


@pytest.mark.shell
def test_the_program_exits_at_once_and_completely() -> None:
    """The process ends without taking modules apart, after all output is written and all exit functions have run."""
    code = """
import atexit, sys

class Slow:
    def __del__(self):
        print("taken apart")

sys.modules["slow"] = Slow()
atexit.register(print, "at exit")
sys.argv = ["nextchar", "corpora", "get", "nothing"]
from nextchar.cli.main import entry
entry()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "at exit\n")
    assert done.stderr.startswith("nextchar: error: there is no corpus named 'nothing'")


@pytest.mark.shell
@pytest.mark.parametrize("words", [["train", "TEXT", "--steps", "1", "-o", "FOLDER"], ["sample", "nowhere"]])
def test_the_first_word_waits_for_no_heavy_library(tmp_path: Path, text_file: Path, words: list[str]) -> None:
    """`train` says what it does before torch is imported, and `sample` refuses a wrong model without it."""
    places = {"TEXT": str(text_file), "FOLDER": str(tmp_path / "r")}
    code = f"""
import sys
from nextchar.cli.main import main

class Stop:
    def write(self, text):
        print("first word", *sorted({{"torch", "matplotlib"}} & set(sys.modules)))
        raise KeyboardInterrupt

    def flush(self):
        pass

sys.stderr = Stop()
main({[places.get(word, word) for word in words]!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0] == "first word"


def test_the_handler_of_the_caller_is_put_back() -> None:
    """A command that runs inside another program leaves its signals alone, and also runs outside its main thread."""
    before = signal.getsignal(signal.SIGINT)
    assert main(["--version"]) == 0
    assert signal.getsignal(signal.SIGINT) is before
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_an_ignored_interrupt_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in the background of a shell is not interrupted by Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    during: list[object] = []
    monkeypatch.setattr(program, "run", lambda _: during.append(signal.getsignal(signal.SIGINT)) or 0)
    try:
        assert main(["info", "x"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert during == [signal.SIG_IGN]
