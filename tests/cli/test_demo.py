"""`nextchar demo`: two commands, shown before they run, and what to do next."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nextchar.cli import main as program
from nextchar.text import catalogue

Shell = Callable[..., SimpleNamespace]


@pytest.fixture
def small_library(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the standard library be one small module."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "module.py").write_text(text.encode("ascii", "ignore").decode(), encoding="utf-8")
    monkeypatch.setattr(catalogue.sysconfig, "get_path", lambda _: str(tmp_path / "library"))


@pytest.mark.slow
@pytest.mark.usefixtures("small_library")
@pytest.mark.skipif(os.name != "posix", reason="the commands are split as a POSIX shell does")
def test_the_demo_trains_and_samples(tmp_path: Path, shell: Shell) -> None:
    """It needs no text and no network, overwrites its own run, prints its commands, and the sample is its data."""
    folder = tmp_path / "my demo"
    for _ in range(2):
        result = shell("demo", "--minutes", 0.02, "-o", folder)
        assert result.code == 0, result.err
    assert result.out.startswith("def ")
    assert len(result.out) == 404
    lines = [shlex.split(line[2:]) for line in result.err.splitlines() if line.startswith("$ nextchar ")]
    assert [words[:3] for words in lines] == [["nextchar", "train", "stdlib"], ["nextchar", "sample", str(folder)]]
    assert f"Next:\n  nextchar sample {shlex.quote(str(folder))}" in result.err
    assert shell(*lines[1][1:]).out == result.out


def test_an_interrupted_demo_ends(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where training is interrupted, nothing is sampled, and the exit code is that of the training."""
    ran = []
    real = program.run
    monkeypatch.setattr(program, "run", lambda words: real(words) if words[0] == "demo" else ran.append(words) or 130)
    assert shell("demo", "-o", tmp_path).code == 130
    assert [words[0] for words in ran] == ["train"]
