"""Texts, prompts and names of any kind: nothing but text comes out, and on a terminal nothing that controls it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import make_model
from nextchar.cli.sample import _shown
from nextchar.language_model import LanguageModel
from nextchar.storage import LOG, MODEL, save
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.text.vocabulary import CODE_POINTS, Vocabulary
from nextchar.training.curve import draw_curve
from nextchar.training.run import train

Shell = Callable[..., SimpleNamespace]
ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\r\x08\x7f\u202e\u2066"
HOSTILE = f"</script><img src=x onerror=alert(1)>\"'&]]>-->{ESCAPES}"


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let standard output be a terminal."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a model whose characters control a terminal."""
    codes = tuple(sorted(set(map(ord, ESCAPES + "ab\n"))))
    save(make_model(Vocabulary("characters", codes)), tmp_path / MODEL)
    return tmp_path / MODEL


@pytest.mark.parametrize("count", [1, 2])
def test_a_terminal_gets_no_escape_sequence(
    hostile: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """What a model writes, and the prompt, are shown on a terminal; a file gets them as they are."""
    words = ("sample", hostile, "-p", "a\x1b[2Jb", "--unknown", "skip", "-n", 400, "--seed", 1, "--count", count)
    plain = shell(*words).out
    assert "\x1b" in plain
    assert "\x9b" in plain
    on_terminal(monkeypatch)
    shown = shell(*words).out
    assert not set(ESCAPES) & set(shown) - set("[2J;0titlem31]")
    assert shown.startswith("a\\x1b[2Jb")
    assert "\\x9b" in shown


def test_bytes_on_a_terminal_are_decoded_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A character of a byte model that comes in two pieces is whole, wrong bytes are marked, and escapes are shown."""
    pieces = [b"caf\xc3", b"\xa9\x1b[2J", b"\xff!"]
    assert b"".join(map(_shown("bytes"), pieces)) == b"".join(pieces)
    on_terminal(monkeypatch)
    shown = _shown("bytes")
    assert b"".join(map(shown, pieces)).decode(sys.stdout.encoding, "replace").endswith("\\x1b[2J\ufffd!")


def test_line_ends_on_a_terminal_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text with the line ends of Windows is shown in lines, also where a piece ends between the two characters."""
    on_terminal(monkeypatch)
    shown = _shown("utf-8")
    assert b"".join(map(shown, [b"a\r", b"\nb\rc\r\n", "d"])).split() == [b"a", b"b", b"c", b"d"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert shown(b"a\r\n") == b"a\r\n"


@pytest.mark.parametrize("plane", range(17))
def test_every_plane_of_unicode_is_a_text(tmp_path: Path, plane: int) -> None:
    """Every character of a plane, without surrogates, is encoded and decoded as it was."""
    first = plane << 16
    text = "".join(chr(code) for code in range(first, first + 0x10000) if not 0xD800 <= code < 0xE000)
    (tmp_path / "plane").write_text(text, encoding="utf-8", newline="")
    corpus = open_corpus(tmp_path / "plane")
    assert len(corpus.vocabulary) == len(text)
    assert corpus.vocabulary.decode(corpus.take(0, len(corpus))) == text


@pytest.mark.slow
def test_a_vocabulary_of_20000_is_learnt(tmp_path: Path) -> None:
    """A text of 20,000 different characters is trained on, sampled and scored."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
    lm = train(Corpus.from_text(text), steps=2, hidden=8, embedding=4, batch_size=4, seq_length=8, progress=False)
    assert len(lm.vocabulary) == 20_000
    assert len(str(lm.sample(length=20, seed=1))) == 20
    assert np.isfinite(lm.score(text[:100]).nats_per_char)
    save(lm, tmp_path / MODEL)


@pytest.mark.parametrize("text", ["a" * 5000, "\0" * 5000, "\0\n" * 2500, "\x1b" * 5000, "\u2028" * 5000])
def test_a_text_of_one_or_two_characters_is_learnt(tmp_path: Path, text: str) -> None:
    """One character repeated, zeros and controls are texts like any other."""
    (tmp_path / "text").write_text(text, encoding="utf-8", newline="")
    lm = train(tmp_path / "text", steps=3, hidden=8, embedding=4, batch_size=4, seq_length=8, progress=False)
    written = str(lm.sample(length=50, seed=1))
    assert set(written) <= set(text)
    assert np.isfinite(lm.score(text).nats_per_char)


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="this system's names of files are Unicode")
@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9\xff"), "\x1b[2J\u202e.txt", "<script><b>.txt", "a\nb.txt"])
def test_a_file_of_any_name_is_read(tmp_path: Path, text: str, name: str, shell: Shell) -> None:
    """A text whose name is not UTF-8, or controls a terminal, is trained on or refused; its name is only ever shown."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    sizes = ("--steps", 2, "--hidden", 8, "--embedding", 4, "--batch-size", 4, "--seq-length", 16)
    trained = shell("train", path, *sizes, "-o", tmp_path / "run")
    assert trained.code in {0, 1}
    for result in (trained, shell("info", tmp_path / "run"), shell("sample", tmp_path / "run", "-n", 5)):
        assert not {"\x1b", "\u202e", "\udcff"} & set(result.out + result.err)
    assert trained.code == 0 or "is not UTF-8; rename the file" in trained.err
    if trained.code == 0:
        assert json.loads(shell("info", tmp_path / "run", "--json").out)["provenance"]["texts"][0]["name"] == name


def test_names_and_texts_are_text_in_notebooks_and_pictures(tmp_path: Path) -> None:
    """Where a model, its texts, a sample and its log are shown, a hostile text adds no element and no control character."""

    def elements(shown: str) -> int:
        return shown.count("<script") + shown.count("<img") + shown.count("</script")

    def model(word: str) -> LanguageModel:
        lm = make_model(Vocabulary("characters", tuple(sorted(set(map(ord, HOSTILE))))))
        lm.provenance.update(texts=[{"name": word}], step=1, epochs=1.0)
        return lm

    log = [{"event": "progress", "step": step, "loss": 1.0} for step in (1, 2)]
    for name, make in {
        "model": lambda word: model(word)._repr_html_(),
        "sample": lambda word: model(word).sample(word, length=50, seed=1)._repr_html_(),
        "inspect": lambda word: str(model(word).inspect(word * 3)),
        "curve": lambda word: (
            draw_curve([*log, {"event": word, "step": 3}], tmp_path / LOG),
            (tmp_path / LOG).read_text(),
        )[1],
    }.items():
        shown, harmless = make(HOSTILE), make("<ac>" * 9)
        assert elements(shown) == elements(harmless), name
        assert not {"\x1b", "\x9b", "\x07"} & set(shown), name
    assert sys.maxunicode + 1 == CODE_POINTS
