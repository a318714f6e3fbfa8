import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextchar.errors import ConfigError, TextError, UnknownCharacterError
from nextchar.text import corpus as room
from nextchar.text import encoding, sources
from nextchar.text.corpus import Corpus, cached_corpus, open_corpus, read_ids
from nextchar.text.vocabulary import Vocabulary

MANY = "".join(map(chr, (*range(0x100, 0xD800), *range(0xE000, 0x10400 + 0x800))))


def written(path: Path, text: str) -> str:
    """Write a text and return its path for `open_corpus`."""
    path.write_bytes(text.encode())
    return str(path)


def same(one: Corpus, other: Corpus) -> bool:
    """Return whether two corpora are the same text."""
    return (
        one.vocabulary == other.vocabulary and one.ids.dtype == other.ids.dtype and bool((one.ids == other.ids).all())
    )


def no_space(*_: object, **__: object) -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def entries(clean_environment: Path) -> Path:
    """Return the folder in which encoded texts are kept."""
    return clean_environment / "texts"


@settings(max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), chunk=st.sampled_from([1, 3, 50]))
def test_a_file_is_the_same_corpus_as_its_text(tmp_path: Path, text: str, chunk: int) -> None:
    """Any Unicode text comes back from its cache, with the ids it has in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK", chunk)
        corpus = open_corpus([written(tmp_path / "any.txt", text)])
    assert same(corpus, Corpus.from_text(text))
    assert corpus.vocabulary.decode(corpus.ids) == text


@settings(max_examples=30)
@given(data=st.binary(min_size=1))
def test_bytes_are_the_same_corpus_as_in_memory(tmp_path: Path, data: bytes) -> None:
    """Any bytes come back from their cache."""
    (tmp_path / "any.bin").write_bytes(data)
    corpus = open_corpus([str(tmp_path / "any.bin")], units="bytes")
    assert same(corpus, Corpus.from_text(data, "bytes"))
    assert corpus.vocabulary.to_bytes(corpus.ids) == data


@pytest.mark.parametrize(
    ("distinct", "dtype"), [(256, "uint8"), (257, "uint16"), (300, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_ids_grow_with_the_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distinct: int, dtype: str
) -> None:
    """Ids already written are widened when more characters come, and are sorted at the end."""
    monkeypatch.setattr(sources, "CHUNK", 50_000)
    monkeypatch.setattr(encoding, "BLOCK", 1000)
    text = MANY[:distinct][::-1] + MANY[:distinct]
    corpus = open_corpus([written(tmp_path / "many.txt", text)])
    assert (len(corpus.vocabulary), corpus.ids.dtype.name) == (distinct, dtype)
    assert same(corpus, Corpus.from_text(text))


def test_several_texts_stand_one_after_the_other(tmp_path: Path) -> None:
    """Files are concatenated in the order given, plain or compressed, and are listed with their digests."""
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress("zweite €".encode()))
    corpus = open_corpus([written(tmp_path / "z.txt", "first "), str(tmp_path / "b.txt.gz")])
    assert corpus.vocabulary.decode(corpus.ids) == "first zweite €"
    assert [entry["name"] for entry in corpus.names] == ["z.txt", "b.txt.gz"]
    assert corpus.names[0]["bytes"] == 6
    assert len(corpus.names[0]["sha256"]) == 64


def test_a_corpus_counts_how_many_files_were_left_out(tmp_path: Path) -> None:
    """Binary files in a folder are counted in the corpus."""
    written(tmp_path / "a.txt", "abc")
    (tmp_path / "b.png").write_bytes(b"\0")
    assert open_corpus([str(tmp_path)]).skipped == 1


@pytest.mark.parametrize("opening", [open_corpus, lambda texts: read_ids(texts, Vocabulary("characters", (97,)))])
@pytest.mark.parametrize("data", [b"aa", b"\xff"])
def test_standard_input_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: Any, data: bytes
) -> None:
    """The temporary copy of standard input is gone afterwards, also after an error."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if data == b"aa":
        opening(["-"])
    else:
        with pytest.raises(TextError, match="offset 0"):
            opening(["-"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["empty.txt", "empty.txt.gz"])
def test_an_empty_text_is_refused(tmp_path: Path, entries: Path, name: str) -> None:
    """A text without a character is refused and leaves nothing in the cache."""
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    with pytest.raises(TextError, match=f"{name}: the text is empty; there is nothing to learn"):
        open_corpus([str(tmp_path / name)])
    assert list(entries.iterdir()) == []


def test_the_second_opening_reads_the_cache(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that was encoded once is not encoded again, under any name."""
    first = open_corpus([str(text_file)])
    monkeypatch.setattr(room, "Encoder", no_space)
    assert same(open_corpus([str(text_file)]), first)
    assert open_corpus([str(text_file.rename(text_file.with_name("other.txt")))]).key == first.key


def test_the_ids_are_read_only(text_file: Path) -> None:
    """The ids of a corpus cannot be changed, so the cache cannot be either."""
    with pytest.raises(ValueError, match="read-only"):
        open_corpus([str(text_file)]).ids[0] = 1


def test_a_cached_corpus_is_found_by_its_key(text_file: Path) -> None:
    """A text is found by its key when its file no longer exists; an unknown key gives None."""
    first = open_corpus([str(text_file)])
    text_file.unlink()
    again = cached_corpus(first.key)
    assert again is not None
    assert same(again, first)
    assert cached_corpus("0" * 64) is None


def test_the_key_is_the_content_and_the_options(tmp_path: Path) -> None:
    """Other content, units, encoding, order or packing make another key."""
    one, other = written(tmp_path / "1.txt", "ab"), written(tmp_path / "2.txt", "cd")
    keys = {
        open_corpus([one]).key,
        open_corpus([one], units="bytes").key,
        open_corpus([one], encoding="latin-1").key,
        open_corpus([other]).key,
        open_corpus([one, other]).key,
        open_corpus([other, one]).key,
    }
    written(tmp_path / "1.txt", "ac")
    assert len(keys | {open_corpus([one]).key}) == 7


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.bin", b"\0\1"),
        ("ids.bin", b""),
        ("ids.bin", None),
        ("meta.json", None),
        ("meta.json", b""),
        ("meta.json", b'{"key": '),
        ("meta.json", b"[]"),
        ("meta.json", b"\xff"),
        ("meta.json", b"{}"),
    ],
)
def test_a_damaged_cache_is_built_again(
    text_file: Path, entries: Path, text: str, name: str, content: bytes | None
) -> None:
    """An entry that is cut, unreadable or incomplete is replaced by a valid one."""
    open_corpus([str(text_file)])
    (entry,) = entries.iterdir()
    (entry / name).unlink() if content is None else (entry / name).write_bytes(content)
    assert same(open_corpus([str(text_file)]), Corpus.from_text(text))
    assert list(entries.iterdir()) == [entry]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", "banana"),
        ("dtype", None),
        ("count", 1),
        ("key", "0"),
        ("vocabulary", {"units": "characters", "codes": [2, 1]}),
        ("vocabulary", [1]),
    ],
)
def test_a_cache_entry_that_is_wrong_is_built_again(text_file: Path, entries: Path, field: str, value: object) -> None:
    """An entry whose description is readable but wrong is replaced."""
    first = open_corpus([str(text_file)])
    (meta,) = entries.glob("*/meta.json")
    meta.write_text(json.dumps(json.loads(meta.read_text(encoding="utf-8")) | {field: value}), encoding="utf-8")
    assert same(open_corpus([str(text_file)]), first)


@pytest.mark.parametrize("target", ["Encoder._ids", "Encoder._rewrite", "Path.write_text", "Path.rename"])
def test_a_failure_leaves_the_cache_as_it_was(
    tmp_path: Path, text_file: Path, entries: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """A disk that fills up at any stage of encoding leaves no part of an entry and does not damage others."""
    first = open_corpus([str(text_file)])
    before = list(entries.iterdir())
    fresh = written(tmp_path / "fresh.txt", "the new text")
    with monkeypatch.context() as patch:
        patch.setattr(sources, "CHUNK", 3)
        patch.setattr(f"nextchar.text.corpus.{target}", no_space)
        with pytest.raises(OSError, match="No space left"):
            open_corpus([fresh])
    assert list(entries.iterdir()) == before
    assert same(open_corpus([str(text_file)]), first)
    assert len(open_corpus([fresh])) == 12


@pytest.mark.parametrize("suffix", [".txt", ".gz", ".xz", ".bz2"])
@pytest.mark.parametrize("change", ["grow", "rewrite", "shrink"])
def test_a_text_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, entries: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, change: str
) -> None:
    """What is encoded is what was hashed: a file that is written to in between is refused, and the cache has no entry."""
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}.get(suffix, bytes)
    path = tmp_path / f"log{suffix}"
    before = pack(b"first line\n" * 100)
    after = {"grow": before + pack(b"more\n"), "rewrite": pack(b"other line\n" * 100), "shrink": pack(b"first\n")}
    path.write_bytes(before)
    real = room._read_cache

    def meanwhile(key: str) -> object:
        path.write_bytes(after[change])
        return real(key)

    with monkeypatch.context() as patch:
        patch.setattr(room, "_read_cache", meanwhile)
        with pytest.raises(TextError, match=rf"log{suffix} changed while it was read; try again"):
            open_corpus(path)
    assert list(entries.iterdir()) == []
    path.write_bytes(before)
    corpus = open_corpus(path)
    assert corpus.vocabulary.decode(corpus.ids) == "first line\n" * 100
    assert corpus.names[0]["sha256"] == hashlib.sha256(before).hexdigest()


@pytest.mark.parametrize("as_given", [str, Path, lambda path: [path], lambda path: (str(path),)])
def test_one_name_is_one_text(text_file: Path, text: str, as_given: Any) -> None:
    """A str or a Path is one text, not a sequence of characters; a list may hold either."""
    assert same(open_corpus(as_given(text_file)), Corpus.from_text(text))
    ids, _ = read_ids(as_given(text_file), Corpus.from_text(text).vocabulary)
    assert len(ids) == len(text)


@pytest.mark.parametrize("names", [None, 3, b"book.txt", ["a.txt", None]])
def test_a_name_is_a_str_or_a_path(names: Any) -> None:
    """Anything else is one sentence, as is a text that is neither a str nor bytes."""
    with pytest.raises(TextError, match=r"a text is named by a str or a path, but \w+ was given"):
        open_corpus(names)
    with pytest.raises(TextError, match=r"a text is a str or bytes, but \w+ was given"):
        Corpus.from_text([names])  # type: ignore[arg-type]


def test_one_suffix_is_one_suffix(tmp_path: Path) -> None:
    """A single suffix may be a str."""
    written(tmp_path / "a.txt", "abc")
    written(tmp_path / "b.x", "def")
    assert [entry["name"] for entry in open_corpus(tmp_path, suffixes=".txt").names] == ["a.txt"]


def test_values_of_python_are_checked_as_those_of_the_command_line(text_file: Path) -> None:
    """A word that is no choice of a Literal is refused, and the choices are named."""
    corpus = Corpus.from_text("abc")
    for call in (
        lambda: open_corpus(text_file, units="letters"),  # type: ignore[arg-type]
        lambda: Corpus.from_text("abc", "letters"),  # type: ignore[arg-type]
        lambda: read_ids(text_file, corpus.vocabulary, unknown="ignore"),  # type: ignore[arg-type]
        lambda: corpus.vocabulary.encode("abc", unknown="ignore"),  # type: ignore[arg-type]
        lambda: corpus.part("validation", 0.1, 0.1),
    ):
        with pytest.raises(ConfigError, match=r"is '\w+', but must be one of (characters|error|train), "):
            call()


@pytest.mark.parametrize("encoding", ["utf-7", "raw_unicode_escape"])
def test_lone_surrogates_are_refused(tmp_path: Path, entries: Path, encoding: str) -> None:
    """Half a character, which could be learnt but never printed, is refused in memory and from a file."""
    with pytest.raises(TextError, match=r"the lone surrogate U\+D800, which is half of a character; remove it"):
        Corpus.from_text("ab\ud800" * 900)
    (tmp_path / "half.txt").write_bytes({"utf-7": b"ab+2AA-c"}.get(encoding, b"ab\\ud800c"))
    with pytest.raises(TextError, match=r"the lone surrogate U\+D800"):
        open_corpus(tmp_path / "half.txt", encoding=encoding)
    assert list(entries.iterdir()) == []


def test_a_cache_that_cannot_be_made_names_its_variable(
    tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache folder that cannot be made is refused with the variable that moves it."""
    monkeypatch.setenv("NEXTCHAR_CACHE", str(text_file / "cache"))
    with pytest.raises(ConfigError, match=r"the cache folder .*texts cannot be written \(.*NEXTCHAR_CACHE"):
        open_corpus(text_file)
    monkeypatch.setenv("NEXTCHAR_CACHE", str(tmp_path / "other"))
    assert len(open_corpus(text_file))


def test_a_wrong_encoding_leaves_no_part(tmp_path: Path, entries: Path) -> None:
    """A text that turns out to be no UTF-8 half way leaves nothing in the cache."""
    (tmp_path / "bad.txt").write_bytes(b"good\xff")
    with pytest.raises(TextError, match="offset 4"):
        open_corpus([str(tmp_path / "bad.txt")])
    assert list(entries.iterdir()) == []


def test_another_process_may_be_first(tmp_path: Path, entries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the same text was put into the cache meanwhile, that entry is used."""
    path = written(tmp_path / "raced.txt", "raced")
    real = room.shutil.rmtree

    def race(place: Path, *, ignore_errors: bool) -> None:
        real(place, ignore_errors=ignore_errors)
        monkeypatch.undo()
        monkeypatch.setenv("NEXTCHAR_CACHE", str(entries.parent))
        open_corpus([path])

    monkeypatch.setattr(room.shutil, "rmtree", race)
    assert len(open_corpus([path])) == 5
    assert len(list(entries.iterdir())) == 1


def test_a_cache_that_cannot_be_read_back_is_an_error(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that loses what was written is named, with the remedy."""
    monkeypatch.setattr(room, "_read_cache", lambda _key: None)
    with pytest.raises(TextError, match="cannot be read back; empty it"):
        open_corpus([str(text_file)])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_progress_never_exceeds_the_size(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Progress is reported while a long text is read and encoded, compressed or not, up to its end."""
    monkeypatch.setattr(room, "LONG", 0)
    monkeypatch.setattr(sources, "CHUNK", 4096)
    path = tmp_path / f"long.txt{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
    calls: list[tuple[str, int, int]] = []
    open_corpus([str(path)], progress=lambda *call: calls.append(call))
    for what in ("reading", "encoding"):
        done = [call[1] for call in calls if call[0] == what]
        assert done == sorted(done)
        assert done[-1] == path.stat().st_size
    assert {total for _, _, total in calls} == {path.stat().st_size}


def test_progress_of_a_short_text_is_not_reported(text_file: Path) -> None:
    """Reading a short text reports nothing."""
    calls: list[object] = []
    open_corpus([str(text_file)], progress=lambda *call: calls.append(call))
    assert calls == []


shares = st.just(0.0) | st.floats(0.001, 0.45)


@settings(max_examples=50)
@given(valid=shares, test=shares)
def test_parts_concatenate_to_the_whole(corpus: Corpus, valid: float, test: float) -> None:
    """Train, valid and test are contiguous, in this order, as large as their shares, and nothing is lost."""
    whole = Corpus(np.arange(20_000, dtype=np.uint16), corpus.vocabulary)
    pieces = [None if piece is None else piece.ids for piece in whole.split(valid, test)]
    assert np.array_equal(np.concatenate([piece for piece in pieces if piece is not None]), whole.ids)
    for piece, share in zip(pieces, (1 - valid - test, valid, test), strict=True):
        assert (piece is None) == (share == 0)
        assert len(piece if piece is not None else "") == pytest.approx(share * 20_000, abs=1.01)


def test_the_parts_of_tiny_shakespeare() -> None:
    """A tenth for validation cuts 1,115,394 characters as nanoGPT does."""
    corpus = Corpus(np.zeros(1_115_394, np.uint8), Vocabulary("characters", (97,)))
    train, valid, test = corpus.split(0.1, 0.0)
    assert valid is not None
    assert (len(train), len(valid), test) == (1_003_854, 111_540, None)


@pytest.mark.parametrize(
    ("name", "shares", "message"),
    [
        ("valid", (0.05, 0.05), "the valid part is 0.05 of 20 characters, which is 1; give more text"),
        (
            "test",
            (0.1, 0.0),
            "the test part is 0 of 20 characters, which is 0; the run has none; name a TEXT, or train with --test above 0",
        ),
        ("train", (0.5, 0.46), "the train part is 0.04 of 20 characters, which is 0; give more text"),
    ],
)
def test_a_part_without_a_pair_is_refused(name: str, shares: tuple[float, float], message: str) -> None:
    """A part of fewer than two characters is refused with the numbers."""
    with pytest.raises(TextError, match=message):
        Corpus.from_text("abcd" * 5).part(name, *shares)


def test_another_vocabulary_gives_its_own_ids() -> None:
    """A corpus read in a model's vocabulary takes the model's ids, in its parts too."""
    vocabulary = Vocabulary("characters", tuple(map(ord, "abcdef")))
    corpus = Corpus.from_text("feed" * 5).in_vocabulary(vocabulary)
    assert corpus.take(0, 4).tolist() == [5, 4, 4, 3]
    assert corpus.part("train", 0.5, 0.0).take(1, 4).tolist() == [4, 4, 3]
    again = corpus.in_vocabulary(Vocabulary("characters", tuple(map(ord, "def"))))
    assert again.take(0, 4).tolist() == [2, 1, 1, 0]
    with pytest.raises(UnknownCharacterError, match=r"'f' \(U\+0066\)"):
        corpus.in_vocabulary(Vocabulary("characters", tuple(map(ord, "abcde"))))
    with pytest.raises(UnknownCharacterError, match=r"'z' \(U\+007A\)"):
        Corpus.from_text("zebra").in_vocabulary(Vocabulary("characters", tuple(map(ord, "aber"))))


def test_read_ids_reads_in_a_given_vocabulary(tmp_path: Path) -> None:
    """Texts are read as known ids; unknown characters are refused, or left out and counted."""
    vocabulary = Vocabulary("characters", tuple(map(ord, "ab€")))
    text = written(tmp_path / "a.txt", "abcacb")
    with pytest.raises(UnknownCharacterError, match=r"1 character \(in 2 places\)"):
        read_ids([text], vocabulary)
    ids, left_out = read_ids([text, text], vocabulary, unknown="skip")
    assert (ids.tolist(), left_out) == ([0, 1, 0, 1] * 2, 4)


@pytest.mark.parametrize("content", ["", "xyz"])
def test_read_ids_refuses_nothing(tmp_path: Path, content: str) -> None:
    """A text of which nothing is left is refused by name."""
    with pytest.raises(TextError, match=r"a\.txt: there is nothing to read"):
        read_ids([written(tmp_path / "a.txt", content)], Vocabulary("characters", (97,)), unknown="skip")
