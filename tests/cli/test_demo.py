"""`nextchar demo`: two commands, shown before they run, and what to do next."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nextchar.cli import train
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
    after = [shlex.split(line) for line in result.err.partition("\nNext: ")[2].splitlines() if line.startswith("  ")]
    assert [words[1] for words in after] == ["sample", "inspect", "discover", "train"]
    assert all(words[2] == str(folder) for words in after[:3])
    assert result.err.count("Next: ") == 1
    assert shell(*lines[1][1:]).out == result.out


def test_an_interrupted_demo_ends(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where training is interrupted, nothing is sampled, and the exit code is that of the training."""
    ran = []
    monkeypatch.setattr(train, "command", lambda *texts, **options: ran.append((texts, options["output"])) or 130)
    result = shell("demo", "-o", tmp_path)
    assert result.code == 130
    assert ran == [(("stdlib",), tmp_path)]
    assert "nextchar sample" not in result.err
