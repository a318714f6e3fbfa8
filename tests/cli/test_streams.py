"""Standard input by its name -, and output that cannot be written."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nextchar.cli.console import stderr
from nextchar.cli.main import main
from nextchar.storage import ModelFile, write_model

Shell = Callable[..., SimpleNamespace]


@pytest.fixture
def model(tmp_path: Path, model_file: ModelFile) -> Path:
    """Return a model file without a run."""
    write_model(tmp_path / "m.safetensors", model_file)
    return tmp_path / "m.safetensors"


def unread() -> io.TextIOWrapper:
    """Return a pipe that is closed at the other end."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize("words", [["-p", "-"], ["--prompt", "-"], ["--prompt=-"]])
def test_a_prompt_may_be_a_dash(model: Path, shell: Shell, words: list[str]) -> None:
    """A prompt of - is that character, not standard input."""
    assert json.loads(shell("sample", model, *words, "-n", 3, "--json").out)["prompt"] == "-"


def test_a_stop_may_be_a_dash(model: Path, shell: Shell) -> None:
    """A text ends before the first -, and the stop after it is still a stop."""
    words = ("sample", model, "-n", 2000, "--seed", 1)
    text = shell(*words).out
    assert shell(*words, "--stop", "-").out == text.partition("-")[0] != text
    assert shell(*words, "--stop=-").out == text.partition("-")[0]


@pytest.mark.parametrize("words", [["--prompt-file", "-"], ["--prompt-file=-"]])
def test_a_file_may_be_standard_input(
    model: Path, shell: Shell, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file is expected, - is standard input, in either way to write an option."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"import ")))
    assert json.loads(shell("sample", model, *words, "-n", 3, "--json").out)["prompt"] == "import "


def test_a_prompt_that_is_no_utf8_is_echoed(
    model: Path, shell: Shell, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A byte of the command line that is no character is printed as it was given, and JSON has a way to write it."""
    prompt = os.fsdecode(b"a\xff")
    words = ["sample", str(model), "-p", prompt, "--unknown", "skip", "-n", "2"]
    for count in (1, 2):
        assert main([*words, "--count", str(count)]) == 0
        assert capsysbinary.readouterr().out.count(b"a\xff") == count
    assert json.loads(shell(*words, "--json").out)["prompt"] == prompt


@pytest.mark.parametrize("words", [["corpora"], ["corpora", "--json"], ["--help"]])
def test_a_closed_standard_output_is_no_error(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """When standard output is closed the code is 0, and Python has nothing to report when it exits."""
    with unread() as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(words) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to write to")
@pytest.mark.parametrize("words", [["corpora"], ["--help"]])
def test_a_full_disk_is_one_sentence(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk behind standard output is one sentence, with exit code 1."""
    with Path("/dev/full").open("w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("nextchar: error: there is no space left on the device")
    assert said.count("\n") == 1


def test_a_closed_standard_error_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """When standard error is closed, work continues silently, and an error keeps its exit code."""
    with unread() as silent:
        monkeypatch.setattr(sys, "stderr", silent)
        console = stderr()
        for _ in range(2):
            console.print("one line")
    with unread() as silent:
        monkeypatch.setattr(sys, "stderr", silent)
        assert main(["corpora", "get", "nothing"]) == 1
