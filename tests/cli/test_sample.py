"""`nextchar sample`: what is printed, in which encoding, and options that only this command has."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import make_model
from nextchar.cli.main import main
from nextchar.cli.sample import RULE
from nextchar.storage import save
from nextchar.text.vocabulary import Vocabulary

Shell = Callable[..., SimpleNamespace]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model of letters that ASCII lacks."""
    save(make_model(Vocabulary("characters", tuple(map(ord, "\nabcé☃")))), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def printed_in(encoding: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> bytes:
    """Return what a command prints where standard output has an encoding."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    assert main([str(word) for word in words]) == 0
    return raw.getvalue()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16-le"])
def test_what_the_encoding_lacks_is_escaped(
    model: Path, monkeypatch: pytest.MonkeyPatch, count: int, encoding: str
) -> None:
    """The same text is printed as in UTF-8, in the encoding of standard output, with escapes where that is not enough."""
    words = ("sample", model, "-p", "é", "-n", 60, "--seed", 1, "--count", count)
    text = printed_in("utf-8", monkeypatch, *words).decode()
    assert {"é", "☃"} <= set(text)
    assert text.count(RULE) == count - 1
    assert printed_in(encoding, monkeypatch, *words) == text.encode(encoding, "backslashreplace")


def test_bytes_are_printed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output of a byte model does not depend on the encoding of standard output."""
    save(make_model(Vocabulary("bytes", tuple(range(0x60, 0x100)))), tmp_path / "m.safetensors")
    words = ("sample", tmp_path / "m.safetensors", "-n", 60, "--seed", 1)
    raw = printed_in("utf-8", monkeypatch, *words)
    assert len(raw) == 60
    assert max(raw) > 0x7F
    assert printed_in("ascii", monkeypatch, *words) == raw


def test_lone_surrogates_are_escaped(tmp_path: Path, shell: Shell) -> None:
    """A model that was trained on lone surrogates, which is refused today, is sampled all the same."""
    save(make_model(Vocabulary("characters", (ord("a"), 0xD800))), tmp_path / "m.safetensors")
    for more in ([], ["--json"], ["--count", "2"]):
        result = shell("sample", tmp_path / "m.safetensors", "-n", 60, "--seed", 1, *more)
        assert result.code == 0
        assert "\\ud800" in result.out


def test_a_huge_top_k_is_all(model: Path, shell: Shell) -> None:
    """More than the vocabulary has is all of it, however much."""
    words = ("sample", model, "-n", 60, "--seed", 1, "--top-k")
    assert shell(*words, 10**30).out == shell(*words, 0).out != shell(*words, 1).out


def test_a_text_is_the_same_alone_and_among_others(model: Path, shell: Shell) -> None:
    """The first of several texts is the text that is printed alone."""
    alone = shell("sample", model, "-n", 60, "--seed", 1).out
    assert shell("sample", model, "-n", 60, "--seed", 1, "--count", 3).out.split(RULE)[0] == alone
